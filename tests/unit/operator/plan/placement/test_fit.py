"""Whether the pods of a group find room together, and what is said when they do not."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.plan.placement.admit import AdmissionDecision, WaitingGroup, admit
from llama_operator.plan.placement.fit import FreeCapacity, could_ever_fit, why_not
from llama_operator.plan.reasons import Explanation
from llama_operator.ports import Capacity, NodeCapacity, PodRequest
from llama_serving.config.reasons import Reason

GPU = "nvidia.com/gpu"


def ask(gpus: float = 8, name: str = "p", **fields: Any) -> PodRequest:
    return PodRequest("team", name, f"uid-{name}", requests={GPU: gpus, "cpu": 1.0}, **fields)


def node(name: str, *users: PodRequest, gpus: float = 8, **fields: Any) -> NodeCapacity:
    taken = {kind: sum(user.requests.get(kind, 0) for user in users) for kind in (GPU, "cpu")}
    has: dict[str, float] = {GPU: gpus, "cpu": 16.0, "pods": 10.0}
    found = NodeCapacity(name, {}, True, True, has, taken, pods=tuple(replace(user, node=name) for user in users))
    return replace(found, **fields)


def pair(gpus: float = 8, **fields: Any) -> tuple[PodRequest, ...]:
    return ask(gpus, "g-0", **fields), ask(gpus, "g-1", **fields)


FULL = PodRequest("batch", "job", "uid-job", requests={GPU: 8.0})
LOW = replace(FULL, priority=-5)


@pytest.mark.parametrize(
    ("nodes", "waiting", "asks", "fits"),
    [
        ((node("a"), node("b")), (), pair(), True),
        ((node("a"), node("b", ask(1))), (), pair(), False),
        ((node("a", gpus=16),), (), pair(), True),
        ((node("a", gpus=16),), (), pair(one_per_node=True), False),
        ((node("a"), node("b")), (), pair(one_per_node=True), True),
        ((node("a"), node("b", ready=False)), (), pair(), False),
        ((node("a"), node("b", schedulable=False)), (), pair(), False),
        ((node("a"), node("b")), (ask(1, "other"),), pair(), False),
        ((node("a"), node("b")), (ask(1, "other", gated=True),), pair(), True),
        ((node("a"), node("b")), (ask(1, "other", refused=True),), pair(), True),
        ((node("a"), node("b")), (ask(1, "other", refused=True, ours=True),), pair(), False),
        ((node("a"), node("b")), (ask(99, "other"),), pair(), True),
        ((node("a", allocatable={GPU: 8, "cpu": 16, "pods": 1}), node("b")), (), pair(), True),
        ((node("a", ask(0), allocatable={GPU: 8, "cpu": 16, "pods": 1}), node("b")), (), pair(), False),
        ((node("a", allocatable={GPU: 8, "cpu": 0.5}), node("b")), (), pair(), False),
        ((node("a"), node("b", LOW)), (), pair(), True),
        ((node("a"), node("b", LOW)), (), pair(preempts=False), False),
        ((node("a"), node("b", FULL)), (), pair(priority=1), True),
        ((node("a"), node("b", replace(FULL, priority=2))), (), pair(priority=1), False),
    ],
)  # fmt: skip
def test_room_for_all_or_none(
    *, nodes: tuple[NodeCapacity, ...], waiting: tuple[PodRequest, ...], asks: tuple[PodRequest, ...], fits: bool
) -> None:
    free = FreeCapacity(Capacity(nodes, waiting))
    before = {name: dict(left) for name, left in free.free.items()}
    assert free.place(asks) is fits
    assert (free.free == before) is not fits, "given, or nothing changed"


def test_what_was_given_is_not_given_again() -> None:
    free = FreeCapacity(Capacity((node("a"), node("b"), node("c"))))
    assert free.place(pair())
    assert not free.place(pair())
    assert free.place((ask(),))


@pytest.mark.parametrize(
    ("taint", "toleration", "keeps_away"),
    [
        ({"key": "gpu", "effect": "NoSchedule"}, None, True),
        ({"key": "gpu", "effect": "PreferNoSchedule"}, None, False),
        ({"key": "gpu", "effect": "NoSchedule"}, {"key": "gpu", "operator": "Exists"}, False),
        ({"key": "gpu", "effect": "NoSchedule"}, {"operator": "Exists"}, False),
        ({"key": "gpu", "effect": "NoSchedule"}, {"key": "cpu", "operator": "Exists"}, True),
        ({"key": "gpu", "effect": "NoExecute"}, {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, {"key": "gpu", "value": "a"}, False),
        ({"key": "gpu", "value": "a", "effect": "NoSchedule"}, {"key": "gpu", "value": "b"}, True),
    ],
)
def test_taints(taint: dict[str, str], toleration: dict[str, str] | None, keeps_away: bool) -> None:
    pod = ask(tolerations=(toleration,) if toleration else ())
    assert bool(why_not(pod, node("a", taints=(taint,)))) is keeps_away


@pytest.mark.parametrize(
    ("nodes", "asks", "reason", "text"),
    [
        (
            (node("node-1"), node("node-7", PodRequest("x", "job", "u", requests={GPU: 5.0}))),
            pair(),
            Reason.WAITING_FOR_ROOM,
            f"group 2 needs 2 x 8 {GPU}, 11 are free: node-7 has 5 in use by x/job;"
            f" of 2 nodes node-7 comes closest: 3 {GPU} free of 8, 5 short",
        ),
        (
            (node("a", ask(3, "p"), ask(2, "q"), ask(1, "r")),),
            pair(4),
            Reason.WAITING_FOR_ROOM,
            f"group 2 needs 2 x 4 {GPU}, 2 are free: a has 6 in use by team/p, team/q and 1 more;"
            f" of 1 node a comes closest: 2 {GPU} free of 8, 2 short",
        ),
        (
            (node("a", gpus=0), node("b", gpus=0)),
            pair(2),
            Reason.UNSCHEDULABLE,
            f"group 2 needs 2 x 2 {GPU}, 0 are free; of 2 nodes a comes closest: 0 {GPU} free of 0, 2 short;"
            " the nodes would not hold it even if they were empty",
        ),
        (
            (node("a"), node("b", ready=False)),
            pair(node_selector={"gpu": "h100"}),
            Reason.UNSCHEDULABLE,
            f"group 2 needs 2 x 1 cpu, 8 {GPU}, and no node may run it: of 2 nodes 1 not ready,"
            " 1 without what the node affinity/selector asks for (gpu=h100)",
        ),
        (
            (node("a", gpus=16),),
            pair(one_per_node=True),
            Reason.UNSCHEDULABLE,
            f"group 2 needs 2 x 8 {GPU}, 16 are free; its 2 stages go to different nodes (placement.spreadStages),"
            " 1 of them fit; the nodes would not hold it even if they were empty",
        ),
        (
            (), pair(), Reason.UNSCHEDULABLE,
            f"group 2 needs 2 x 1 cpu, 8 {GPU}, and no node may run it: there are no nodes",
        ),
    ],
)  # fmt: skip
def test_what_is_said(
    *, nodes: tuple[NodeCapacity, ...], asks: tuple[PodRequest, ...], reason: Reason, text: str
) -> None:
    found = admit(Capacity(nodes), [WaitingGroup("group 2", asks, 2)])
    assert found == AdmissionDecision((), (Explanation(reason, text, 2),))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 8), min_size=1, max_size=6),
    stages=st.integers(1, 4),
    each=st.integers(1, 8),
    one_per_node=st.booleans(),
)
def test_first_fit_is_exact_for_pods_that_are_alike(
    *, sizes: list[int], stages: int, each: int, one_per_node: bool
) -> None:
    nodes = tuple(node(f"n{number}", gpus=size) for number, size in enumerate(sizes))
    asks = tuple(ask(each, f"g-{stage}", one_per_node=one_per_node) for stage in range(stages))
    most = sum(min(size // each, 1) if one_per_node else size // each for size in sizes)
    assert could_ever_fit(asks, nodes) is (most >= stages)
    free = FreeCapacity(Capacity(nodes))
    assert free.place(asks) is (most >= stages)
    assert all(left[GPU] >= 0 for left in free.free.values())
