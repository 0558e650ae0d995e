"""The command ``fetch-config``: a model's small JSON files, without tokenizer and weights, for a rehearsal.

An engine is configured by config.json and the files that change what it says. None of them is trusted more than the
resolver trusted it: what the engine loads later is compared with the manifest.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Final

from llama_serving.common.concurrency import map_concurrently
from llama_serving.config import names
from llama_serving.weights.model.folder import CONFIG
from llama_serving.weights.resolve.source_options import add_source_options, source_of
from llama_serving.weights.source.interface import Gone, ListedFile, Source
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries, with_retries

_LIMIT: Final = 1 << 20  # bytes; config.json of a Llama has 2 kB, tokenizer.json 17 MB
_FILES_AT_ONCE: Final = 4


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_source_options(command)
    command.add_argument("--retry-seconds", type=float, default=60, help="seconds that a source may fail (%(default)s)")
    command.add_argument("--folder", type=Path, default=Path(names.MODEL_CONFIG_MOUNT), help="where the files go")


def run(options: argparse.Namespace) -> int:
    """Fetch the files. Raises SourceError's kinds, and OSError where the folder cannot be written."""
    asyncio.run(_fetch(options))
    return 0


async def _fetch(options: argparse.Namespace) -> None:
    retry = RetryPolicy(deadline=options.retry_seconds)
    source = source_of(options)
    try:
        listed = await with_retries(source.list, retry)
        await fetch_config(source, listed, folder=options.folder, retry=retry)
    finally:
        await source.close()


async def fetch_config(source: Source, listed: tuple[ListedFile, ...], *, folder: Path, retry: RetryPolicy) -> None:
    """Write every JSON file of at most 1 MiB into ``folder``. Raises SourceError's kinds; Gone without config.json."""
    small = [file for file in listed if _is_config(file)]
    if CONFIG not in {file.path for file in small}:
        raise Gone(f"the source holds no {CONFIG} of at most {_LIMIT >> 20} MiB: copy the whole model")

    async def fetch(file: ListedFile) -> None:
        pieces = [piece async for piece in read_with_retries(source, file.path, begin=0, end=file.size, retry=retry)]
        await asyncio.to_thread((folder / file.path).write_bytes, b"".join(pieces))

    await map_concurrently(fetch, small, limit=_FILES_AT_ONCE)


def _is_config(file: ListedFile) -> bool:
    return file.path.endswith(".json") and "/" not in file.path and file.size <= _LIMIT
