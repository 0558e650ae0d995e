"""What a stager readies: weights of a model, or a LoRA adapter that is added to them. Both are files by a manifest."""

from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import AdapterRef, WantedAdapter, WeightsArtifact

Artifact = WeightsArtifact | WantedAdapter


def reference(artifact: Artifact) -> WeightsRef | AdapterRef:
    """Return digest and id of what is readied."""
    return artifact.weights if isinstance(artifact, WeightsArtifact) else artifact.adapter


def digest_of(artifact: Artifact) -> str:
    """Return the digest, by which an item of the queue is known: no adapter has that of some weights."""
    return reference(artifact).digest


def is_adapter(artifact: Artifact) -> bool:
    """Return whether it is a LoRA adapter: brought into the pod whatever its source, and never evicted while wanted."""
    return isinstance(artifact, WantedAdapter)


def layers_of(artifact: Artifact) -> int | None:
    """Return the layers of the model that an adapter is for; None where the folder's own config.json says it."""
    return artifact.layers if isinstance(artifact, WantedAdapter) else None
