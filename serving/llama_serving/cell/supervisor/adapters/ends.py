"""Engines that ended while they loaded an adapter, counted in a file: the container may end with its engine."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llama_serving.common.message_file import read_message, write_message
from llama_serving.config import names

logger = logging.getLogger(__name__)

PATH: Final = Path(names.ADAPTER_LINKS) / "ends.json"
_SEPARATOR: Final = "@"


class EndsFile:
    """How often each adapter was begun without an answer of its engine: noted before, taken back afterwards."""

    def __init__(self, path: Path = PATH) -> None:
        self._path = path

    def read(self) -> dict[tuple[str, str], int]:
        """Return the counts by name and digest; none where they cannot be read."""
        text = read_message(self._path)
        try:
            found = {} if text is None else dict(json.loads(text))
            return {_key(name): int(count) for name, count in found.items()}
        except (ValueError, TypeError):
            return {}

    def write(self, ends: Mapping[tuple[str, str], int]) -> None:
        """Record the counts; where that is not possible an engine that ends its container is not counted."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_message(self._path, json.dumps({_SEPARATOR.join(key): count for key, count in ends.items()}))
        except OSError as error:
            logger.warning("cannot write %s: %s", self._path, error)


def _key(text: str) -> tuple[str, str]:
    name, _, digest = text.rpartition(_SEPARATOR)
    return name, digest
