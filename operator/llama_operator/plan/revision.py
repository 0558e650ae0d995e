"""The revision: a short hash of everything that makes a stage's pod different.

It is a hash of the user's wish, not of the rendered pod: a new version of the operator that renders a pod differently
must not restart anybody's model. Fields at their default are left out, so that a new field does not change old hashes.
``replicas`` and the gateway are not part of it, nor is what the API server lets nobody change in effect: the license
that was accepted and the served name, which may only be spelled out.
"""

import hashlib
import json
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.settings import Settings

_NOT_IN_POD: Final[dict[str, Any]] = {
    "replicas": True,
    "gateway": True,
    "model": {"license": True, "accept_license": True, "served_name": True},
    "images": {"serving": True, "gateway": True},
}


def revision_of(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Eight hexadecimal characters; equal wishes give equal revisions."""
    wish = spec.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_POD)
    wish["serving_image"] = serving_image(spec, settings)
    return short_hash({key: value for key, value in wish.items() if value != {}})


def model_key_of(spec: LlamaDeploymentSpec) -> str:
    """Names what the inspector looked at: another source or revision must be looked at anew."""
    return short_hash({"source": spec.model.source, "revision": spec.model.revision})


def inspector_key_of(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Names an inspector's pod: a pod that cannot be placed or pulled must give way when that is mended."""
    wish = {
        "model": model_key_of(spec),
        "image": gateway_image(spec, settings),
        "pull": [spec.images.pull_policy, *spec.images.pull_secrets],
        "placement": spec.placement.model_dump(mode="json", include={"node_selector", "tolerations"}),
    }
    return short_hash(wish)


def serving_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Image of the stages."""
    return spec.images.serving or settings.serving_image


def gateway_image(spec: LlamaDeploymentSpec, settings: Settings) -> str:
    """Image of the gateway and of the inspector."""
    return spec.images.gateway or settings.gateway_image


def short_hash(value: object) -> str:
    """First 32 bits of SHA-256 of the canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
