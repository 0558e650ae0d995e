"""Which bytes are read from a source, and in which requests.

A request is a range of one file with the parts (tensors) in it that are wanted. Neighbours are one request. Parts with
a gap between them are too while the gap is at most ``MAX_GAP`` and all gaps together, the smallest first, are at most
1/``GAP_DIVISOR`` of the bytes that are wanted: a request more costs a round trip, a gap costs its bytes. Then what is
longer than ``MAX_REQUEST`` is split between two parts, so that several streams share the work.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

MAX_GAP: Final = 1 << 20
GAP_DIVISOR: Final = 50
MAX_REQUEST: Final = 64 << 20

#: Name of the part that is a file itself, where a file is wanted as it is.
WHOLE: Final = ""
#: Name of the part that is the header of a safetensors file.
HEADER: Final = "__header__"


@dataclass(frozen=True, order=True)
class FilePart:
    """Bytes ``[begin, end)`` of a file that are wanted."""

    begin: int
    end: int
    tensor: str
    sha256: str = ""  # hexadecimal; empty where only the whole file's is known

    @property
    def size(self) -> int:
        """Bytes of the part."""
        return self.end - self.begin


@dataclass(frozen=True)
class ReadRequest:
    """One request: bytes ``[begin, end)`` of a file."""

    file: str
    begin: int
    end: int
    parts: tuple[FilePart, ...]  # in order, without overlap
    sha256: str = ""  # of all bytes of the request; empty where each part has its own


def read_parts(wanted: dict[str, list[FilePart]], *, ranged: bool) -> tuple[ReadRequest, ...]:
    """Return requests that cover the parts of each file.

    A source that cannot begin in the middle (``ranged`` false) is read from its start to the last part.
    """
    if not ranged:
        return tuple(
            ReadRequest(file, 0, max(part.end for part in parts), tuple(sorted(parts)))
            for file, parts in wanted.items()
            if parts
        )
    affordable = _longest_gap(wanted)
    return tuple(
        ReadRequest(file, run[0].begin, run[-1].end, tuple(run))
        for file, parts in wanted.items()
        for run in _runs(sorted(parts), affordable)
    )


def read_whole_file(file: str, *, size: int, sha256: str, parts: Iterable[FilePart]) -> ReadRequest:
    """Return the request for a whole file that is verified as one."""
    return ReadRequest(file, 0, size, tuple(sorted(parts)), sha256)


def read_part_again(read: ReadRequest, part: FilePart) -> ReadRequest:
    """Return the request for one part that came damaged."""
    return ReadRequest(read.file, part.begin, part.end, (part,))


def _longest_gap(wanted: dict[str, list[FilePart]]) -> int:
    """Return the longest gap that is read too, so that all gaps up to this length together are within the bound."""
    left = sum(part.size for parts in wanted.values() for part in parts) // GAP_DIVISOR
    longest = 0
    gaps = sorted(gap for parts in wanted.values() for gap in _gaps(sorted(parts)))
    for length, same in groupby(gaps):
        left -= sum(same)
        if length > MAX_GAP or left < 0:
            break
        longest = length
    return longest


def _gaps(parts: list[FilePart]) -> Iterator[int]:
    return (after.begin - before.end for before, after in pairwise(parts))


def _runs(parts: list[FilePart], affordable: int) -> Iterator[list[FilePart]]:
    run: list[FilePart] = []
    for part in parts:
        if run and (part.begin - run[-1].end > affordable or part.end - run[0].begin > MAX_REQUEST):
            yield run
            run = []
        run.append(part)
    if run:
        yield run
