"""Whether a pod asked for a fast network between nodes, by the extended resources that it requests."""

from collections.abc import Iterable
from typing import Final

#: What NCCL falls back to where it finds no fabric: TCP.
SOCKET: Final = "NET/Socket"
_MEMORY: Final = "hugepages-"  # what drivers of a fabric also want; no network by itself


def fabric_resources(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of a pod's resources beside its devices that are network devices: all but huge pages, sorted."""
    return tuple(sorted(name for name in names if not name.startswith(_MEMORY)))
