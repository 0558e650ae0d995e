"""What groups are to be: the spec's wish with its weights, and the last good one that is kept in the status.

A template's pod hash is decided once, when its rollout begins, and kept: where only the weights change and pods are to
stay, it is that of the pods that are there; where groups are to be replaced all the same, a new one.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.hashing import short_hash
from llama_operator.observe.deployment import Snapshot, WeightsView
from llama_operator.plan.groups.images import stage_images, with_images
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.groups.weights_lookup import weights_of
from llama_operator.plan.settings import Settings
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.source import fill, is_mounted, split

#: Parts of the spec that a group is not made of; of a kept wish they are those of the present spec.
_OF_NOW = frozenset({"replicas", "autoscaling", "gateway", "rollout", "verify"})


#: Key of a group's ConfigMap that holds the weights that its pods start with.
_FILE = names.MANIFEST_PATH.rpartition("/")[2]


@dataclass(frozen=True)
class GroupTemplate:
    """What a group is to be."""

    key: str  # equal for equal wishes
    template_hash: str  # hash of what makes a pod different, without its weights
    pod_hash: str  # of its pods
    weights: str  # name of the LlamaWeights
    serve: WeightsArtifact
    spec: LlamaDeploymentSpec

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return self.serve.weights.digest

    @property
    def label(self) -> str:
        """For humans: the weights and the hash of the pods."""
        return f"{self.serve.weights.id} in pods {self.pod_hash}"


def desired_template(world: Snapshot, spec: LlamaDeploymentSpec, settings: Settings) -> GroupTemplate | None:
    """What the spec asks for, with the plain pod hash; None while its weights are not ready."""
    view = weights_of(world.weights, spec.model)
    if view is None or not view.ready or view.manifest is None or view.facts is None:
        return None
    images = stage_images(spec, view.facts, taken=world.status.default_images, settings=settings)
    base = template_hash(spec, view.facts, serving_image=images.serving)
    serve = next_weights(view, spec.model.name_in_api(world.key.name))
    key = short_hash([base, view.digest, serve.weights.path])
    return GroupTemplate(key, base, base, view.name, serve, with_images(spec, images))


def stable_template(
    world: Snapshot, spec: LlamaDeploymentSpec, known: Mapping[str, WeightsArtifact]
) -> GroupTemplate | None:
    """The last wish that the groups reached; None where there is none, or where its weights are not known now."""
    kept = world.status.stable
    serve = known.get(kept.digest) if kept else None
    if kept is None or serve is None:
        return None
    try:
        stored = LlamaDeploymentSpec.model_validate_json(kept.spec)
    except ValidationError:
        return None  # written under rules that this operator does not know
    present = {field: getattr(spec, field) for field in _OF_NOW}
    return GroupTemplate(
        kept.key, kept.template_hash, kept.pod_hash, kept.weights, serve, stored.model_copy(update=present)
    )


def keep(target: GroupTemplate) -> StableTemplate:
    """The target as it is kept in the status: without what is at its default."""
    small = target.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=set(_OF_NOW))
    return StableTemplate(
        key=target.key,
        template_hash=target.template_hash,
        pod_hash=target.pod_hash,
        weights=target.weights,
        digest=target.digest,
        id=target.serve.weights.id,
        spec=json.dumps(small, sort_keys=True, separators=(",", ":")),
    )


def next_weights(view: WeightsView, served_name: str) -> WeightsArtifact:
    """What the stager and the engine are told of ready weights. ``view.manifest`` must be known."""
    if view.manifest is None:
        raise ValueError(f"the manifest of {view.name} is not known")
    source = fill(view.source, view.revision)
    weights = WeightsRef(
        path=weights_folder(source, view.digest),
        id=weights_id(view.revision, view.digest),
        served_name=served_name,
        digest=view.digest,
    )
    return WeightsArtifact(
        weights=weights, source=source, revision=view.resolved or view.revision, manifest=view.manifest
    )


def weights_id(revision: str, digest: str) -> str:
    """Name of weights for humans and headers; two digests never share one, even if a tag was moved."""
    return f"{revision}@{digest.removeprefix('sha256:')[:12]}"


def weights_folder(source: str, digest: str) -> str:
    """Where a pod finds the weights: in the mounted claim, or where its stager brings them."""
    if not is_mounted(source):
        return names.weights_path(digest)
    path = split(source).path
    return f"{names.MODEL_MOUNT}/{path}" if path else names.MODEL_MOUNT


def known_weights(world: Snapshot, served_name: str) -> dict[str, WeightsArtifact]:
    """By digest, all weights that a group can be told to serve: of ready LlamaWeights, and of the groups' own files.

    The latter outlive a LlamaWeights that is being resolved again.
    """
    found = {serve.weights.digest: serve for serve in group_files(world).values()}
    ready = (view for _, view in sorted(world.weights.items()) if view.ready and view.manifest)
    return found | {view.digest: next_weights(view, served_name) for view in ready}


def group_files(world: Snapshot) -> dict[str, WeightsArtifact]:
    """By the name of the group, the weights that its pods start with, as its ConfigMap says."""
    found = {}
    for child in world.children:
        text = (child.get("data") or {}).get(_FILE) if child["kind"] == "ConfigMap" else None
        if text and (serve := _parsed(text)):
            found[child["metadata"]["name"]] = serve
    return found


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> WeightsArtifact | None:
    """The file of a large model is 150 KB, and is looked at in every pass: remembered by its text."""
    try:
        return WeightsArtifact.model_validate_json(text)
    except ValidationError:
        return None  # of another version of the operator: it is written anew
