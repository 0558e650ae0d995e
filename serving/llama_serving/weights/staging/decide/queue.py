"""Which weights are worked on next.

The weights that shall serve come first, since a group that restarts waits for them; then the others, most wanted
first. Weights that are ready, or paused after a failure, leave their turn to the next.
"""

from collections.abc import Iterable, Mapping

from llama_serving.config.desired import DesiredState, WeightsArtifact


def wanted(desired: DesiredState | None, configured: WeightsArtifact | None) -> tuple[WeightsArtifact, ...]:
    """Return what to stage, each digest once; without a desired state, the weights that the pod starts with."""
    if desired is None:
        return (configured,) if configured else ()
    by_digest: dict[str, WeightsArtifact] = {}
    for item in sorted(desired.staged, key=lambda item: item.weights.digest != desired.serve.digest):
        by_digest.setdefault(item.weights.digest, item)
    return tuple(by_digest.values())


def protected(desired: DesiredState | None, configured: WeightsArtifact | None) -> frozenset[str]:
    """Return digests that are never removed: what is wanted, and what serves or would after a restart."""
    digests = {item.weights.digest for item in wanted(desired, configured)}
    if desired is not None:
        digests.add(desired.serve.digest)
    return frozenset(digests - {""})


def choose(digests: Iterable[str], *, ready: Iterable[str], not_before: Mapping[str, float], now: float) -> str | None:
    """Return the first that is not ready and whose pause is over; None where there is none."""
    done = frozenset(ready)
    return next((digest for digest in digests if digest not in done and not_before.get(digest, now) <= now), None)
