"""What a stager is told, and where it answers: files that it shares with the supervisor of its pod."""

from pathlib import Path

from llama_serving.common.message_file import MessageReader, write_message
from llama_serving.config.desired import DesiredState, StagingState, WeightsArtifact


class Inbox:
    """The wish of the supervisor, and the weights that the pod starts with."""

    def __init__(self, *, wish: Path, configured: Path) -> None:
        self._wish = MessageReader(wish, DesiredState)
        self._configured = MessageReader(configured, WeightsArtifact)

    def read(self) -> tuple[DesiredState | None, WeightsArtifact | None]:
        """Blocks."""
        return self._wish.read(), self._configured.read()


class Outbox:
    """The file that the supervisor reads; it always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, state: StagingState) -> None:
        """Blocks. Raises OSError."""
        write_message(self._path, state.model_dump_json())
