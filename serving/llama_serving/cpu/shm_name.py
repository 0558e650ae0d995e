"""Stages in different pods must not think that they share memory.

vLLM 0.32 moves tensors over ``/dev/shm`` when all ranks agree on the name of the region. The name holds the port of the
rendezvous, the same in every pod, so the ranks of two pods agree and then look for each other's files ("open shm in
SHMManager failed"). With the identity of ``/dev/shm`` itself in the name, ranks agree exactly when they share it; else
vLLM falls back to TCP.
"""

from pathlib import Path
from typing import Any

from vllm.distributed.device_communicators import cpu_communicator

_SHARED_MEMORY = Path("/dev/shm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def shared_memory_identity(folder: Path = _SHARED_MEMORY) -> str:
    """Name the file system behind ``folder``: machine, device and inode."""
    status = folder.stat()
    return f"{_BOOT_ID.read_text(encoding='ascii').strip()}-{status.st_dev}-{status.st_ino}"


def name_regions_by_memory() -> None:
    """Put the identity of this process's ``/dev/shm`` into the names of the regions. Calling it twice is harmless."""
    shm = cpu_communicator._CPUSHMDistributed  # noqa: SLF001  # the fault is in there
    stock = getattr(shm.make_group_name, "stock", shm.make_group_name)

    def make_group_name(communicator: Any) -> str:
        return f"{stock(communicator)}-{shared_memory_identity()}"

    make_group_name.stock = stock  # type: ignore[attr-defined]
    shm.make_group_name = staticmethod(make_group_name)
