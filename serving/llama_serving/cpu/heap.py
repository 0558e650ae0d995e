"""Memory that a stage frees stays its own, and is used again.

glibc asks the kernel for every large block anew and gives it back when it is freed: each new block costs a page fault
for every 4 KiB, more than filling it does. Packing the matrices of a model frees and asks for its whole size, matrix by
matrix, at the start and at each reload of weights (measured in docs/benchmarks).
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_NEVER: Final = 2**31 - 1  # bytes; the largest that glibc's int takes


def keep_freed_memory() -> bool:
    """Tell the allocator of this process; false where it does not listen (another C library)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _NEVER)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
