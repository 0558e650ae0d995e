"""The weights that an engine loads, and where a stage finds them.

Rule: all stages of an engine get one path. Weights that a stager readied lie in a folder of each stage's own, so the
path is that of a verified link, ``LINKS/<first 16 hex digits of the digest>``, which every stage points at its own
folder. Weights that nobody staged are loaded from where they lie. The name that the OpenAI API serves is always that
of the pod's config: it cannot change while the engine runs.
"""

from typing import Final

from llama_serving.config import names
from llama_serving.config.cell import CellConfig, WeightsRef
from llama_serving.config.desired import DesiredState

LINKS: Final = "/tmp/llama-weights"


def desired_weights(config: CellConfig, desired: DesiredState | None) -> WeightsRef:
    """Return the weights that are to be served: of the desired state, else of the pod's config."""
    return config.weights if desired is None else desired.serve


def is_staged(config: CellConfig, weights: WeightsRef) -> bool:
    """Return whether a stager readies these weights; without a digest there is nothing that it could check."""
    return config.staged and bool(weights.digest)


def engine_weights(config: CellConfig, weights: WeightsRef) -> WeightsRef:
    """Return ``weights`` as the engine loads them: the path is a link where a stager readies them."""
    path = f"{LINKS}/{short_digest(weights.digest)}" if is_staged(config, weights) else weights.path
    return weights.model_copy(update={"path": path, "served_name": config.weights.served_name})


def is_verified(weights: WeightsRef) -> bool:
    """Return whether the engine reaches ``weights`` by a verified link, so that each rank can name their digest."""
    return weights.path.startswith(f"{LINKS}/")


def display_name(weights: WeightsRef) -> str:
    """Return a name for sentences: the id, and the beginning of the digest where there is one."""
    short = weights.digest.removeprefix("sha256:")[:12]
    return f"{weights.id} ({short})" if short and short not in weights.id else weights.id


def stage_folder(weights: WeightsRef, *, stage: int, stages: int) -> str:
    """Return where staged weights lie on one stage: its own sub-folder, or the volume that was mounted."""
    if weights.path == names.weights_path(weights.digest):
        return names.staged_path(weights.digest, stage=stage, stages=stages)
    return weights.path


def short_digest(digest: str) -> str:
    """Return the first 16 hexadecimal digits: the name of a folder or a link."""
    return digest.removeprefix("sha256:")[:16]
