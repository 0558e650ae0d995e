"""Resolves a folder of the corpus as one that lies somewhere else, and makes of it the folder that an engine reads."""

from collections.abc import AsyncIterator
from pathlib import Path

from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.report import Resolution
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.interface import ListedFile
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy


class RemoteFolder:
    """A folder whose files are fetched one by one, so that the engine gets those of the manifest and no other."""

    ranged = True

    def __init__(self, path: Path) -> None:
        self._local = LocalSource(path, revision="v1")

    async def resolve(self) -> str:
        return await self._local.resolve()

    async def list(self) -> tuple[ListedFile, ...]:
        return await self._local.list()

    def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        return self._local.read(path, begin=begin, end=end)

    async def close(self) -> None:
        await self._local.close()


async def look(source: RemoteFolder | LocalSource) -> Resolution:
    request = ResolveRequest("hf://made/up")
    return await resolve(source, request, retry=RetryPolicy(deadline=0), progress=ReadProgress(lambda _: None))


def staged(folder: Path, resolution: Resolution, target: Path) -> Path:
    """Return the folder that the engine reads: the files of the manifest, or all where there is none."""
    if resolution.manifest is None:
        return folder
    target.mkdir(parents=True)
    for file in resolution.manifest.files:
        (target / file.path).symlink_to(folder / file.path)
    return target
