"""What NCCL took between the ranks, from its own log; it has no call that tells.

A rank that connects writes one line per channel, and connects at the first use of a connection:

    node:984:1257 [4] NCCL INFO Channel 06/0 : 36[4] -> 20[4] [send] via NET/IB/3/GDRDMA
    node:920:1145 [1] NCCL INFO Channel 04/0 : 9[1] -> 10[2] via P2P/CUMEM/read
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Where each rank writes its log, named by its process.
NCCL_LOGS: Final = Path("/tmp/llama-nccl")

_CONNECTED: Final = re.compile(r"NCCL INFO (?:Channel|Ring) .*? -> .*? via (\S.*?)(?: comm 0x.*)?$")
_OVER_NODES: Final = frozenset({"NET", "COLLNET"})
_AT_ONCE: Final = 1 << 20  # bytes that are read of a file in one look


def nccl_environment(*, interface: str, folder: Path = NCCL_LOGS) -> dict[str, str]:
    """Return NCCL's environment. ``=``: exactly this interface; else it takes any whose name begins so."""
    return {
        "NCCL_SOCKET_IFNAME": f"={interface}",
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_FILE": str(folder / "%p.log"),
    }


def transport(line: str) -> str:
    """Return the transport that a line of the log tells of, such as NET/IB/GDRDMA; empty where it tells of none.

    Numbers of devices and channels, and how a transport is used, are left out.
    """
    found = _CONNECTED.search(line)
    if found is None:
        return ""
    kind, *more = found[1].split("/")
    if kind in _OVER_NODES and more:
        direct = any(part.startswith("GDRDMA") for part in more)
        return "/".join((kind, more[0], "GDRDMA") if direct else (kind, more[0]))
    if kind == "P2P" and more:
        return f"{kind}/{more[0].partition(' ')[0]}"
    return kind


@dataclass
class _File:
    """How far a file was read, and what it told."""

    offset: int = 0
    told: set[str] = field(default_factory=set)

    def read(self, path: Path) -> None:
        """Read whole lines that are new. Raises OSError."""
        with path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(_AT_ONCE)
        whole = len(data) if len(data) == _AT_ONCE and b"\n" not in data else data.rfind(b"\n") + 1
        self.offset += whole
        lines = data[:whole].decode("utf-8", errors="replace").splitlines()
        self.told |= {told for line in lines if (told := transport(line))}


class NcclLogs:
    """The logs of the ranks of this pod that live."""

    def __init__(self, folder: Path = NCCL_LOGS, *, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._proc = proc
        self._files: dict[Path, _File] = {}

    def transports(self) -> tuple[str, ...]:
        """Return what the living ranks took so far, sorted; each line is read once."""
        living = set(self._living())
        self._files = {path: file for path, file in self._files.items() if path in living}
        for path in living:
            try:
                self._files.setdefault(path, _File()).read(path)
            except OSError:  # it is read again at the next look
                continue
        return tuple(sorted({told for file in self._files.values() for told in file.told}))

    def _living(self) -> Iterator[Path]:
        for path in self._folder.glob("*.log"):
            if (self._proc / path.stem).exists():
                yield path
