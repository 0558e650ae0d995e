"""The interface of a source: what resolver and stager need of every scheme, and the four ways in which it fails.

``Denied`` and ``Gone`` need a user, who reads their message. ``Busy`` and ``Broken`` are retried: after the time that
the source asked for, from the byte where it failed.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class SourceError(Exception):
    """A failure; its text is a clause for users: the request, the answer, and what to do."""


class Denied(SourceError):
    """No access: 401, 403, a gated repository, an expired token."""


class Gone(SourceError):
    """There is no such bucket, repository, revision, folder or file."""


class NoSourceError(Gone):
    """No file can be there: what is named is no address, or one that no source may have."""


class Busy(SourceError):
    """Asked too often, or the source is overloaded: 429, 503. ``after``: seconds it asked to wait; None: not said."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Broken(SourceError):
    """The connection ended, timed out, or less came than was promised."""


@dataclass(frozen=True, order=True)
class ListedFile:
    """One file as the source lists it."""

    path: str  # name in the folder
    size: int  # bytes
    sha256: str = ""  # hexadecimal; empty where the source does not know it


class Source(Protocol):
    """One folder in one revision. All methods raise SourceError's kinds and nothing else."""

    ranged: bool
    """Whether ``read`` can begin anywhere at the cost of the bytes that are read."""

    async def resolve(self) -> str:
        """Return the revision that does not move: a commit, a digest, a version; the given one where none is known."""

    async def list(self) -> tuple[ListedFile, ...]:
        """Return all files that lie directly in the folder, sorted by path."""

    def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes ``[begin, end)`` in pieces of at most some MiB; to the file's end for None."""

    async def close(self) -> None:
        """Close all connections."""
