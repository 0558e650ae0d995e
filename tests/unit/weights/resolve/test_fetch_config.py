"""Of a model a rehearsal gets the small JSON files, and nothing that is large, deep or of another kind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from llama_serving.weights.resolve.fetch_config import fetch_config
from llama_serving.weights.source.interface import Gone, ListedFile
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy

RETRY = RetryPolicy(deadline=0)


class Listed(LocalSource):
    """A folder whose list says what a test wants."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(Path("/nowhere"), revision="v1")
        self.files = files

    async def list(self) -> tuple[ListedFile, ...]:
        return tuple(ListedFile(name, len(content)) for name, content in self.files.items())

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self.files[path][begin:end]


def fetched(files: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    async def run() -> None:
        source = Listed(files)
        await fetch_config(source, await source.list(), folder=folder, retry=RETRY)

    asyncio.run(run())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_small_json_files_alone_are_fetched(tmp_path: Path) -> None:
    small = {"config.json": b"{}", "generation_config.json": b"{ }", "hf_quant_config.json": b"[]"}
    others = {
        "tokenizer.json": b" " * (2 << 20), "model.safetensors": b"x", "README.md": b"x", "../escape.json": b"{}",
        "original/params.json": b"{}",
    }  # fmt: skip
    assert fetched(small | others, tmp_path) == small


@pytest.mark.parametrize("files", [{}, {"config.json": b" " * (2 << 20)}, {"params.json": b"{}"}])
def test_without_a_config_there_is_nothing_to_rehearse(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(Gone, match=r"no config\.json of at most 1 MiB: copy the whole model"):
        fetched(files, tmp_path)
