"""What a desired state lets a stager do: where credentials go, and which of its items are not believed."""

from dataclasses import dataclass

from llama_serving.config.desired import DesiredState, StagedWeights
from llama_serving.config.reasons import StagingReason
from llama_serving.config.source import is_mounted, place
from llama_serving.weights.staging.decide.artifact import Artifact, reference


@dataclass(frozen=True)
class Trust:
    """``places``: those that credentials may be sent to; None: any. ``refused``: items without a signature."""

    places: frozenset[str] | None = frozenset()
    refused: tuple[Artifact, ...] = ()
    cause: str = ""  # why they have none

    def allows_credentials(self, artifact: Artifact) -> bool:
        """Return whether credentials may be sent to the source of an artifact."""
        return self.places is None or is_mounted(artifact.source) or place(artifact.source) in self.places

    def status(self, artifact: Artifact) -> StagedWeights:
        """Return what is reported of an item that was not taken."""
        return StagedWeights(
            digest=reference(artifact).digest,
            id=reference(artifact).id,
            outcome="waiting",
            reason=StagingReason.NOT_SIGNED,
            message=f"nothing is read from {place(artifact.source)}: the desired state is not the operator's last one "
            f"({self.cause})",
        )


def artifacts_of(state: DesiredState) -> tuple[Artifact, ...]:
    """Return everything that a state names with a source."""
    return (*state.staged, *state.adapters)
