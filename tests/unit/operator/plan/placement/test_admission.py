"""When a group is shown to the scheduler, when it is taken back, and how long it is left alone then."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from llama_operator.adapters.reservations import LONGEST
from llama_operator.api.v1alpha1.status import LlamaDeploymentStatus, RequeueState
from llama_operator.apply import Outcome
from llama_operator.gang_admission import admit_groups
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.actions import Admission
from llama_operator.plan.groups.group import Group
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.gang import admissions, half_placed, is_held, not_before, requeues_after
from llama_operator.plan.planner import plan
from llama_operator.ports import Capacity, Retry
from llama_serving.config import names
from llama_serving.config.reasons import Reason
from tests.fakes.cluster import FakeCluster
from tests.unit.operator.worlds import KEY, NEW, NOW, ago, group, heard, stage, state_of, world

EMPTY = Capacity(())
GROUP = GroupId("chat", 0, NEW)
TAKEN = RequeueState(group=GROUP.name, times=2, at=ago(50))


def gated(ordinal: int = 0, age: float = 1, **fields: Any) -> tuple[PodView, ...]:
    """A group whose pods are there and have their gates."""
    found: dict[str, Any] = {"gated": True, "node": "", "ip": "", "phase": "Pending", "created": ago(age)} | fields
    return stage(ordinal, 0, **found), stage(ordinal, 1, **found)


def begun(*nodes: str, admitted: float = 40, **fields: Any) -> tuple[PodView, ...]:
    """A group past its gates; a stage without a node was refused by the scheduler."""
    return tuple(
        stage(0, number, node=name, admitted=ago(admitted), unscheduled="" if name else "0/2 nodes",
              created=ago(admitted), **fields)
        for number, name in enumerate(nodes)
    )  # fmt: skip


def asked(*pods: PodView, taken: tuple[RequeueState, ...] = (), **fields: Any) -> tuple[list[Admission], list[str]]:
    seen = world(*pods, status=LlamaDeploymentStatus(requeues=taken), **fields)
    unit = Group(GROUP, pods, {}, None)
    whole = [GROUP] if len(pods) == 2 else []
    found, holds = admissions([unit], seen, whole=whole, going=frozenset({"going"}), now=NOW)
    return list(found), [hold.detail for hold in holds]


def test_a_whole_group_is_asked_for() -> None:
    pods = gated()
    (found,), _ = asked(*pods)
    assert found == Admission(GROUP, tuple((pod.name, pod.uid) for pod in pods), begun=False, since=ago(1))


@pytest.mark.parametrize(
    "pods",
    [
        gated()[:1],
        (gated()[0], stage(0, 1, gated=True, gone_by=NOW)),
        (gated()[0], stage(0, 1, gated=True, name="going")),
        group(0),
    ],
    ids=["a part of it", "one leaves", "one is deleted now", "it runs"],
)
def test_others_are_not(pods: tuple[PodView, ...]) -> None:
    assert asked(*pods) == ([], [])


def test_one_that_was_begun_is_completed_whatever_happened_before() -> None:
    pods = (begun("node-0")[0], gated()[1])
    (found,), _ = asked(*pods, taken=(TAKEN,))
    assert found.begun
    assert [name for name, _ in found.pods] == [pods[1].name]


def test_one_that_was_taken_back_waits() -> None:
    found, (said,) = asked(*gated(), taken=(TAKEN,))
    assert found == []
    assert said == ("group 0 was requeued 2 times (only some of its pods fit); next try 12:00:10 UTC")
    late = TAKEN.model_copy(update={"at": ago(61)})
    assert len(asked(*gated(), taken=(late,))[0]) == 1


@pytest.mark.parametrize(("times", "seconds"), [(1, 30), (2, 60), (4, 240), (6, 600), (5000, 600)])
def test_pauses_grow_up_to_ten_minutes(times: int, seconds: int) -> None:
    record = RequeueState(group=GROUP.name, times=times, at=NOW)
    assert not_before(GROUP, (record,)) == NOW + timedelta(seconds=seconds)
    assert not_before(GroupId("chat", 1, NEW), (record,)) is None


@pytest.mark.parametrize(
    ("pods", "capacity", "taken"),
    [
        (begun("node-0", "", admitted=29), EMPTY, False),
        (begun("node-0", ""), EMPTY, True),
        (begun("node-0", ""), None, True),
        (begun("", ""), EMPTY, True),
        (begun("", ""), None, False),
        (begun("node-0", "", bound=ago(20)), EMPTY, False),
        (begun("node-0", "", nominated=True), EMPTY, False),
        (begun("node-0", "", admitted=400, nominated=True), EMPTY, True),
        (begun("node-0", "node-1"), EMPTY, False),
        (tuple(gated(age=900)), EMPTY, False),
    ],
    ids=[
        "soon", "half", "half, room unknown", "nothing", "nothing, room unknown", "one has just got its node",
        "others are displaced for it", "others do not leave", "whole", "waiting",
    ],
)  # fmt: skip
def test_what_is_taken_back(pods: tuple[PodView, ...], capacity: Any, taken: bool) -> None:
    assert bool(half_placed(pods, world(*pods, capacity=capacity), NOW)) is taken


def test_the_plan_takes_back_all_pods_and_remembers() -> None:
    pods = begun("node-0", "")
    decided = plan(state_of(world(*pods, replicas=1, capacity=EMPTY)))
    assert {delete.name for delete in decided.actions.deletes} == {pod.name for pod in pods}
    assert decided.persisted.requeues == (RequeueState(group=GROUP.name, times=1, at=NOW),)
    (hold,) = (hold for hold in decided.explanations if hold.reason is Reason.WAITING_FOR_ROOM)
    assert hold.detail == (
        "group 0 is requeued: 1 of its 2 pods found no node within 30 s, the scheduler says: 0/2 nodes"
    )


def test_what_is_requeues_after() -> None:
    units = [Group(GROUP, group(0), {}, None)]
    again = requeues_after((TAKEN,), [GROUP], groups=[], wanted=[GROUP], now=NOW)
    assert again == (RequeueState(group=GROUP.name, times=3, at=NOW),)
    assert requeues_after((TAKEN,), [], groups=[], wanted=[GROUP], now=NOW) == (TAKEN,)
    assert requeues_after((TAKEN,), [], groups=units, wanted=[GROUP], now=NOW) == (), "it is placed"
    assert requeues_after((TAKEN,), [], groups=[], wanted=[], now=NOW) == (), "nobody wants it"


def test_a_group_that_is_just_made_is_not_held() -> None:
    assert not is_held(Group(GROUP, gated(age=9), {}, None), NOW)
    assert is_held(Group(GROUP, gated(age=10), {}, None), NOW)
    assert not is_held(Group(GROUP, (gated(age=60)[0], begun("", "")[1]), {}, None), NOW)


def test_groups_after_one_that_waits_are_not_made_and_give_their_turn() -> None:
    serving = group(0)
    seen = world(*serving, *gated(1, age=20), *gated(2, age=20), replicas=4, cells=heard(*serving))
    decided = plan(state_of(seen))
    assert decided.actions.creates == ()
    assert {delete.name for delete in decided.actions.deletes} == {pod.name for pod in gated(2)}
    (item,) = decided.actions.admissions
    assert (item.group.ordinal, item.behind) == (1, (2, 3))
    assert decided.persisted.requeues == (), "it was never asked for"
    young = world(*serving, *gated(1, age=5), replicas=3, cells=heard(*serving))
    assert {create.group.ordinal for create in plan(state_of(young)).actions.creates} == {2}


# -- the walk over it -------------------------------------------------------------------------------------------------


async def walk(cluster: FakeCluster, *items: Admission, now: datetime = NOW) -> Outcome:
    outcome = Outcome()
    await admit_groups(items, key=KEY, cluster=cluster, outcome=outcome, now=now)
    return outcome


def item(ordinal: int = 0, *, begun: bool = False, waited: float = 1) -> Admission:
    pods = tuple((pod.name, pod.uid) for pod in gated(ordinal))
    return Admission(GroupId("chat", ordinal, NEW), pods, begun, ago(waited))


def with_pods(cluster: FakeCluster, *ordinals: int) -> FakeCluster:
    for ordinal in ordinals:
        for pod in gated(ordinal):
            labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_COMPONENT: names.COMPONENT_STAGE}
            cluster.objects["Pod", pod.name] = {
                "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": "team", "uid": pod.uid, "labels": labels},
                "spec": {
                    "schedulingGates": [{"name": names.GATE_GROUP}],
                    "containers": [{"resources": {"requests": {"cpu": "1"}}}],
                },
            }
    return cluster


def nodes(cluster: FakeCluster, *cpus: str) -> FakeCluster:
    ready = [{"type": "Ready", "status": "True"}]
    cluster.nodes = [
        {"metadata": {"name": f"node-{number}"}, "status": {"allocatable": {"cpu": cpu}, "conditions": ready}}
        for number, cpu in enumerate(cpus)
    ]
    return cluster


def open_pods(cluster: FakeCluster) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.pods() if not pod_view(pod).gated}


async def test_where_the_room_is_not_known_all_are_admitted() -> None:
    cluster = with_pods(FakeCluster(), 0, 1)
    assert (await walk(cluster, item(0), item(1))).problems == []
    assert len(open_pods(cluster)) == 4


async def test_room_is_given_once_and_the_first_that_finds_none_says_so() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0, 1, 2), "1", "1")
    (hold,) = (await walk(cluster, item(0), item(1), item(2))).problems
    assert hold.detail.startswith("group 1 needs 2 x 1 cpu, 0 are free: node-0 has 1 in use by team/chat-")
    assert open_pods(cluster) == {pod.name for pod in gated(0)}
    (hold,) = (await walk(cluster, item(1))).problems
    assert hold.reason is Reason.WAITING_FOR_ROOM, "the scheduler has not placed the first group yet"


async def test_a_begun_group_needs_no_room() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0), "0")
    assert (await walk(cluster, item(begun=True))).problems == []
    assert len(open_pods(cluster)) == 2
    assert "capacity" not in cluster.calls


async def test_room_is_not_given_again_before_the_watches_show_that_it_was_given() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0, 1), "1", "1")
    await cluster.capacity()
    cluster.blind = True
    assert (await walk(cluster, item(0))).problems == []
    (hold,) = (await walk(cluster, item(1))).problems
    assert (hold.reason, open_pods(cluster)) == (Reason.WAITING_FOR_ROOM, {pod.name for pod in gated(0)})
    cluster.blind = False
    (hold,) = (await walk(cluster, item(1))).problems
    assert hold.reason is Reason.WAITING_FOR_ROOM, "now the watches show it"
    for pod in gated(0):
        cluster.vanish("Pod", pod.name)
    assert (await walk(cluster, item(1))).problems == []


async def test_what_a_failed_write_reserved_is_no_obstacle_for_the_same_group() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0), "1", "1")
    cluster.faults = {1: Retry("it is away"), 2: Retry("it is away")}
    assert len((await walk(cluster, item(0))).problems) == 2
    assert open_pods(cluster) == set()
    assert (await walk(cluster, item(0))).problems == []
    assert open_pods(cluster) == {pod.name for pod in gated(0)}


async def test_a_reservation_that_nothing_confirms_ends() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0, 1), "1", "1")
    cluster.faults = {1: Retry("it is away"), 2: Retry("it is away")}
    await walk(cluster, item(0))
    assert len((await walk(cluster, item(1))).problems) == 1
    cluster.now += timedelta(seconds=LONGEST + 1)
    assert (await walk(cluster, item(1))).problems == []


async def test_a_look_that_fails_admits_nobody_and_stops_nothing() -> None:
    cluster = nodes(with_pods(FakeCluster(), 0), "2")
    cluster.faults[0] = Retry("it is away")
    (hold,) = (await walk(cluster, item())).problems
    assert (hold.reason, open_pods(cluster)) == (Reason.API_RETRY, set())


async def test_a_group_whose_pods_are_gone_is_passed_over() -> None:
    cluster = nodes(with_pods(FakeCluster(), 1), "1", "1")
    assert (await walk(cluster, item(0), item(1))).problems == []
    assert open_pods(cluster) == {pod.name for pod in gated(1)}


def test_a_group_that_waits_for_a_volume_is_requeued_only_where_it_holds_room() -> None:
    missing = '0/2 nodes are available: persistentvolumeclaim "m" not found. not found'
    for nodes, requeued in ((("", ""), False), (("node-0", ""), True)):
        pods = tuple(replace(pod, unscheduled="" if pod.node else missing) for pod in begun(*nodes))
        said = half_placed(pods, world(*pods, capacity=EMPTY), NOW)
        assert bool(said) is requeued
        assert not said or said.endswith("the scheduler says: claim m does not exist; create it")
