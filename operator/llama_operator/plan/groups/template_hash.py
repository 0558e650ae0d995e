"""The revision: a short hash of everything that makes a stage's pod different, whatever weights it serves.

It is a hash of the user's spec, not of the rendered pod: a new version of the operator that renders a pod differently
must not restart anybody's model. Fields at their default are left out, so that a new field does not change old hashes.
Not part of it: ``replicas`` and autoscaling, the gateway, how changes are rolled out and verified, the license that
was accepted, the served name, and which weights are served: of the source only the volume that it needs, of the
weights only their shape, because weights of one shape are exchanged in running pods.
"""

from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.hashing import short_hash
from llama_operator.plan.settings import Settings
from llama_serving.config.model import ModelFacts

_NOT_IN_POD: Final[dict[str, Any]] = {
    "replicas": True,
    "autoscaling": True,
    "gateway": True,
    "rollout": True,
    "verify": True,
    "model": {
        "source": True, "revision": True, "digest": True, "license": True, "accept_license": True, "served_name": True,
    },
    "placement": {"admission": True},
    "images": {"serving": True, "gateway": True},
}  # fmt: skip
#: What two weights must have in common to be exchanged in a running engine.
_SHAPE: Final = frozenset(
    {
        "architecture", "layers", "hidden_size", "heads", "kv_heads", "head_dim", "vocabulary", "dtype",
        "quantization", "tied_embeddings",
    }
)  # fmt: skip


def revision_of(spec: LlamaDeploymentSpec, settings: Settings, facts: ModelFacts) -> str:
    """Eight hexadecimal characters; equal wishes give equal revisions."""
    wish = spec.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_POD)
    wish["serving_image"] = serving_image(spec, settings)
    wish["volume"] = _volume(spec.model.source)
    wish["shape"] = facts.model_dump(mode="json", include=set(_SHAPE), exclude_defaults=True)
    return short_hash({key: value for key, value in wish.items() if value != {}})


def _volume(source: str) -> str:
    """A claim is mounted where its folder is served; everything else comes through the stager."""
    scheme, _, rest = source.partition("://")
    return f"pvc://{rest.partition('/')[0]}" if scheme == "pvc" else "staged"


def serving_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Image of the stages."""
    return spec.images.serving or settings.serving_image


def gateway_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Image of the gateway and of the stager."""
    return spec.images.gateway or settings.gateway_image
