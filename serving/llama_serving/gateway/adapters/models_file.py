"""Reads the file with the names of models again whenever it changes: a new adapter restarts no gateway.

The kubelet changes a mounted ConfigMap by another target of a link, so the file that is looked at is another one then.
What cannot be read, is too long or says something else leaves what was known before; the log says so once.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_serving.config.error_text import rule_text
from llama_serving.config.gateway import LONGEST_MODELS, ServedModels
from llama_serving.gateway.telemetry.log import LOGGER, fields

#: Seconds between two looks, each one call of stat.
PERIOD: Final = 1.0

_Stamp = tuple[int, int, int]


class ModelsFile:
    """Watches one file; ``tell`` gets what it says, None once it is not there any more."""

    def __init__(self, path: Path, tell: Callable[[ServedModels | None], None]) -> None:
        self._path = path
        self._tell = tell
        self._seen: _Stamp | None = None

    async def run(self, period: float = PERIOD) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(period)

    def look(self) -> None:
        """Read the file if it is another one than before."""
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            models = None if stamp is None else self._read()
        except (OSError, ValueError) as error:
            reason = rule_text(error.errors()[0]) if isinstance(error, ValidationError) else str(error)
            LOGGER.error("models.json cannot be used, keeping the names known before", extra=fields(reason=reason))
            return
        known = len(models.adapters) if models else 0
        LOGGER.info("names of models read", extra=fields(adapters=known, present=models is not None))
        self._tell(models)

    def _stamp(self) -> _Stamp | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> ServedModels:
        with self._path.open("rb") as file:
            text = file.read(LONGEST_MODELS + 1)
        if len(text) > LONGEST_MODELS:
            raise ValueError(f"it has more than {LONGEST_MODELS} bytes")
        return ServedModels.model_validate_json(text)
