"""The key between a deployment's gateways and its engines: a Secret that both mount, and nobody else.

It holds where no NetworkPolicy does. It is drawn once and is none of Ray's token, with which code runs in a cell.
"""

from dataclasses import replace
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import Context, key_secret, key_volume, mount
from llama_operator.plan.naming import engine_key_name
from llama_operator.ports import Manifest
from llama_serving.config import names

_VOLUME: Final = "engine-key"


def asks_for_key(spec: LlamaDeploymentSpec) -> bool:
    """Return whether engines ask for the key: as the spec says, else where gateways surely know it.

    ``spec``: the deployment's own, or a group's from ``of_group``.
    """
    if spec.walls.engine_key == "auto":
        return not spec.images.gateway
    return spec.walls.engine_key == "required"


def of_group(context: Context, spec: LlamaDeploymentSpec) -> Context:
    """Return the context of a group whose template has this spec.

    A template names the default image that it took, so whether gateways know the key is said by the deployment's spec.
    """
    if spec.walls.engine_key == "auto":
        said = "required" if asks_for_key(context.spec) else "unused"
        spec = spec.model_copy(update={"walls": spec.walls.model_copy(update={"engine_key": said})})
    return replace(context, spec=spec)


def engine_key_secret(context: Context) -> Manifest:
    """Return the Secret of the key."""
    return key_secret(context, engine_key_name(context.key.name), names.COMPONENT_GATEWAY)


def engine_key_volume(context: Context) -> dict[str, Any]:
    """Mount the key as a file."""
    return key_volume(_VOLUME, engine_key_name(context.key.name), file=names.ENGINE_KEY_PATH.rpartition("/")[2])


def engine_key_mount() -> dict[str, Any]:
    """Mount it in a container."""
    return mount(_VOLUME, names.ENGINE_KEY_PATH.rpartition("/")[0], read_only=True)
