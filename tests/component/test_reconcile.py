"""The loop's pass against our fakes: how a deployment comes to serve, changes, heals and says what it waits for."""

import pytest

from llama_operator.api import KIND, WEIGHTS_KIND, LlamaDeploymentSpec
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.ports import Rejected
from llama_serving.config import names
from tests.fakes.cluster import stamp
from tests.fakes.models import FACTS, id_of
from tests.fakes.world import KEY, SETTINGS, World, spec_of


async def test_a_deployment_comes_to_serve() -> None:
    world = World()
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert world.status.reason == "Serving"
    assert world.status.message == "2 groups serve from 2 nodes"
    assert world.status.weights == id_of("v1")
    assert world.status.observed_generation == 1
    assert {group.state for group in world.status.groups} == {"Serving"}
    assert [group.nodes for group in world.status.groups] == [("node-0", "node-1")] * 2
    assert {condition.type: condition.status for condition in world.status.conditions} == {
        "Available": "True",
        "Degraded": "False",
        "NetworkPolicyEnforced": "True",
        "Progressing": "False",
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    kinds = sorted({kind for kind, _ in world.cluster.objects})
    assert kinds == [
        "ConfigMap", "Deployment", KIND, WEIGHTS_KIND, "NetworkPolicy", "Pod", "PodDisruptionBudget", "Role",
        "RoleBinding", "Secret", "Service", "ServiceAccount",
    ]  # fmt: skip


async def test_serving_and_unchanged_means_no_write() -> None:
    world = World()
    await world.settle()
    before = list(world.cluster.writes)
    await world.seconds(300)
    assert world.cluster.writes == before


async def test_no_stage_before_the_model_was_accepted() -> None:
    world = World()
    world.nodes.behave("v1", refused=("WeightsUnreadable", "model.safetensors has mode 0600"))
    await world.seconds(20)
    assert world.stage_names() == []
    assert world.status.reason == "WeightsUnreadable"
    assert world.status.message == "model.safetensors has mode 0600"


async def test_a_refused_model_heals_by_itself() -> None:
    world = World()
    world.nodes.behave("v1", refused=("ModelRefused", "no"))
    await world.seconds(20)
    assert world.status.reason == "ModelRefused"
    world.nodes.behave("v1")
    await world.settle()
    assert world.status.groups_ready == "2/2"


async def test_layout_that_the_model_refuses_asks_for_no_device() -> None:
    world = World(spec_of(contextLength=9000))
    await world.seconds(20)
    assert world.stage_names() == []
    assert world.status.reason == "LayoutRefused"
    assert world.status.message == (
        "spec.contextLength is 9000, but the model's config allows 8192 tokens; use at most 8192"
    )


@pytest.mark.parametrize("stage", [0, 1])
async def test_a_deleted_pod_rebuilds_its_group_and_only_its_group(stage: int) -> None:
    world = World()
    await world.settle()
    before = world.stage_uids()
    lost = next(name for name in before if name.endswith(f"-1-{stage}"))
    world.cluster.vanish("Pod", lost)
    await world.settle()
    after = world.stage_uids()
    assert after.keys() == before.keys()
    renewed = {name for name in before if before[name] != after[name]}
    assert renewed == {name for name in before if "-1-" in name[-4:]}
    assert world.status.groups_ready == "2/2"


async def test_an_evicted_pod_rebuilds_its_group() -> None:
    world = World()
    await world.settle()
    pod = world.cluster.objects["Pod", world.stage_names()[1]]
    uid = pod["metadata"]["uid"]
    pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    await world.seconds(1)
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    assert f"{name} ended: node {node} was low on memory and evicted it;" in world.status.message
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert world.cluster.objects["Pod", pod["metadata"]["name"]]["metadata"]["uid"] != uid


async def test_a_pod_on_a_lost_node_is_removed_by_force_after_its_grace() -> None:
    world = World(spec_of(drainTimeoutSeconds=5))
    await world.settle()
    world.nodes.dead_nodes.add("node-1")
    name = world.stage_names()[1]
    uid = world.cluster.objects["Pod", name]["metadata"]["uid"]
    world.cluster.objects["Pod", name]["metadata"]["deletionTimestamp"] = stamp(world.cluster.now)
    await world.seconds(29)
    assert world.cluster.objects["Pod", name]["metadata"]["uid"] == uid
    await world.seconds(3)
    world.nodes.dead_nodes.clear()
    await world.settle()
    assert world.status.groups_ready == "2/2"


async def test_an_edit_replaces_group_after_group_and_never_takes_the_last() -> None:
    world = World()
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    served, hashes = [], set()
    for _ in range(80):
        await world.seconds(1)
        served.append(world.status.ready_replicas)
        for ordinal in ("0", "1"):
            seen = {
                pod["metadata"]["labels"][names.LABEL_POD_HASH]
                for pod in world.cluster.pods()
                if pod["metadata"]["labels"].get(names.LABEL_GROUP) == ordinal
            }
            assert len(seen) <= 1, "a group mixes templates"
            hashes |= seen
    assert min(served) == 1
    assert len(hashes) == 2
    assert world.status.groups_ready == "2/2"
    assert {group.pod_hash for group in world.status.groups} == {world.status.groups[0].pod_hash}
    configs = [name for kind, name in world.cluster.objects if kind == "ConfigMap" and name.startswith("chat-")]
    assert len(configs) == 3, "objects of the old template are gone"


async def test_a_bad_edit_leaves_the_other_group_serving() -> None:
    world = World()
    await world.settle()
    world.nodes.good_pods = {group.pod_hash for group in world.status.groups}
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.seconds(120)
    assert world.status.groups_ready == "1/2"


async def test_scale_down_takes_the_highest_group_out_of_rotation_first() -> None:
    world = World()
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
    mark = len(world.cluster.writes)
    await world.settle()
    written = world.cluster.writes[mark:]
    leader = next(name for name in written if name.startswith("rotation"))
    assert leader.endswith("-1-0 False")
    assert written.index(leader) < next(i for i, what in enumerate(written) if what.startswith("delete Pod "))
    assert world.status.groups_ready == "1/1"
    assert not any(name[:-2].endswith("-1") for name in world.stage_names())


async def test_the_leader_leaves_before_its_stages() -> None:
    world = World()
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
    mark = len(world.cluster.writes)
    await world.settle()
    deletes = [what for what in world.cluster.writes[mark:] if what.startswith("delete Pod ")]
    assert [what[-1] for what in deletes] == ["0", "1"]


async def test_unschedulable_says_what_is_missing() -> None:
    world = World()
    pod_hash = template_hash(LlamaDeploymentSpec.model_validate(spec_of()), FACTS, serving_image=SETTINGS.serving_image)
    world.nodes.no_room.update(f"chat-{pod_hash}-{group}-{stage}" for group in (0, 1) for stage in (0, 1))
    await world.seconds(10)
    assert world.status.reason == "Unschedulable"
    assert "needs 4050m cpu, 32.1Gi memory" in world.status.message, "the stager counts too"
    assert "scheduler: of 2 nodes 2 with too little nvidia.com/gpu free" in world.status.message


async def test_what_somebody_changed_is_put_back() -> None:
    world = World()
    await world.settle()
    world.cluster.objects["Service", "chat"]["spec"]["ports"][0]["port"] = 81
    world.cluster.vanish("PodDisruptionBudget", "chat-gateway")
    await world.settle()
    assert world.cluster.objects["Service", "chat"]["spec"]["ports"][0]["port"] == 80
    assert ("PodDisruptionBudget", "chat-gateway") in world.cluster.objects


async def test_a_refused_object_is_shown_and_the_rest_goes_on() -> None:
    world = World()
    refuse_once_per_pass(world, "apply Deployment chat-gateway")
    await world.seconds(30)
    assert world.status.reason == "ApiRejected"
    assert world.status.message == "Deployment chat-gateway was refused: exceeded quota: pods"
    assert len(world.stage_names()) == 4


def refuse_once_per_pass(world: World, what: str) -> None:
    def refuse(name: str) -> None:
        if name == what:
            raise Rejected("exceeded quota: pods")

    world.cluster.intercept = refuse
