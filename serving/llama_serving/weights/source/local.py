"""``pvc://claim/path``: a folder of a mounted claim. Errors of the file system become failures of a source."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from llama_serving.config.error_text import error_text
from llama_serving.weights.source.interface import Broken, Denied, Gone, ListedFile, SourceError
from llama_serving.weights.source.sums import add_digests

_PIECE: Final = 4 << 20


class LocalSource:
    """The folder ``path``; ``revision`` is what the user calls it."""

    ranged = True

    def __init__(self, path: Path, *, revision: str) -> None:
        self.path = path
        self._revision = revision

    async def resolve(self) -> str:
        """Return the revision as given: a folder has no other."""
        return self._revision

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the files of the folder; links are followed, as in the Hugging Face cache."""
        listed = await asyncio.to_thread(self._list)
        return await add_digests(listed, self.read)

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield pieces of 4 MiB, read in a thread: a claim may be on a network."""
        try:
            file = await asyncio.to_thread((self.path / path).open, "rb")
            with file:
                await asyncio.to_thread(file.seek, begin)
                while end is None or begin < end:
                    wanted = _PIECE if end is None else min(_PIECE, end - begin)
                    piece = await asyncio.to_thread(file.read, wanted)
                    if not piece:
                        break
                    begin += len(piece)
                    yield piece
        except OSError as error:
            raise _failure(error) from error
        if end is not None and begin < end:
            raise Broken(f"{self.path / path} ends at byte {begin}, before {end}: it was changed while it was read")

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    def _list(self) -> tuple[ListedFile, ...]:
        try:
            paths = sorted(self.path.iterdir())
            # A link to nothing is no file: is_file says so without an error.
            return tuple(ListedFile(path.name, path.stat().st_size) for path in paths if path.is_file())
        except OSError as error:
            raise _failure(error) from error


def _failure(error: OSError) -> SourceError:
    match error:
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            return Gone(f"{error.filename} is not there ({error_text(error)}): check the path in model.source")
        case PermissionError():
            return Denied(f"uid {os.geteuid()} may not read {error.filename}: run chmod -R a+rX on the model's folder")
        case _:
            return Broken(f"{error.filename} cannot be read: {error_text(error)}")
