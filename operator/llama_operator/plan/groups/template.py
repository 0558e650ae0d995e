"""What groups are to be: the spec with its weights (desired), and the one that the groups reached last (stable).

The pod hash of a template is decided once, when its rollout starts, and kept: where only the weights change and the
pods stay, it is the hash of the pods that are there; where groups are replaced all the same, a new one.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from llama_operator.api import FORMER_SIZE, LlamaDeploymentSpec, StageResources
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.bounds.byte_cache import ByteCache
from llama_operator.bounds.json_text import JsonLimits, OverLimitError
from llama_operator.bounds.parse import UnreadableError, parse_json
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.images import (
    StageDefaults,
    fitting_defaults,
    image_refusal,
    stage_defaults,
    with_defaults,
)
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.groups.weights_lookup import weights_artifact
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.model import ModelFacts
from llama_serving.config.reasons import Reason

#: A spec in a status, which anybody who may write the status may have written.
_STORED_SPEC: Final = JsonLimits(size=1 << 20, elements=100_000)
#: Bytes of the specs that are remembered, over all deployments; one has a few KiB, parsed some times its text.
_SPECS: Final = ByteCache[LlamaDeploymentSpec | None](32 << 20)
_WEIGHT: Final = 8
#: Parts of the spec that a group is not made of: a stored template takes them from the present spec.
_NOT_IN_GROUP = frozenset(
    {"replicas", "adapters", "adapter_selector", "autoscaling", "gateway", "pod_template", "rollout", "verify"}
)


@dataclass(frozen=True)
class GroupTemplate:
    """What a group is to be."""

    spec_hash: str  # equal where pods and weights are to be equal
    template_hash: str  # of what makes a pod different, without its weights
    pod_hash: str  # of its pods
    weights_name: str  # name of the LlamaWeights
    serve: WeightsArtifact
    spec: LlamaDeploymentSpec

    @property
    def digest(self) -> str:
        """Digest of its weights."""
        return self.serve.weights.digest

    @property
    def label(self) -> str:
        """Weights and pod hash, for humans."""
        return template_label(self.serve.weights.id, self.pod_hash)


def leaving_groups(template: GroupTemplate, state: PlanState, *, changing: Collection[int]) -> tuple[Group, ...]:
    """Return the groups that leave: those that shall not be there, and, of ``changing``, those of another template."""
    return tuple(
        group
        for group in state.groups
        if group.id.ordinal not in state.ordinals
        or (group.id.ordinal in changing and group.id.pod_hash != template.pod_hash)
    )


def template_label(weights: str, pod_hash: str) -> str:
    """Name weights, by their id, in pods of this hash."""
    return sentences.template_label(weights, pods=pod_hash)


def asked_key(spec: LlamaDeploymentSpec) -> str:
    """Return a hash of what a spec asks of its groups, also where no template can be made of it."""
    return short_hash(["asked", _small(spec)])


def is_asked_again(stable: StableTemplate | None, spec: LlamaDeploymentSpec) -> bool:
    """Return whether the spec asks, but for images and derived sizes, what the stable template was made from."""
    if stable is None:
        return False
    stored = stable_spec(stable)
    if stored is None:
        return False
    size = spec.resources.over(stored.resources.size)
    asked = spec.model_copy(update={"images": stored.images, "resources": StageResources(**vars(size))})
    return _small(stored) == _small(asked)


def desired_template(state: PlanState) -> GroupTemplate | None:
    """Return what the spec asks for, its pod hash not decided yet; None while its weights are not ready."""
    view, spec = state.model_weights, state.spec
    if view is None or not view.ready or view.manifest is None or view.facts is None:
        return None
    found = desired_defaults(state, view.facts)
    made = with_defaults(spec, found)
    hashed = template_hash(made, view.facts, serving_image=found.serving)
    serve = weights_artifact(view, spec.model.name_in_api(state.snapshot.key.name))
    return GroupTemplate(
        spec_hash=short_hash([hashed, view.digest, serve.weights.path]),
        template_hash=hashed,
        pod_hash=hashed,
        weights_name=view.name,
        serve=serve,
        spec=made,
    )


def desired_defaults(state: PlanState, facts: ModelFacts) -> StageDefaults:
    """Return images and sizes that the groups of the spec are to have."""
    status, settings = state.snapshot.status, state.settings
    served = status.stable.template_hash if status.stable else ""
    taken = fitting_defaults(state.spec, status.default_images, served=served, settings=settings)
    return stage_defaults(state.spec, facts, taken=taken, settings=settings)


def check_images(state: PlanState) -> tuple[Explanation, ...]:
    """Say why no group can be made of the spec's image on its device; of what has served nothing is said."""
    view, spec, stable = state.model_weights, state.spec, state.snapshot.status.stable
    if view is None or view.facts is None:
        return ()
    found = desired_defaults(state, view.facts)
    text = image_refusal(spec, found.serving, settings=state.settings)
    if not text:
        return ()
    hashed = template_hash(with_defaults(spec, found), view.facts, serving_image=found.serving)
    return () if stable and stable.template_hash == hashed else (Explanation(Reason.IMAGE_REFUSED, text),)


def stable_template(state: PlanState) -> GroupTemplate | None:
    """Return what the groups reached last; None where there is none, or where its weights are not known now."""
    stored, serve = state.snapshot.status.stable, state.stable_weights
    if stored is None or serve is None:
        return None
    spec = stable_spec(stored)
    if spec is None:
        return None
    present = {field: getattr(state.spec, field) for field in _NOT_IN_GROUP}
    return GroupTemplate(
        spec_hash=stored.key,
        template_hash=stored.template_hash,
        pod_hash=stored.pod_hash,
        weights_name=stored.weights,
        serve=serve,
        spec=spec.model_copy(update=present),
    )


def stable_spec(stored: StableTemplate) -> LlamaDeploymentSpec | None:
    """Return the spec of the stable template; None where this operator does not know the rules that it follows."""
    return _parsed_spec(stored.spec)


def _parsed_spec(text: str) -> LlamaDeploymentSpec | None:
    """Parse a stored spec. Every pass of every deployment asks, and the text changes with a rollout only."""
    return _SPECS.get(text, lambda: (_read_spec(text), _WEIGHT * len(text)))


def _read_spec(text: str) -> LlamaDeploymentSpec | None:
    try:
        spec = parse_json(LlamaDeploymentSpec, text.encode(errors="replace"), _STORED_SPEC)
    except (OverLimitError, UnreadableError):
        return None
    return spec.model_copy(update={"resources": StageResources(**vars(spec.resources.size))})


def template_identity(template: GroupTemplate) -> dict[str, Any]:
    """Return the fields of the status by which a template is known again, in a rollout and as the stable one."""
    return {
        "key": template.spec_hash,
        "template_hash": template.template_hash,
        "pod_hash": template.pod_hash,
        "weights": template.weights_name,
        "digest": template.digest,
        "id": template.serve.weights.id,
    }


def persisted_template(template: GroupTemplate) -> StableTemplate:
    """Return the template as the status keeps it: without what is at its default."""
    return StableTemplate(
        **template_identity(template),
        spec=json.dumps(_small(template.spec), sort_keys=True, separators=(",", ":")),
    )


def _small(spec: LlamaDeploymentSpec) -> dict[str, Any]:
    """Return the part of the spec that groups are made from, without what is at its default.

    Sizes of before are left out, as they were when they were defaults; a size that is not set is null.
    """
    found = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={*_NOT_IN_GROUP, "resources"})
    former = StageResources(**vars(FORMER_SIZE)).model_dump(by_alias=True)
    sizes = spec.resources.model_dump(mode="json", by_alias=True)
    other = {name: size for name, size in sizes.items() if size != former[name]}
    return {**found, "resources": other} if other else found
