"""The files that a stager shares with the supervisor of its pod: what is desired, and how far the stager is."""

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


class DesiredFiles:
    """The desired state that the supervisor keeps, and the weights that the pod starts with."""

    def __init__(self, *, desired: Path, configured: Path) -> None:
        self._desired = Told(desired, DesiredState)
        self._configured = Told(configured, WeightsArtifact)

    def read(self) -> tuple[DesiredState | None, WeightsArtifact | None]:
        """Read both; None where there is no such file yet. Blocks."""
        return self._desired.read(), self._configured.read()


class StateFile:
    """The file that the supervisor reads; it always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, state: StagingState) -> None:
        """Replace the state. Blocks. Raises OSError."""
        beside = self._path.with_name(f".{self._path.name}.new")
        beside.write_text(state.model_dump_json())
        beside.chmod(0o644)
        beside.replace(self._path)
