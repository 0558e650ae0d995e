"""Strikes of nodes: who is struck, how strikes fade, and that they neither starve a group nor pass it round."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import NodeStrikes
from llama_operator.plan.groups.group import Group
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.avoidance import Avoidance, avoidance
from llama_operator.plan.placement.fit import FreeCapacity
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.placement.strikes import (
    AVOID_FROM,
    DEVICE_REASONS,
    FIRST_PAUSE,
    HALF_LIFE,
    KEPT,
    LEAVE_FROM,
    MOST,
    PACE,
    SETTLES,
    avoided,
    is_spent,
    may_be_left_again,
    strikes_after,
    weight,
)
from llama_operator.ports import Capacity, NodeCapacity
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.fakes.world import spec_of
from tests.unit.operator.worlds import NEW, NOW, cell, group, state_of, world

GPU = "nvidia.com/gpu"
FAST = settings(deadline=None, max_examples=60, derandomize=True, database=None)
OTHER_REASONS = sorted(set(CellReason) - DEVICE_REASONS)


def says(reason: CellReason, phase: Phase, *, stage: int = 1, uptime: float = 60) -> Group:
    """A group of two stages on node-0 and node-1, one of which says this."""
    pods = group(0)
    state = cell(stage=stage, phase=phase, reason=reason, message="a sentence", uptime_seconds=uptime).state
    assert state is not None
    return Group(GroupId("chat", 0, NEW), pods, {stage: state}, None)


def record(node: str, strikes: float, *, ago: timedelta = timedelta(), **fields: object) -> NodeStrikes:
    return NodeStrikes.model_validate({"node": node, "strikes": strikes, "at": NOW - ago, **fields})


@FAST
@given(reason=st.sampled_from(OTHER_REASONS), phase=st.sampled_from(list(Phase)), stage=st.integers(0, 1))
def test_no_node_is_struck_for_anything_but_its_devices(reason: CellReason, phase: Phase, stage: int) -> None:
    """Not for a model that is refused, for weights, for their verification, nor for an engine that fails otherwise."""
    assert strikes_after((), [says(reason, phase, stage=stage)], (), now=NOW) == ()


@pytest.mark.parametrize("reason", sorted(DEVICE_REASONS))
def test_a_stage_that_finds_a_fault_strikes_its_own_node_once_it_lasts(reason: CellReason) -> None:
    early = says(reason, Phase.STARTING, uptime=SETTLES - 0.1)
    assert strikes_after((), [early], (), now=NOW) == ()
    found = strikes_after((), [says(reason, Phase.STARTING)], (), now=NOW)
    assert [(one.node, one.strikes, one.reason) for one in found] == [("node-1", 1, reason)]


def test_an_engine_that_fails_over_a_device_of_nobody_in_particular_strikes_all_its_nodes() -> None:
    found = strikes_after((), [says(CellReason.DEVICE_UNHEALTHY, Phase.LOADING, stage=0, uptime=1)], (), now=NOW)
    assert [one.node for one in found] == ["node-0", "node-1"]


def test_a_node_is_struck_once_in_a_time_and_left_after_three_strikes() -> None:
    faulty, times = says(CellReason.DEVICE_BUSY, Phase.STARTING), list[int]()
    records: tuple[NodeStrikes, ...] = ()
    for second in range(100):
        now = NOW + timedelta(seconds=second)
        before = records
        records = strikes_after(records, [faulty], (), now=now)
        if records != before:
            times.append(second)
            assert is_spent(records[0], now) == (len(times) >= 3)
    assert times == [0, 30, 60, 90]


@FAST
@given(
    gaps=st.lists(st.integers(1, 7200), min_size=1, max_size=60),
    bad=st.lists(st.integers(0, 60), min_size=1, max_size=40, unique=True),
)
def test_records_are_bounded_whatever_happens(gaps: list[int], bad: list[int]) -> None:
    now = NOW
    records: tuple[NodeStrikes, ...] = ()
    pods = group(0)
    for number, gap in enumerate(gaps):
        now += timedelta(seconds=gap)
        accused = bad[number % len(bad)]
        placed = tuple(replace(pod, node=f"node-{accused + pod.stage}") for pod in pods)
        faulty = replace(says(CellReason.DEVICE_UNHEALTHY, Phase.LOADING, stage=0), pods=placed)
        records = strikes_after(records, [faulty], (), now=now)
        assert len(records) <= KEPT
        assert all(0 < one.strikes <= MOST for one in records)
        assert [one.node for one in records] == sorted({one.node for one in records})
    assert strikes_after(records, [], (), now=now + 5 * HALF_LIFE) == (), "all of it fades"


@FAST
@given(strikes=st.floats(0.5, MOST), hours=st.floats(0, 48))
def test_a_strike_halves_every_half_life_and_never_grows_by_itself(strikes: float, hours: float) -> None:
    one = record("a", strikes)
    later = NOW + timedelta(hours=hours)
    assert weight(one, later) == pytest.approx(strikes * 0.5**hours)
    assert weight(one, NOW - timedelta(hours=1)) == strikes, "a clock that goes back adds nothing"
    assert (avoided([one], later) == ("a",)) == (weight(one, later) >= AVOID_FROM)


@FAST
@given(times=st.integers(1, 40))
def test_the_same_node_is_left_again_only_after_a_pause_that_grows(times: int) -> None:
    def pause(times_left: int) -> int:
        one = record("a", MOST, left=NOW, times_left=times_left)
        return next(m for m in range(1000) if may_be_left_again(one, NOW + timedelta(minutes=m)))

    assert pause(times + 1) >= pause(times) >= FIRST_PAUSE.total_seconds() / 60


# -- placement --------------------------------------------------------------------------------------------------------


def gpu_node(name: str, devices: int, *, bad: str = "") -> NodeCapacity:
    return NodeCapacity(name, {}, True, True, {GPU: devices, "cpu": 99, "memory": 1e15}, {}, device_fault=bad)


def gpu_spec(stages: int) -> LlamaDeploymentSpec:
    device = {"resource": GPU, "count": 8}
    return LlamaDeploymentSpec.model_validate(spec_of(device=device, sharding={"pipeline": stages, "tensor": 8}))


@FAST
@given(
    weights=st.lists(st.floats(0, MOST), min_size=1, max_size=6),
    devices=st.lists(st.sampled_from([0, 8, 16]), min_size=6, max_size=6),
    stages=st.integers(1, 3),
)
def test_strikes_never_keep_a_group_from_a_place_and_the_least_struck_are_used(
    weights: list[float], devices: list[int], stages: int
) -> None:
    names = [f"node-{number}" for number in range(6)]
    nodes = tuple(gpu_node(name, count) for name, count in zip(names, devices, strict=True))
    strikes = tuple(record(name, struck) for name, struck in zip(names, weights, strict=False) if struck)
    seen = world(capacity=Capacity(nodes), spec={"device": {"resource": GPU, "count": 8}})
    seen = replace(seen, status=seen.status.model_copy(update={"node_strikes": strikes}))
    spec, state = gpu_spec(stages), state_of(seen)
    found = avoidance((), spec, state)
    request = group_request(spec, Capacity(nodes), own_uids=())
    kept = tuple(replace(pod, kept_from=frozenset(found.nodes)) for pod in request)
    anywhere = FreeCapacity(Capacity(nodes)).place(request)
    if avoided(strikes, NOW):
        assert found.fits == anywhere, "it fits exactly when it would without any strike"
    else:
        assert found == Avoidance()
    assert not anywhere or FreeCapacity(Capacity(nodes)).place(kept)
    by_node = {one.node: one.strikes for one in strikes}
    assert all(by_node[node] >= AVOID_FROM for node in found.nodes)
    if found.used:
        assert max(by_node[node] for node in found.used) <= min((by_node[node] for node in found.nodes), default=MOST)
        fewer = {*found.nodes, found.used[-1]}
        tighter = tuple(replace(pod, kept_from=frozenset(fewer)) for pod in request)
        assert not FreeCapacity(Capacity(nodes)).place(tighter), "no more struck nodes are used than it takes"


def test_a_node_whose_gpus_are_said_to_be_bad_is_never_used_and_cpu_groups_do_not_care() -> None:
    nodes = (gpu_node("node-0", 8, bad="the condition GpuMemWatch True"), gpu_node("node-1", 8))
    seen = world(capacity=Capacity(nodes), spec={"device": {"resource": GPU, "count": 8}})
    assert avoidance((), gpu_spec(1), state_of(seen)).nodes == ("node-0",)
    assert not avoidance((), gpu_spec(2), state_of(seen)).fits
    plain = LlamaDeploymentSpec.model_validate(spec_of())
    assert avoidance((), plain, state_of(seen)).nodes == ()
    assert FreeCapacity(Capacity(nodes)).place(group_request(plain, Capacity(nodes), own_uids=()))


def two_bad_nodes(days: int, *, known: tuple[str, str] = ("a", "b")) -> list[datetime]:
    """When a group of one stage changes between two nodes that both fail for ever, by the rules of strikes alone."""
    moves: list[datetime] = []
    records: tuple[NodeStrikes, ...] = ()
    here, now = known[0], NOW
    while now < NOW + timedelta(days=days):
        now += PACE
        pods = tuple(replace(pod, node=here) for pod in group(0))
        records = strikes_after(
            records, [replace(says(CellReason.DEVICE_BUSY, Phase.STARTING), pods=pods)], (), now=now
        )
        struck = {one.node: one for one in records}
        other = next(name for name in known if name != here)
        light = weight(struck[other], now) if other in struck else 0.0
        better = light < AVOID_FROM or 2 * light <= weight(struck[here], now)
        again = light < AVOID_FROM or may_be_left_again(struck[here], now)
        if is_spent(struck[here], now) and better and again:
            records = strikes_after(records, [], (here,), now=now)
            moves.append(now)
            here = other
    return moves


def test_two_bad_nodes_pass_a_group_ever_more_seldom() -> None:
    moves = two_bad_nodes(days=2)
    pauses = [after - before for before, after in pairwise(moves)]
    assert len(moves) <= 30, "no endless ping-pong"
    assert all(pause >= PACE * 3 for pause in pauses)
    assert max(pauses[-4:]) >= 2 * min(pauses[:2])
    same = [after - before for before, after in pairwise(moves[::2])]
    assert same == sorted(same), "the same node is left again after ever longer pauses"
    assert LEAVE_FROM < MOST
