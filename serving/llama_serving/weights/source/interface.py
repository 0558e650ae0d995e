"""A folder of files somewhere: what resolver and stager ask of every scheme, and the four ways in which it fails.

``Denied`` and ``Gone`` do not heal by themselves: the user reads their sentence. ``Busy`` and ``Broken`` do: the
caller tries again, after what the source asked for, from where it was.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class SourceError(Exception):
    """The text is one sentence for users: what was asked for, what was answered, what to do."""


class Denied(SourceError):
    """No access: 401, 403, a gated repository, an expired token."""


class Gone(SourceError):
    """There is no such bucket, repository, revision, folder or file."""


class Busy(SourceError):
    """Asked too often, or the source is overloaded: 429, 503. ``after``: seconds it asked to wait; None: not said."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Broken(SourceError):
    """The connection ended, timed out, or less came than was promised."""


@dataclass(frozen=True, order=True)
class Listed:
    """One file as the source lists it."""

    path: str  # name in the folder
    size: int  # bytes
    sha256: str = ""  # hexadecimal; empty where the source does not know it


class Source(Protocol):
    """One folder in one revision. All methods raise SourceError's kinds and nothing else."""

    ranged: bool
    """Whether ``read`` can begin anywhere at the cost of the bytes that are read."""

    async def resolve(self) -> str:
        """The revision that does not move: a commit, a digest, a version; the given one where none is known."""

    async def list(self) -> tuple[Listed, ...]:
        """All files that lie directly in the folder, sorted by path."""

    def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``[begin, end)`` in pieces of at most some MiB; to the file's end for None."""

    async def close(self) -> None:
        """Give back connections."""
