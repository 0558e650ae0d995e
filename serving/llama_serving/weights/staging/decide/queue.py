"""Which weights are worked on next.

The weights that shall serve come first, since a group that restarts waits for them; then LoRA adapters, which are small
and which requests wait for; then other weights, most wanted first. What is ready, or paused after a failure, leaves its
turn to the next.
"""

from collections.abc import Iterable, Mapping

from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.weights.staging.decide.artifact import Artifact, digest_of


def wanted(desired: DesiredState | None, configured: WeightsArtifact | None) -> tuple[Artifact, ...]:
    """Return what to stage, each digest once; without a desired state, the weights that the pod starts with."""
    if desired is None:
        return (configured,) if configured else ()
    by_digest: dict[str, Artifact] = {}
    serving = [item for item in desired.staged if item.weights.digest == desired.serve.digest]
    items: tuple[Artifact, ...] = (*serving, *desired.adapters, *desired.staged)
    for item in items:
        by_digest.setdefault(digest_of(item), item)
    return tuple(by_digest.values())


def protected(desired: DesiredState | None, configured: WeightsArtifact | None) -> frozenset[str]:
    """Return digests of weights that are never removed: what is wanted, and what serves or would after a restart."""
    if desired is None:
        digests = {configured.weights.digest} if configured else set()
    else:
        digests = {desired.serve.digest, *(item.weights.digest for item in desired.staged)}
    return frozenset(digests - {""})


def protected_adapters(desired: DesiredState | None) -> frozenset[str]:
    """Return digests of the adapters that are wanted; others are removed."""
    return frozenset(item.adapter.digest for item in desired.adapters) if desired else frozenset()


def choose(digests: Iterable[str], *, ready: Iterable[str], not_before: Mapping[str, float], now: float) -> str | None:
    """Return the first that is not ready and whose pause is over; None where there is none."""
    done = frozenset(ready)
    return next((digest for digest in digests if digest not in done and not_before.get(digest, now) <= now), None)
