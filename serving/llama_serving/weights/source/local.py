"""``pvc://claim/path``: a folder of a mounted claim. Errors of the file system become failures of a source."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from llama_serving.common.regular_file import NotRegularError, OutsideError, folders_of_model, open_regular, real_path
from llama_serving.config.error_text import error_text
from llama_serving.weights.source.interface import Broken, Denied, Gone, ListedFile, SourceError
from llama_serving.weights.source.sums import add_digests

_PIECE: Final = 4 << 20
_MOST_LISTED: Final = 10_001  # one more than a model may have, which the inspection refuses


class LocalSource:
    """The folder ``path``; ``revision`` is what the user calls it. ``mount``: what it must lie in; None: anywhere."""

    ranged = True

    def __init__(self, path: Path, *, revision: str, mount: Path | None = None) -> None:
        self.path = path
        self._revision = revision
        self._mount = mount

    async def resolve(self) -> str:
        """Return the revision as given: a folder has no other."""
        return self._revision

    async def list(self) -> tuple[ListedFile, ...]:
        """Return the files of the folder; links to its own files and to those of a Hugging Face cache are followed."""
        listed = await asyncio.to_thread(self._list)
        return await add_digests(listed, self.read)

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield pieces of 4 MiB, read in a thread: a claim may be on a network."""
        try:
            with await self._open(path) as file:
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

    def check_place(self) -> None:
        """Raise Gone where links lead the folder itself out of the mount. Blocks."""
        if self._mount is not None and not real_path(self.path).is_relative_to(real_path(self._mount)):
            raise Gone(f"{self.path} is a link out of its claim: name the folder itself in model.source")

    async def _open(self, name: str) -> BinaryIO:
        """Open a file in a thread. What the thread opens for a reader that was cancelled meanwhile is closed."""
        opened: list[BinaryIO] = []
        cancelled = threading.Event()

        def open_file() -> None:
            self.check_place()
            opened.append(open_regular(self.path / name, within=folders_of_model(self.path)))
            if cancelled.is_set():
                opened[0].close()

        try:
            await asyncio.to_thread(open_file)
        except asyncio.CancelledError:
            cancelled.set()
            for file in opened:
                file.close()
            raise
        return opened[0]

    def _list(self) -> tuple[ListedFile, ...]:
        self.check_place()
        try:
            paths = sorted(islice(self.path.iterdir(), _MOST_LISTED))
            # A link to nothing is no file: is_file says so without an error.
            return tuple(ListedFile(path.name, path.stat().st_size) for path in paths if path.is_file())
        except OSError as error:
            raise _failure(error) from error


def _failure(error: OSError) -> SourceError:
    match error:
        case OutsideError(target=target):
            return Gone(f"{error.filename} is a link to {target}, outside of its folder: copy the files (cp -L)")
        case NotRegularError():
            return Gone(f"{error.filename} is a device, a pipe or a folder, not a file: copy the model again")
        case OSError(errno=errno.ELOOP):
            return Gone(f"{error.filename} is a link in a circle: copy the files, not the links (cp -L)")
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            return Gone(f"{error.filename} is not there ({error_text(error)}): check the path in model.source")
        case PermissionError():
            return Denied(f"uid {os.geteuid()} may not read {error.filename}: run chmod -R a+rX on the model's folder")
        case _:
            return Broken(f"{error.filename} cannot be read: {error_text(error)}")
