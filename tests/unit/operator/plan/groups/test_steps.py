"""What each group needs next: a world in, names and reasons out."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.observe.pods import PodView
from llama_operator.plan.actions import Actions
from llama_operator.plan.groups.pods import BROKEN_GRACE, OVERDUE, WATCH_LAG
from llama_operator.plan.groups.steps import update_groups
from llama_operator.plan.groups.template import desired_template
from llama_operator.plan.groups.update_policy import UpdatePolicy
from llama_operator.plan.naming import GroupId
from llama_operator.ports import Capacity, NodeCapacity
from llama_serving.config.gateway import GatewayLoad, GroupLoad
from tests.unit.operator.worlds import (
    NEW,
    NOW,
    OLD,
    V1,
    ago,
    cell,
    group,
    heard,
    leader,
    stage,
    state_of,
    worker,
    world,
)


def steps(
    *pods: PodView, replicas: int = 2, may_disrupt: bool = True, surge: int = 0, unavailable: int = 1, **fields: Any
) -> Actions:
    """Steps towards the present spec; every pod is heard unless ``cells`` says otherwise."""
    seen = world(*pods, replicas=replicas, **{"cells": heard(*pods)} | fields)
    assert seen.spec is not None
    state = state_of(seen)
    desired = desired_template(state)
    assert desired is not None
    every = frozenset(state.ordinals)
    return update_groups(
        state, UpdatePolicy(desired, desired, every, may_disrupt=may_disrupt, surge=surge, unavailable=unavailable)
    )


def created(found: Actions) -> list[tuple[int, int]]:
    return [(item.group.ordinal, item.stage) for item in found.creates]


def deleted(found: Actions) -> list[str]:
    return [item.name.removeprefix("chat-") for item in found.deletes]


def gates(found: Actions) -> list[tuple[int, bool]]:
    """Gates that are changed, by ordinal."""
    return sorted((int(item.pod.split("-")[2]), item.open_) for item in found.rotations)


def closed_gates(found: Actions) -> set[str]:
    return {item.pod for item in found.rotations if not item.open_}


def reasons(found: Actions) -> list[tuple[int | None, str]]:
    return [(one.group, one.reason.value) for one in found.explanations]


def test_from_nothing_all_stages_are_made() -> None:
    assert created(steps()) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_whole_groups_need_nothing() -> None:
    found = steps(*group(0), *group(1))
    assert (created(found), deleted(found), closed_gates(found), found.explanations) == ([], [], set(), ())
    assert [plan.group.ordinal for plan in found.groups] == [0, 1]


def test_a_pod_that_was_not_made_yet_is_made() -> None:
    found = steps(stage(0, 0, created=ago(1)), *group(1))
    assert (created(found), deleted(found)) == ([(0, 1)], [])
    assert GroupId("chat", 0, NEW) not in {plan.group for plan in found.groups[1:]}


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (worker(0, phase="Failed", reason="Evicted", message="low on memory"), "ended: Evicted low on memory"),
        (worker(0, phase="Succeeded"), "ended: Succeeded"),
        (worker(0, gone_by=NOW), "is being deleted"),
    ],
)
def test_a_lost_pod_takes_its_group_down_and_only_it(lost: PodView, why: str) -> None:
    found = steps(leader(0), lost, *group(1))
    assert created(found) == []
    assert {name[:-2] for name in deleted(found)} == {f"{NEW}-0"}
    assert closed_gates(found) == {f"chat-{NEW}-0-0"}
    assert [item.grace for item in found.deletes if item.name.endswith("0-0")] == [BROKEN_GRACE]
    assert why in found.explanations[0].detail
    assert reasons(found) == [(0, "PodLost")]


def test_a_vanished_worker_takes_down_a_group_that_has_served() -> None:
    found = steps(leader(0), *group(1))
    assert (created(found), deleted(found)) == ([], [f"{NEW}-0-0"])
    assert "1 pod vanished" in found.explanations[0].detail


def test_a_vanished_leader_takes_down_workers_that_had_joined_it() -> None:
    pod = worker(0)
    found = steps(pod, *group(1), cells={pod.name: cell(stage=1)})
    assert (created(found), deleted(found)) == ([], [f"{NEW}-0-1"])


def test_what_the_watch_does_not_show_yet_ends_no_young_group() -> None:
    young = stage(0, 0, created=NOW - WATCH_LAG + timedelta(seconds=1))
    found = steps(young, *group(1), cells={young.name: cell()})
    assert (created(found), deleted(found)) == ([(0, 1)], [])


def test_a_stage_too_many_takes_the_group_down() -> None:
    found = steps(*group(0), stage(0, 2), *group(1))
    assert len(found.deletes) == 3
    assert "is a stage too many" in found.explanations[0].detail


# -- another template -------------------------------------------------------------------------------------------------


def test_one_serving_group_is_replaced_at_a_time_leader_first() -> None:
    found = steps(*group(0, OLD), *group(1, OLD))
    assert (created(found), deleted(found)) == ([], [f"{OLD}-0-0"])
    assert closed_gates(found) == {f"chat-{OLD}-0-0"}
    assert set(found.keep) == {GroupId("chat", 0, OLD), GroupId("chat", 1, OLD)}
    assert reasons(found) == [(0, "Replacing"), (1, "Replacing")]
    assert found.explanations[1].detail == f"group 1 keeps pods {OLD} until 1 other group serves"
    assert {plan.group for plan in found.groups} == set(), "they are left as they are"


def test_workers_go_when_their_leader_has_gone() -> None:
    found = steps(worker(0, OLD), *group(1, OLD))
    assert (created(found), deleted(found)) == ([], [f"{OLD}-0-1"])


def test_nothing_is_made_while_an_old_pod_is_there() -> None:
    assert created(steps(worker(0, OLD, gone_by=NOW), *group(1, OLD))) == []


def test_a_serving_group_waits_until_the_new_one_serves() -> None:
    starting = (stage(0, 0), worker(0))
    assert deleted(steps(*starting, *group(1, OLD))) == []
    assert deleted(steps(*group(0), *group(1, OLD), may_disrupt=False)) == []
    assert deleted(steps(*group(0), *group(1, OLD), unavailable=0)) == []
    assert deleted(steps(*group(0), *group(1, OLD))) == [f"{OLD}-1-0"]


def test_groups_that_do_not_serve_are_replaced_all_at_once() -> None:
    found = steps(stage(0, 0, OLD), worker(0, OLD), stage(1, 0, OLD), worker(1, OLD))
    assert deleted(found) == [f"{OLD}-0-0", f"{OLD}-1-0"]


@pytest.mark.parametrize(
    "torn",
    [
        (leader(0, OLD), worker(0, OLD, gone_by=NOW)),
        (leader(0), worker(0, gone_by=NOW)),
        (leader(0), worker(0, phase="Failed")),
        (leader(0),),
    ],
    ids=["old worker dying", "worker dying", "worker failed", "worker vanished"],
)
def test_a_group_that_is_about_to_break_counts_as_not_serving(torn: tuple[PodView, ...]) -> None:
    found = steps(*torn, *group(1, OLD))
    assert not [name for name in deleted(found) if name.startswith(f"{OLD}-1")]


# -- one group more ---------------------------------------------------------------------------------------------------


def test_a_new_group_is_made_beside_the_old_one() -> None:
    found = steps(*group(0, OLD), *group(1, OLD), surge=1)
    assert (created(found), deleted(found)) == ([(0, 0), (0, 1)], [])
    assert [plan.group for plan in found.groups] == [GroupId("chat", 0, NEW)]
    assert "3 groups are there" not in found.explanations[0].detail
    assert reasons(found) == [(1, "Replacing")]


def test_the_old_one_goes_when_the_new_one_serves() -> None:
    starting = (stage(0, 0), worker(0))
    assert deleted(steps(*group(0, OLD), *starting, *group(1, OLD), surge=1)) == []
    assert deleted(steps(*group(0, OLD), *group(0), *group(1, OLD), surge=1)) == [f"{OLD}-0-0"]
    assert deleted(steps(*group(0, OLD), *group(0), *group(1, OLD), surge=1, unavailable=0)) == [f"{OLD}-0-0"]
    lost = (leader(1, OLD), worker(1, OLD, gone_by=NOW))
    assert f"{OLD}-0-0" not in deleted(steps(*group(0, OLD), *group(0), *lost, surge=1, unavailable=0))


def test_no_more_groups_than_allowed() -> None:
    pods = (*group(0, OLD), stage(0, 0), worker(0), *group(1, OLD))
    assert created(steps(*pods, surge=1)) == []
    assert created(steps(*pods, surge=2)) == [(1, 0), (1, 1)]


# -- fewer replicas ---------------------------------------------------------------------------------------------------


def test_surplus_groups_leave_the_rotation_first() -> None:
    found = steps(*group(0), *group(1), *group(2), replicas=1)
    assert deleted(found) == []
    assert gates(found) == [(1, False), (2, False)]
    assert reasons(found) == [(1, "ScalingDown"), (2, "ScalingDown")]
    assert "it drains, its leader leaves the rotation" in found.explanations[0].detail
    assert {one.ordinal for one in found.keep} == {1, 2}


def closed(ordinal: int, seconds: float = 10, **fields: Any) -> tuple[PodView, PodView]:
    """A group that has left the rotation."""
    since = {"rotation_since": ago(seconds), "ready_since": ago(seconds)}
    out: dict[str, Any] = {"in_rotation": False, "ready": False, **since}
    return leader(ordinal, **out | fields), worker(ordinal)


def load(*, in_flight: int = 0, ready: bool = False) -> dict[str, GatewayLoad]:
    one = GroupLoad(name=f"chat-{NEW}-1-0", group=1, weights=V1, ready=ready, ejected=False, in_flight=in_flight)
    return {"gw": GatewayLoad(waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(one,), totals={})}


GATEWAY = stage(0, 0, name="gw", component="gateway")


@pytest.mark.parametrize(
    ("loads", "seconds", "gone", "moved"),
    [
        (load(), 10, True, False),
        (load(in_flight=2), 10, False, False),
        (load(ready=True), 10, False, False),
        ({"gw": None}, 10, False, False),
        (load(in_flight=2), 121, False, True),
        (load(in_flight=2), 126, True, False),
    ],
    ids=["let go", "in flight", "still taken for ready", "not heard", "time is over", "had time to move"],
)
def test_pods_go_when_their_requests_have_ended(
    *, loads: dict[str, GatewayLoad | None], seconds: float, gone: bool, moved: bool
) -> None:
    found = steps(*group(0), *closed(1, seconds), GATEWAY, replicas=1, loads=loads)
    assert deleted(found) == ([f"{NEW}-1-0"] if gone else [])
    assert [item.move for item in found.rotations] == ([moved] if moved else [])
    assert reasons(found) == [(1, "ScalingDown")]


def test_a_group_that_drains_is_taken_back_rather_than_another_one_made() -> None:
    found = steps(*group(0), *closed(1), *closed(4, 3), GATEWAY, replicas=2, loads=load(in_flight=2))
    assert (created(found), gates(found)) == ([], [(4, True)]), "the last to leave is first back"
    assert created(steps(*group(0), *closed(1), *closed(4), replicas=4)) == [(2, 0), (2, 1)]


def test_a_group_that_serves_never_goes_before_one_that_starts() -> None:
    found = steps(stage(0, 0, in_rotation=None, ready=False), worker(0), *group(1), *group(2), replicas=2)
    assert deleted(found) == [f"{NEW}-0-0"]
    assert created(found) == []
    found = steps(stage(0, 0, in_rotation=None, ready=False), worker(0), *group(1), *group(2), replicas=1)
    assert deleted(found) == [f"{NEW}-0-0"]
    assert gates(found) == [(2, False)]


def test_at_zero_all_groups_go() -> None:
    found = steps(*group(0), stage(1, 0), worker(1), replicas=0)
    assert gates(found) == [(0, False)]
    assert deleted(found) == [f"{NEW}-1-0"]
    assert deleted(steps(*closed(0), replicas=0)) == [f"{NEW}-0-0"]
    assert (created(steps(replicas=0)), steps(replicas=0).groups) == ([], ())


def test_a_surplus_group_that_does_not_serve_leaves_anyway() -> None:
    found = steps(stage(0, 0), worker(0), stage(1, 0), worker(1), replicas=1)
    assert deleted(found) == [f"{NEW}-1-0"]


# -- pods that nobody ends --------------------------------------------------------------------------------------------

LOST = NodeCapacity("node-1", {}, False, True, {}, {})


@pytest.mark.parametrize(
    ("late", "node", "forced", "deletes"),
    [
        (timedelta(0), None, False, 0),
        (OVERDUE, None, False, 0),
        (OVERDUE + timedelta(seconds=1), None, False, 1),
        (-timedelta(seconds=60), LOST, False, 1),
        (-timedelta(seconds=60), replace(LOST, ready=True), False, 0),
        (-timedelta(seconds=60), replace(LOST, name=""), False, 0),
        (OVERDUE * 2, LOST, True, 0),
    ],
)
def test_force_where_no_kubelet_answers(
    *, late: timedelta, node: NodeCapacity | None, forced: bool, deletes: int
) -> None:
    dying = worker(0, gone_by=NOW - late, forced=forced)
    found = steps(dying, *group(1), capacity=Capacity((node,)) if node else None)
    assert [item.grace for item in found.deletes] == [0] * deletes
    assert created(found) == []
