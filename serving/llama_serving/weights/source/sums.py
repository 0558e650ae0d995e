"""Reads a ``SHA256SUMS`` file, as ``sha256sum *`` writes it, for the digests of the files beside it."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from llama_serving.common.file_names import is_plain_name
from llama_serving.weights.source.interface import ListedFile

SUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?([^/\\]+)")
LIMIT: Final = 1 << 20  # bytes; a line has some 100

Read = Callable[[str], AsyncIterator[bytes]]


def parse_sums(text: str) -> dict[str, str]:
    """Return file -> sha256 (lower case). Lines of another form, and files in sub-folders, are ignored."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[2]: match[1].lower() for match in found if match and is_plain_name(match[2])}


async def add_digests(listed: tuple[ListedFile, ...], read: Read) -> tuple[ListedFile, ...]:
    """Return ``listed`` with the digests of its SHA256SUMS where the source gave none. Raises what ``read`` raises."""
    if SUMS not in {file.path for file in listed}:
        return listed
    text = bytearray()
    async for piece in read(SUMS):
        text += piece
        if len(text) > LIMIT:
            return listed
    sums = parse_sums(text.decode("utf-8", "replace"))
    return tuple(replace(file, sha256=file.sha256 or sums.get(file.path, "")) for file in listed)
