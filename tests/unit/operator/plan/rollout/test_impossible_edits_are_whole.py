"""The table of edits that cannot work has every field that changes a group's pods, or says why it has it not."""

import types
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from llama_operator.api import (
    AdapterLimitsSpec,
    ChatTemplateRef,
    ClaimTemplate,
    EngineCache,
    LlamaDeploymentSpec,
    Toleration,
)
from llama_operator.api.v1alpha1.placement import NodeExpression, NodeTerm, PreferredNodeTerm
from llama_operator.plan.groups.images import serving_image
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.preview.scenario import merged
from tests.fakes.models import FACTS
from tests.fakes.world import SETTINGS, spec_of
from tests.impossible_edits import EDITS, FIRST, NO_IMPOSSIBLE_VALUE, SMALL, taken_back

BASE = LlamaDeploymentSpec.model_validate(spec_of())
NODES = NodeTerm(match_expressions=(NodeExpression(key="pool", operator="Exists"),))
#: Another value than that of ``BASE``, where a word will not do.
OTHERS: dict[str, Any] = {
    "model.source": "pvc://others/m",
    "placement.nodeSelector": {"a": "b"},
    "placement.tolerations": (Toleration(key="a"),),
    "placement.tolerations.tolerationSeconds": (Toleration(toleration_seconds=5),),
    "staging.volumeClaimTemplate.size": ClaimTemplate(size="5Gi"),
    "staging.volumeClaimTemplate.storageClassName": ClaimTemplate(size="9Gi", storage_class_name="fast"),
    "placement.nodeAffinity.required": (NODES,),
    "placement.nodeAffinity.preferred": (PreferredNodeTerm(match_expressions=NODES.match_expressions, weight=1),),
    "device.extra": {"rdma/hca": "1"},
    "engine.nccl": {"NCCL_DEBUG": "INFO"},
    "network.annotations": {"k8s.v1.cni.cncf.io/networks": "rail0"},
    "engine.cache.claimName": EngineCache(claim_name="other"),
    "engine.cache.onStagingClaim": EngineCache(on_staging_claim=True),
    **{
        f"model.chatTemplate.{part}": ChatTemplateRef(config_map="templates", text="{{ messages }}")
        for part in ("configMap", "key", "text")
    },
    **{
        f"adapterLimits.{part}": AdapterLimitsSpec(slots=4, held=16, max_rank=16)
        for part in ("slots", "held", "maxRank")
    },
    "rollout.restartedAt": datetime(2026, 1, 1, tzinfo=UTC),
}
#: Parts of an item of a list of which the list's own row speaks.
_PARTS = {f"placement.tolerations.{part}" for part in ("key", "operator", "value", "effect")} | {
    f"placement.nodeAffinity.{kind}.{part}"
    for kind in ("required", "preferred")
    for part in ("weight", "matchExpressions", *(f"matchExpressions.{one}" for one in ("key", "operator", "values")))
}


def leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of all fields of a section, in the words of the API; a list of sections is a leaf and has its leaves."""
    for name, found in model.model_fields.items():
        alias = f"{path}{found.alias or name}"
        section = _section(found.annotation)
        if section is None or get_origin(found.annotation) is tuple:
            yield alias
        if section is not None:
            yield from leaves(section, f"{alias}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, be it optional or in a list."""
    if get_origin(annotation) in (tuple, Union, types.UnionType):
        return next((found for one in get_args(annotation) if (found := _section(one))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def changed(path: str) -> LlamaDeploymentSpec:
    """BASE with another value at the path."""
    known = (
        "placement.tolerations", "staging.volumeClaimTemplate", "engine.cache", "model.chatTemplate", "adapterLimits",
    )  # fmt: skip
    stops = next((section for section in known if section in path), path)
    found: LlamaDeploymentSpec = _with(BASE, stops.split("."), OTHERS.get(path, "other"))
    return found


def _with(model: Any, path: list[str], value: object) -> Any:
    field = next(name for name, one in type(model).model_fields.items() if (one.alias or name) == path[0])
    inner = _with(getattr(model, field), path[1:], value) if len(path) > 1 else value
    return model.model_copy(update={field: inner})


def hash_of(spec: LlamaDeploymentSpec) -> str:
    return template_hash(spec, FACTS, serving_image=serving_image(spec, SETTINGS))


#: Sections of which no field is in a pod of a group, as test_template_hash.py holds.
_ELSEWHERE = (
    "autoscaling",
    "gateway",
    "verify",
    "podTemplate",
    "rollout.canary",
    "adapters",
    "adapterSelector",
    "access",
)


def in_pods() -> set[str]:
    """Fields of the spec that change the pods of a group."""
    paths = {path for path in leaves(LlamaDeploymentSpec) if not path.startswith(_ELSEWHERE)} - _PARTS
    return {path for path in paths if hash_of(changed(path)) != hash_of(BASE)}


def test_every_field_of_a_pod_is_in_the_table_or_has_a_reason() -> None:
    fields, tried = in_pods(), {path for edit in EDITS.values() for path in edit.fields}
    assert len(fields) > 30
    assert sorted(fields - tried - NO_IMPOSSIBLE_VALUE.keys()) == []
    assert sorted(NO_IMPOSSIBLE_VALUE.keys() - fields) == []
    assert sorted(tried & NO_IMPOSSIBLE_VALUE.keys()) == []
    assert all(why for why in NO_IMPOSSIBLE_VALUE.values())


def test_every_edit_changes_a_spec_that_the_api_server_takes() -> None:
    for name, edit in EDITS.items():
        before = merged(merged(spec_of(), SMALL), edit.before)
        after = merged(before, edit.edit)
        assert LlamaDeploymentSpec.model_validate(after) != LlamaDeploymentSpec.model_validate(before), name
        assert LlamaDeploymentSpec.model_validate(merged(after, edit.mended or {})), name
        assert merged(after, taken_back(edit.edit, before)) == before, name


def test_there_are_enough_of_them() -> None:
    assert len(EDITS) >= 40
    assert sum(edit.bed for edit in EDITS.values()) >= 25
    assert all(EDITS[name].bed for name in FIRST)
