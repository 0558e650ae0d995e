"""A process that the kernel kills when its parent ends (Linux: ``prctl(PR_SET_PDEATHSIG)``)."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent ends.

    ``parent`` is the process id that the parent should have; where it has ended already, this process exits with 1.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        sys.exit(1)
