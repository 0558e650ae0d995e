"""The files that a stager shares with the supervisor of its pod: what is desired, and how far the stager is."""

from pathlib import Path

from llama_serving.common.message_file import MessageReader, write_message
from llama_serving.config.desired import DesiredState, StagingState, WeightsArtifact


class DesiredFiles:
    """The desired state that the supervisor keeps, and the weights that the pod starts with."""

    def __init__(self, *, desired: Path, configured: Path) -> None:
        self._desired = MessageReader(desired, DesiredState)
        self._configured = MessageReader(configured, WeightsArtifact)

    def read(self) -> tuple[DesiredState | None, WeightsArtifact | None]:
        """Read both; None where there is no such file yet. Blocks."""
        return self._desired.read(), self._configured.read()


class StateFile:
    """The file that the supervisor reads; it always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, state: StagingState) -> None:
        """Replace the state. Blocks. Raises OSError."""
        # A supervisor of an older image reads it: it is told no field that it does not know, unless it is used.
        write_message(self._path, state.model_dump_json(exclude_defaults=True))
