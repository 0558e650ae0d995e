"""Claims that keep staged weights while their group has no pods: who has one, who keeps it, and what it costs."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.actions import Actions, CreateStage, GroupPlan
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.claims import claim_for, kept_claims, warm_sentence
from llama_operator.plan.plan import Plan
from llama_operator.ports import Manifest
from llama_serving.config import names
from tests.fakes.weights import REMOTE
from tests.fakes.world import SETTINGS
from tests.unit.operator.worlds import KEY, serve_of, stage, state_of, world

WARM: dict[str, Any] = {
    "model": REMOTE, "staging": {"volumeClaimTemplate": {"size": "100Gi", "storageClassName": "fast"}},
    "autoscaling": {"minReplicas": 0, "maxReplicas": 4, "warmGroups": 1},
}  # fmt: skip
NAMES = ("chat-0-0-weights", "chat-0-1-weights")


def seen(*pods: Any, claims: tuple[Manifest, ...] = (), **changed: Any) -> Snapshot:
    found = world(*pods, known=False, spec={**WARM, **changed})
    return replace(found, children=(*found.children, *claims))


def claim(name: str, **meta: Any) -> Manifest:
    labels = {names.LABEL_GROUP: name.split("-")[1]}
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels, **meta},
        "spec": {"resources": {"requests": {"storage": "100Gi"}}},
    }  # fmt: skip


def created(there: Snapshot, ordinal: int = 0, pod_hash: str = "new") -> tuple[list[str], list[Manifest], Any]:
    """Claims that are made, volumes with weights, and all changes, when both pods of a group are made."""
    assert there.spec is not None
    group = GroupId("chat", ordinal, pod_hash)
    creates = (CreateStage(group, 0), CreateStage(group, 1))
    decided = Plan(Actions(groups=(GroupPlan(group, serve_of(), there.spec),), creates=creates))
    found = changes(decided, state_of(there), Context(KEY, "uid-1", there.spec, SETTINGS))
    pods = [write.manifest for write in found.applies if write.manifest["kind"] == "Pod"]
    volumes = [one for pod in pods for one in pod["spec"]["volumes"] if one["name"] == "weights"]
    return [one["metadata"]["name"] for one in found.claims], volumes, found


def test_a_warm_group_gets_claims_that_outlive_it() -> None:
    made, volumes, found = created(seen())
    assert tuple(made) == NAMES
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in volumes] == made
    (first, _) = found.claims
    assert first["spec"] == {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "100Gi"}},
    }  # fmt: skip
    assert first["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert first["metadata"]["labels"]["llama-operator.dev/deployment"] == "chat"


def test_the_next_start_finds_them() -> None:
    made, volumes, found = created(seen(claims=tuple(map(claim, NAMES))))
    assert made == []
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in volumes] == list(NAMES)
    assert found.prunes == ()


@pytest.mark.parametrize(
    ("there", "ordinal"),
    [
        (seen(), 1),
        (seen(autoscaling={"minReplicas": 0, "maxReplicas": 4}), 0),
        (seen(stage(0, 0, "old", claims=frozenset(NAMES))), 0),
        (seen(claims=tuple(claim(name, deletionTimestamp="2026-01-01T00:00:00Z") for name in NAMES)), 0),
    ],
    ids=["another group", "not asked for", "the pods before still have them", "being deleted"],
)
def test_others_get_claims_that_go_with_their_pods(there: Snapshot, ordinal: int) -> None:
    made, volumes, _ = created(there, ordinal)
    assert made == []
    assert [set(volume) for volume in volumes] == [{"name", "ephemeral"}] * 2


def test_weights_that_are_mounted_need_none() -> None:
    there = world(known=False, spec={**WARM, "model": world().spec.model.to_api()})  # type: ignore[union-attr]
    assert there.spec is not None
    assert claim_for(CreateStage(GroupId("chat", 0, "new"), 0), there.spec, there) == ""


def pruned(there: Snapshot) -> set[str]:
    assert there.spec is not None
    found = changes(Plan(), state_of(there), Context(KEY, "uid-1", there.spec, SETTINGS))
    return {ref.name for ref in found.prunes if ref.kind == "PersistentVolumeClaim"}


def test_claims_are_kept_for_warm_groups_and_while_a_pod_has_them() -> None:
    more = (*map(claim, NAMES), claim("chat-0-2-weights"), claim("chat-1-0-weights"))
    assert pruned(seen(claims=more)) == {"chat-0-2-weights", "chat-1-0-weights"}
    mounted = stage(1, 0, claims=frozenset({"chat-1-0-weights"}))
    assert pruned(seen(mounted, claims=more)) == {"chat-0-2-weights"}
    nobody = LlamaDeploymentSpec.model_validate(seen().spec.to_api() | {"autoscaling": None})  # type: ignore[union-attr]
    assert kept_claims(seen(), nobody) == frozenset()


def test_what_it_costs() -> None:
    assert warm_sentence(seen()) == ""
    assert warm_sentence(seen(claims=tuple(map(claim, NAMES)))) == "2 claims of 100Gi kept for 1 group"
