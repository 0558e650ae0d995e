"""The files that a stager shares with the supervisor of its pod: what is desired, and how far the stager is."""

from pathlib import Path

from llama_serving.common.message_file import MessageReader, write_message
from llama_serving.config.desired import DesiredState, StagingState, WeightsArtifact
from llama_serving.weights.staging.decide.trust import Trust
from llama_serving.weights.staging.io.trusted_desired import TrustedDesired, TrustPaths


class DesiredFiles:
    """The desired state that the supervisor passes on, and the weights that the pod starts with."""

    def __init__(self, *, desired: Path, configured: Path, paths: TrustPaths) -> None:
        self._desired = TrustedDesired(desired, paths)
        self._configured = MessageReader(configured, WeightsArtifact, follow=True)

    def read(self) -> tuple[DesiredState | None, WeightsArtifact | None]:
        """Read both; None where there is no such file yet, or none that is believed. Blocks."""
        configured = self._configured.read()
        return self._desired.read(configured), configured

    @property
    def trust(self) -> Trust:
        """What may be done for the sake of what was read last."""
        return self._desired.trust


class StateFile:
    """The file that the supervisor reads; it always holds a whole state."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, state: StagingState) -> None:
        """Replace the state. Blocks. Raises OSError."""
        # A supervisor of an older image reads it: it is told no field that it does not know, unless it is used.
        write_message(self._path, state.model_dump_json(exclude_defaults=True))
