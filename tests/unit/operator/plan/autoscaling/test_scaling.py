"""What the policy is asked and what is kept of its answer: worlds in, classes, starts, records and statuses out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api import AutoscalingStatus, LlamaDeploymentStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.memory import NO_MEMORY, AutoscalingMemory, ScalingResult
from llama_operator.plan.autoscaling.policy import Decision
from llama_operator.plan.autoscaling.scaling import group_counts, limits_for, scale
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum
from llama_operator.plan.autoscaling.starts import expected_start
from llama_operator.plan.autoscaling.state import DurableState, PolicyState
from llama_operator.plan.autoscaling.status_record import KEPT_DECISIONS, status_after
from llama_operator.plan.groups.ordinals import wanted_ordinals
from llama_operator.plan.planner import READING, plan
from llama_operator.status.deployment import deployment_status
from llama_operator.status.events import deployment_events
from llama_serving.config.gateway import GatewayLoad
from tests.unit.operator.worlds import NOW, ago, group, heard, leader, stage, state_of, worker, world

AUTO: dict[str, Any] = {"minReplicas": 0, "maxReplicas": 5}
OUT: dict[str, Any] = {"in_rotation": False, "ready": False}


def seen(*pods: PodView, replicas: int = 1, auto: dict[str, Any] | None = None, **fields: Any) -> Snapshot:
    return world(
        *pods, replicas=replicas, spec={"autoscaling": AUTO | (auto or {})}, **{"cells": heard(*pods)} | fields
    )


def scaled(known: Snapshot, memory: AutoscalingMemory = NO_MEMORY, later: float = 0) -> ScalingResult:
    state = state_of(known, NOW + timedelta(seconds=later))
    found = scale(known, state.groups, weights=state.model_weights, memory=memory, now=state.now)
    assert found is not None
    return found


def starting(ordinal: int, seconds: float = 60, **fields: Any) -> tuple[PodView, PodView]:
    made: dict[str, Any] = {"created": ago(seconds), "in_rotation": None, "ready": False, "weights": ""}
    return stage(ordinal, 0, **made | fields), stage(ordinal, 1, **made | fields)


def leaving(ordinal: int, seconds: float = 5) -> tuple[PodView, PodView]:
    return leader(ordinal, rotation_since=ago(seconds), **OUT), worker(ordinal)


# -- which groups -----------------------------------------------------------------------------------------------------

GATED = {"gated": True}


@pytest.mark.parametrize(
    ("pods", "replicas", "wanted"),
    [
        ((), 3, (0, 1, 2)),
        ((), 0, ()),
        ((*group(0), *group(1)), 2, (0, 1)),
        ((*group(0), *group(2)), 2, (0, 2)),
        ((*group(0), *group(2)), 3, (0, 1, 2)),
        ((*group(0), *group(2)), 4, (0, 1, 2, 3)),
        ((*starting(0), *group(1), *group(2)), 2, (1, 2)),
        ((*starting(0), *group(1), *leaving(2)), 2, (1, 2)),
        ((*leaving(0, 9), *group(1), *leaving(2, 4)), 2, (1, 2)),
        ((*leaving(0, 4), *group(1), *leaving(2, 9)), 2, (0, 1)),
        ((*starting(0, 30), *starting(1, 90), *starting(2, 60)), 2, (1, 2)),
        ((*starting(0, 90, **GATED), *starting(1, 30)), 1, (1,)),
        ((*starting(0, 5, **GATED), *starting(1, 3)), 1, (0,)),
        ((leader(0), worker(0, gone_by=NOW), *starting(1)), 1, (1,)),
        ((leader(0), worker(0, gone_by=NOW)), 1, (0,)),
        ((*group(0, "0ld00000"), *starting(0), *group(1)), 1, (0,)),
    ],
    ids=[
        "none there", "none wanted", "as many", "a gap stays", "a gap is filled first", "then the next ones",
        "serving before starting", "draining before starting", "the last to leave is taken back first", "whichever",
        "the oldest of those that start", "held ones last", "gated for a moment is not held", "torn after starting",
        "torn is rebuilt where it was", "two templates of one group",
    ],
)  # fmt: skip
def test_wanted_groups(pods: tuple[PodView, ...], replicas: int, wanted: tuple[int, ...]) -> None:
    assert wanted_ordinals(state_of(seen(*pods)).groups, replicas, NOW) == wanted


kinds = st.sampled_from((group, starting, leaving))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.integers(0, 9), kinds, max_size=6), st.integers(0, 8))
def test_wanted_groups_are_as_many_as_asked_for_and_no_running_one_goes_first(
    there: dict[int, Any], replicas: int
) -> None:
    pods = tuple(pod for ordinal, kind in there.items() for pod in kind(ordinal))
    units = state_of(seen(*pods)).groups
    wanted = wanted_ordinals(units, replicas, NOW)
    assert len(set(wanted)) == replicas
    serving = {ordinal for ordinal, kind in there.items() if kind is group}
    assert not serving - set(wanted) or set(wanted) <= serving
    made = set(wanted) - set(there)
    assert not made or set(there) <= set(wanted), "nothing new while one that is there is not wanted"
    assert all(set(range(ordinal)) <= set(wanted) | set(there) for ordinal in made), "the lowest free ordinals"
    if not there:
        assert wanted == tuple(range(replicas))


# -- classes ----------------------------------------------------------------------------------------------------------


def test_every_group_is_in_one_class() -> None:
    pods = (*group(0), *starting(1, 40), *starting(2, 90, **GATED), *leaving(3))
    assert group_counts(state_of(seen(*pods)).groups, 4, rolling=False, now=NOW) == GroupCounts(
        1, (40.0, 5.0), 1, 0, False
    ), "3 is taken back"
    assert group_counts(state_of(seen(*pods)).groups, 1, rolling=True, now=NOW) == GroupCounts(1, (), 0, 1, True)


def test_a_start_is_counted_from_the_moment_of_its_place() -> None:
    pods = starting(0, 300, bound=ago(20))
    assert group_counts(state_of(seen(*pods)).groups, 1, rolling=False, now=NOW).starting == (20.0,)
    back = (leader(0, rotation_since=ago(7), ready_since=ago(7), created=ago(900), **OUT), worker(0))
    assert group_counts(state_of(seen(*back)).groups, 1, rolling=False, now=NOW).starting == (7.0,), (
        "out for another version"
    )


def test_limits_come_from_the_spec_and_the_size_of_the_model() -> None:
    known = seen(auto={"target": {"waitSeconds": 3}, "windows": {"cooldownSeconds": 9}, "maxScaleUp": 2})
    assert known.spec is not None
    assert known.spec.autoscaling is not None
    start = expected_start(state_of(known).model_weights, known.spec.sharding.pipeline)
    limits = limits_for(known.spec, known.spec.autoscaling, minimum=ScheduledMinimum(2, "day"), start=start)
    assert (limits.floor, limits.ceiling, limits.slots, limits.wait) == (2, 5, 64, 3)
    assert (limits.stable, limits.cooldown, limits.step, limits.idle_after) == (None, 9, 2, 600)
    assert limits.start == 60 + 269_000_000 / 2 / 500e6


# -- starts -----------------------------------------------------------------------------------------------------------


def test_a_start_is_measured_once() -> None:
    first = scaled(seen(*starting(0, 50)))
    serves = (leader(0, created=ago(50), rotation_since=ago(-10), bound=ago(45)), worker(0, created=ago(50)))
    second = scaled(seen(*serves), first.memory, 11)
    assert second.status.starts == (55.0,)
    third = scaled(seen(*serves), second.memory, 12)
    assert third.status.starts == (55.0,)
    assert third.memory.state is not None
    assert third.memory.state.durable.starts == (55.0,)


@pytest.mark.parametrize(
    "serves",
    [
        (leader(0, rotation_since=NOW), worker(0, restarts=1)),
        (leader(0, rotation_since=NOW, uid="another"), worker(0)),
        (leader(0, rotation_since=None), worker(0)),
    ],
    ids=["it had failed before", "another pod", "nobody knows when"],
)
def test_what_is_no_plain_start_is_not_measured(serves: tuple[PodView, ...]) -> None:
    first = scaled(seen(*starting(0, 50)))
    assert scaled(seen(*serves), first.memory, 1).status.starts == ()


def test_a_group_that_served_when_the_operator_came_is_not_measured() -> None:
    serves = (leader(0, rotation_since=NOW), worker(0))
    assert scaled(seen(*serves)).status.starts == ()


# -- gateways ---------------------------------------------------------------------------------------------------------

LOAD = GatewayLoad(waiting=3, oldest_wait=1, in_flight=2, draining=False, groups=(), totals={}, uptime=9)


def gateway(name: str, **fields: Any) -> PodView:
    return replace(stage(0, 0, name=name, component="gateway", uid=f"uid-{name}", ip=name, ready=True), **fields)


@pytest.mark.parametrize(
    ("pod", "known"),
    [
        (gateway("b"), False),
        (gateway("b", ready=False, ready_since=ago(29)), False),
        (gateway("b", ready=False, ready_since=ago(30)), True),
        (gateway("b", ip=""), True),
        (gateway("b", gone_by=NOW), True),
        (gateway("b", phase="Failed"), True),
    ],
    ids=["silent", "silent and not ready", "not ready for long", "no address yet", "ends", "has ended"],
)
def test_who_may_be_silent(pod: PodView, known: bool) -> None:
    found = scaled(seen(gateway("a"), pod, loads={"a": LOAD, "b": None}))
    assert (found.load.known, found.load.silent) == (known, () if known else ("b",))
    assert found.load.waiting == 3


def test_a_gateway_that_ends_and_still_answers_counts() -> None:
    found = scaled(seen(gateway("a"), gateway("b", gone_by=NOW), loads={"a": LOAD, "b": LOAD}))
    assert (found.load.known, found.load.waiting) == (True, 6)


# -- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "there", "auto", "target"),
    [
        (1, 0, {}, 1),
        (0, 0, {}, 0),
        (3, 0, {}, 3),
        (1, 2, {}, 2),
        (1, 0, {"minReplicas": 2}, 2),
        (1, 3, {"maxReplicas": 2}, 2),
    ],
)
def test_the_number_to_begin_with(*, replicas: int, there: int, auto: dict[str, Any], target: int) -> None:
    pods = tuple(pod for ordinal in range(there) for pod in group(ordinal))
    found = scaled(seen(*pods, replicas=replicas, auto=auto))
    assert (found.target, found.status.target, found.decided) == (target, target, True)
    assert found.status.message.startswith(
        f"autoscaling begins with {target} group{'' if target == 1 else 's'}: {there} "
    )


def test_a_new_process_goes_on_with_the_target_of_the_status() -> None:
    first = scaled(seen(replicas=4))
    status = LlamaDeploymentStatus.model_validate(LlamaDeploymentStatus(autoscaling=first.status).to_api())
    for later in (0, 1, 3600):
        again = scaled(seen(*group(0), replicas=1, status=status), later=later)
        assert (again.target, again.decided, again.status) == (4, False, first.status)


def decision(target: int, **kept: Any) -> Decision:
    return Decision(target, PolicyState(DurableState(target, **kept)), "Word", f"so {target}", {"waiting": 1.23456})


def test_a_record_keeps_ten_decisions_and_equals_what_is_read_back() -> None:
    record = AutoscalingStatus(target=0, since=NOW)
    for number in range(1, 14):
        moment = NOW + timedelta(seconds=number)
        raised = moment + timedelta(microseconds=7)
        change = decision(number, raised=raised, seconds_per_token=0.1234567, starts=(1.26,))
        record = status_after(record, change, moment)
    assert [one.to for one in record.decisions] == list(range(13, 13 - KEPT_DECISIONS, -1))
    assert (record.decisions[0].before, record.decisions[0].figures) == (12, {"waiting": 1.235})
    assert (record.target, record.reason, record.message) == (13, "Word", "so 13")
    assert (record.starts, record.seconds_per_token) == ((1.3,), 0.123457)
    assert AutoscalingStatus.model_validate(record.to_api()) == record


def test_a_decision_that_changes_nothing_changes_no_record() -> None:
    record = status_after(AutoscalingStatus(target=0, since=NOW), decision(2), NOW)
    later = NOW + timedelta(hours=1)
    assert status_after(record, decision(2, seconds_per_token=3.0, raised=later), later) == record


# -- plan and status --------------------------------------------------------------------------------------------------


def test_the_plan_has_the_target_in_place_of_replicas_and_looks_again_within_a_second() -> None:
    record = AutoscalingStatus(target=2, since=NOW)
    base = seen(*group(0), *group(1))
    known = replace(base, status=base.status.model_copy(update={"autoscaling": record}))
    found = plan(state_of(known))
    assert (found.replicas, found.recheck) == (2, READING)
    assert found.persisted.autoscaling is not None
    assert not found.actions.deletes
    assert not found.actions.creates
    status = deployment_status(state_of(known), found, ())
    assert (status.groups_ready, status.reason) == ("2/2", "Serving")
    assert known.spec is not None
    assert known.spec.replicas == 1


def test_an_unknown_time_zone_is_a_failure_that_stops_nothing() -> None:
    peak = {"name": "p", "timeZone": "Europe/Atlantis", "from": "08:00", "to": "09:00", "minReplicas": 2}
    known = seen(*group(0), auto={"schedules": [peak]})
    found = plan(state_of(known))
    status = deployment_status(state_of(known), found, ())
    assert status.reason == "SpecInvalid"
    assert "Europe/Atlantis of p is not known" in status.message
    assert {one.type: one.status for one in status.conditions} == {
        "Available": "True", "Degraded": "True", "Progressing": "False",
        "Ready": "False", "Reconciling": "False", "Stalled": "True", "NetworkPolicyEnforced": "Unknown",
    }  # fmt: skip
    assert found.replicas == 1


def test_an_event_for_every_change_with_its_sentence() -> None:
    def status(target: int) -> LlamaDeploymentStatus:
        return LlamaDeploymentStatus(autoscaling=AutoscalingStatus(target=target, message="why", since=NOW))

    assert [(one.reason, one.message) for one in deployment_events(status(1), status(3))] == [
        ("ScaledUp", "1 to 3 groups: why")
    ]
    assert [one.reason for one in deployment_events(status(3), status(1))] == ["ScaledDown"]
    assert deployment_events(status(3), status(3)) == deployment_events(LlamaDeploymentStatus(), status(3)) == ()
