"""What would make the operator write for ever, stand still, delete what is not its own, or say nonsense."""

import pytest

from llama_operator.api import KIND, WEIGHTS_KIND
from llama_operator.ports import Manifest, Rejected, Retry, SupervisorAnswer
from llama_operator.reconcile import Edges, reconcile
from llama_serving.config import names
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from llama_serving.config.wording import rough_seconds
from tests.fakes.cluster import clone, set_condition, stamp
from tests.fakes.models import id_of
from tests.fakes.world import KEY, World, spec_of


def pods_of(world: World, component: str) -> list[Manifest]:
    return [pod for pod in world.cluster.pods() if pod["metadata"]["labels"][names.LABEL_COMPONENT] == component]


def status_writes(world: World) -> int:
    return sum(what.startswith("status") for what in world.cluster.writes)


# -- what is not ours ------------------------------------------------------------------------------------------------


async def test_an_object_with_copied_labels_is_neither_counted_nor_deleted() -> None:
    world = World()
    await world.settle()
    for kind, name in [("Pod", world.stage_names()[0]), ("ConfigMap", "chat-gateway"), ("Service", "chat")]:
        copied = clone(world.cluster.objects[kind, name])
        copied["metadata"] |= {"name": f"my-{name}", "uid": f"my-{kind}", "ownerReferences": []}
        world.cluster.objects[kind, f"my-{name}"] = copied
    before = list(world.cluster.writes)
    await world.seconds(40)
    assert world.cluster.writes == before
    assert world.status.groups_ready == "2/2"


async def test_a_service_of_somebody_else_is_not_taken_over() -> None:
    world = World()
    theirs = {"spec": {"selector": {"app": "shop"}, "ports": [{"port": 8080}]}}
    world.cluster.objects["Service", "chat"] = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "uid": "theirs"}, **theirs
    }  # fmt: skip
    await world.seconds(30)
    assert world.cluster.objects["Service", "chat"]["spec"] == theirs["spec"]
    assert world.status.reason == "ApiRejected"
    assert world.status.message.startswith("Service chat was refused: Apply failed")


async def test_the_token_of_somebody_else_starts_no_stage() -> None:
    world = World()
    world.cluster.objects["Secret", "chat-token"] = {"kind": "Secret", "metadata": {"name": "chat-token", "uid": "x"}}
    await world.seconds(30)
    assert world.stage_names() == []
    assert world.status.message == (
        "the token Secret was refused: it exists and belongs to nobody; delete it, or rename the LlamaDeployment"
    )


async def test_made_again_under_the_same_name_while_the_old_children_are_collected() -> None:
    world = World()
    await world.settle()
    old = {body["metadata"]["uid"] for body in world.cluster.objects.values()}
    world.cluster.vanish(KIND, KEY.name)
    world.cluster.create_deployment(KEY, world.spec)
    await world.seconds(5)
    assert not [what for what in world.cluster.writes if what.startswith("delete Pod")], "the collector's work"
    assert world.status.reason == "ApiRetry"
    assert "has our labels but another owner" in world.status.message
    for kind, name in [name for name, body in world.cluster.objects.items() if body["metadata"]["uid"] in old]:
        world.cluster.vanish(kind, name)
        await world.seconds(1)
    await world.settle()
    assert world.status.groups_ready == "2/2"
    mine = world.cluster.objects[KIND, KEY.name]["metadata"]["uid"]
    for (kind, name), body in world.cluster.objects.items():
        owners = [owner["uid"] for owner in body["metadata"].get("ownerReferences", ())]
        if kind == WEIGHTS_KIND:
            assert mine in owners  # what the earlier object left there is the collector's to remove
        elif (
            kind != KIND
            and not name.startswith("chat-gateway-")
            and names.LABEL_WEIGHTS not in body["metadata"].get("labels", {})
        ):
            assert owners == [mine], name


async def test_an_answer_from_an_address_that_was_given_away_is_not_believed() -> None:
    world = World()
    await world.settle()
    asked = world.nodes.state

    async def state(address: str) -> SupervisorAnswer:
        answer = await asked(address)
        assert answer.state is not None
        return SupervisorAnswer(answer.state.model_copy(update={"deployment": "other", "weights": "other-weights"}))

    vars(world.nodes)["state"] = state
    await world.seconds(20)
    assert world.status.weights == id_of("v1")


async def test_a_pod_without_its_labels_does_not_stop_the_passes() -> None:
    world = World()
    await world.settle()
    for name, label in zip(world.stage_names()[:2], (names.LABEL_GROUP, names.LABEL_STAGE), strict=True):
        world.cluster.objects["Pod", name]["metadata"]["labels"][label] = "none"
    await world.seconds(30)
    assert world.status.reason == "ApiRejected"
    assert "conflict: .metadata.labels" in world.status.message


# -- for ever --------------------------------------------------------------------------------------------------------


async def test_a_long_start_writes_the_status_seldom() -> None:
    world = World(spec_of(replicas=1))
    world.nodes.start_seconds = 10_000
    asked = world.nodes.state

    async def state(address: str) -> SupervisorAnswer:
        answer = await asked(address)
        assert answer.state is not None
        waited = rough_seconds(answer.state.phase_seconds)
        return SupervisorAnswer(answer.state.model_copy(update={"message": f"the engine is starting, {waited} so far"}))

    vars(world.nodes)["state"] = state
    await world.seconds(120)
    before = status_writes(world)
    await world.seconds(600)
    assert "the engine is starting, 11 min so far" in world.status.message
    assert status_writes(world) - before <= 12


async def test_a_refused_pod_is_not_asked_for_at_every_second() -> None:
    world = World()
    refused: list[str] = []

    def refuse(name: str) -> None:
        if name.startswith("apply Pod chat-") and name.endswith("-1"):
            refused.append(name)
            raise Rejected("exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4")

    world.cluster.intercept = refuse
    await world.seconds(20)
    pause = await reconcile(
        world.cluster.bodies(KEY), edges=Edges(world.cluster, world.nodes, world.nodes), settings=world.settings,
        now=world.cluster.now,
    )  # fmt: skip
    assert refused
    assert pause == 10
    assert "was refused: the ResourceQuota pods allows no more: requested pods=1, used: pods=4" in world.status.message
    before = status_writes(world)
    await world.seconds(60)
    assert status_writes(world) == before + 1, "that the first start has failed"


async def test_a_pod_that_a_finalizer_keeps_is_not_deleted_again_and_again() -> None:
    world = World()
    await world.settle()
    world.nodes.dead_nodes.add("node-1")
    name = world.stage_names()[1]
    world.cluster.objects["Pod", name]["metadata"] |= {
        "deletionTimestamp": stamp(world.cluster.now),
        "deletionGracePeriodSeconds": 0,
        "finalizers": ["example.com/wait"],
    }
    await world.seconds(60)
    deletes = [what for what in world.cluster.writes if what == f"delete Pod {name}"]
    assert deletes == []
    assert "is deleted, and the finalizer of somebody else keeps it (example.com/wait)" in world.status.message


async def test_a_status_of_a_newer_operator_is_replaced_once() -> None:
    world = World()
    await world.settle()
    status = world.cluster.objects[KIND, KEY.name]["status"]
    status["shards"] = {"new": "field"}
    status["conditions"][0]["status"] = "Perhaps"
    before = status_writes(world)
    await world.seconds(60)
    assert status_writes(world) - before <= 4  # the model is looked at anew
    assert world.status.groups_ready == "2/2"
    assert world.stage_names()


async def test_unknown_fields_of_a_status_cause_no_write() -> None:
    world = World()
    await world.settle()
    world.cluster.objects[KIND, KEY.name]["status"]["shards"] = {"new": "field"}
    before = list(world.cluster.writes)
    await world.seconds(60)
    assert world.cluster.writes == before


# -- standing still --------------------------------------------------------------------------------------------------


async def test_the_model_is_edited_while_the_old_one_is_looked_at() -> None:
    world = World()
    world.nodes.resolve_seconds = 5
    await world.seconds(2)
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))
    await world.settle()
    assert world.status.groups_ready == "2/2"
    assert world.status.weights == id_of("v2")
    assert world.status.stable is not None
    assert [name for kind, name in world.cluster.objects if kind == WEIGHTS_KIND] == [world.status.stable.weights]


async def test_nodes_that_cannot_be_listed_do_not_stop_a_pass() -> None:
    world = World()
    await world.settle()

    def fail(name: str) -> None:
        if name == "capacity":
            raise Retry("the API server did not answer: TimeoutError")

    world.cluster.intercept = fail
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
    await world.settle()
    assert world.status.groups_ready == "1/1"


async def test_replicas_lowered_while_the_lower_group_is_rebuilt_keep_the_one_that_serves() -> None:
    world = World()
    await world.settle()
    world.cluster.vanish("Pod", world.stage_names()[0])
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))
    ready = []
    for _ in range(60):
        await world.seconds(1)
        ready.append(world.status.ready_replicas)
    assert min(ready) == 1
    assert world.status.groups_ready == "1/1"
    assert [name[-3:] for name in world.stage_names()] == ["1-0", "1-1"]


async def test_a_group_that_loses_a_worker_counts_as_gone_before_another_is_taken() -> None:
    world = World()
    await world.settle()
    worker = world.stage_names()[1]
    meta = world.cluster.objects["Pod", worker]["metadata"]
    meta["deletionTimestamp"] = stamp(world.cluster.now)
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=1024))
    await world.one_pass()
    closed = [what for what in world.cluster.writes if what.startswith("rotation") and what.endswith("False")]
    assert [what for what in closed if "-1-0" in what] == []


# -- what a user reads -----------------------------------------------------------------------------------------------


async def test_groups_of_a_refused_edit_keep_their_own_state() -> None:
    world = World()
    world.nodes.start_seconds = 30
    await world.seconds(10)
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=9000))
    await world.seconds(2)
    assert world.status.reason == "LayoutRefused"
    assert {(group.state, group.reason) for group in world.status.groups} == {("Starting", "EngineStarting")}
    await world.seconds(60)
    assert world.status.groups_ready == "2/2"


async def test_a_spec_of_older_rules_names_field_and_value() -> None:
    world = World()
    await world.settle()
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=0))
    before = len(world.cluster.objects)
    await world.seconds(5)
    assert world.status.reason == "SpecInvalid"
    assert world.status.message.startswith("spec.contextLength is 0: it must be at least 16")
    assert len(world.cluster.objects) == before
    assert world.status.ready_replicas == 2


@pytest.mark.parametrize(
    ("waiting", "reason", "words"),
    [
        ("ImagePullBackOff", "ImageUnavailable", "has no image: ImagePullBackOff: the kubelet's words"),
        ("CreateContainerConfigError", "ContainerFailing", "CreateContainerConfigError: the kubelet's words"),
        ("CrashLoopBackOff", "ContainerFailing", "CrashLoopBackOff, 3 restarts, it last ended with code 1: no space"),
    ],
)
async def test_what_the_kubelet_says_reaches_the_user(waiting: str, reason: str, words: str) -> None:
    world = World()
    await world.settle()
    pod = world.cluster.objects["Pod", world.stage_names()[0]]
    set_condition(pod, "Ready", False)
    state = {"waiting": {"reason": waiting, "message": "the kubelet's words"}}
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no space\n"}}
    pod["status"]["containerStatuses"] = [{"name": "stage", "state": state, "lastState": ended, "restartCount": 3}]
    if waiting != "CrashLoopBackOff":
        del pod["status"]["containerStatuses"][0]["lastState"]
    await world.one_pass()
    assert world.status.reason == reason
    assert words in world.status.message


async def test_gateways_that_do_not_come_say_why() -> None:
    world = World()
    await world.settle()
    meta = {"name": "chat-gateway-x", "namespace": KEY.namespace, "uid": "g", "labels": {
        names.LABEL_DEPLOYMENT: KEY.name, names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_COMPONENT: names.COMPONENT_GATEWAY,
    }}  # fmt: skip
    state = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    status = {"phase": "Pending", "containerStatuses": [{"name": "gateway", "state": state}]}
    world.cluster.objects["Pod", "chat-gateway-x"] = {
        "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": "n"}, "status": status
    }  # fmt: skip
    world.cluster.objects["Deployment", "chat-gateway"]["status"] = {}
    await world.one_pass()
    assert world.status.reason == "GatewayNotReady"
    assert world.status.message == (
        "0 of 2 gateways are ready, so no request is answered; pod chat-gateway-x on node n has no image: "
        "ErrImagePull: not found"
    )


async def test_an_engine_that_says_a_novel_fits_into_the_status() -> None:
    world = World(spec_of(replicas=1))
    asked = world.nodes.state

    async def state(address: str) -> SupervisorAnswer:
        answer = await asked(address)
        assert answer.state is not None
        failed = {"phase": Phase.FAILED, "reason": CellReason.ENGINE_FAILED, "message": "x" * 100_000, "ready": False}
        return SupervisorAnswer(answer.state.model_copy(update=failed))

    vars(world.nodes)["state"] = state
    await world.seconds(20)
    assert world.status.reason == "EngineFailed"
    assert len(world.status.message) <= 2000
