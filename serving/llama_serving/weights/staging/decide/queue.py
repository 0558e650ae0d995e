"""Which weights are worked on next.

What the wish says shall serve comes first, since a group that starts again waits for it; then the others, most wanted
first. What is ready, or refused or waiting until later, leaves its turn to the next.
"""

from collections.abc import Iterable, Mapping

from llama_serving.config.desired import DesiredState, WeightsArtifact


def wanted(wish: DesiredState | None, configured: WeightsArtifact | None) -> tuple[WeightsArtifact, ...]:
    """Without a wish, the weights that the pod starts with. Each digest once."""
    if wish is None:
        return (configured,) if configured else ()
    by_digest: dict[str, WeightsArtifact] = {}
    for item in sorted(wish.staged, key=lambda item: item.weights.digest != wish.serve.digest):
        by_digest.setdefault(item.weights.digest, item)
    return tuple(by_digest.values())


def protected(wish: DesiredState | None, configured: WeightsArtifact | None) -> frozenset[str]:
    """Digests of weights that are never removed: what is wanted, and what serves or would after a restart."""
    digests = {item.weights.digest for item in wanted(wish, configured)}
    if wish is not None:
        digests.add(wish.serve.digest)
    return frozenset(digests - {""})


def choose(digests: Iterable[str], *, ready: Iterable[str], not_before: Mapping[str, float], now: float) -> str | None:
    """The first that is not ready and whose pause is over; None where there is none."""
    done = frozenset(ready)
    return next((digest for digest in digests if digest not in done and not_before.get(digest, now) <= now), None)
