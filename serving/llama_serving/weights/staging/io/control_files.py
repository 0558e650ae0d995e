"""What a stager is told, and where it answers: files that it shares with the supervisor of its pod."""

import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from llama_serving.config.desired import DesiredState, StagingState, WeightsArtifact

logger = logging.getLogger("llama_serving.stager")
M = TypeVar("M", bound=BaseModel)


class Told(Generic[M]):
    """The last message in a file that others replace. A file that is no message leaves the last one standing."""

    def __init__(self, path: Path, kind: type[M]) -> None:
        self._path = path
        self._kind = kind
        self._seen: Hashable = None
        self._last: M | None = None

    def read(self) -> M | None:
        """Blocks. None while there never was one."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._last = self._kind.model_validate_json(self._path.read_bytes())
                self._seen = seen
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            logger.error("%s cannot be read: %s", self._path, error)
        return self._last


class Inbox:
    """The wish of the supervisor, and the weights that the pod starts with."""

    def __init__(self, *, wish: Path, configured: Path) -> None:
        self._wish = Told(wish, DesiredState)
        self._configured = Told(configured, WeightsArtifact)

    def read(self) -> tuple[DesiredState | None, WeightsArtifact | None]:
        """Blocks."""
        return self._wish.read(), self._configured.read()


class Outbox:
    """The file that the supervisor reads; it always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, state: StagingState) -> None:
        """Blocks. Raises OSError."""
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_text(state.model_dump_json())
        beside.chmod(0o644)
        beside.replace(self._path)
