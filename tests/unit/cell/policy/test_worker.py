"""The worker's table, row by row."""

from typing import Any

import pytest

from llama_serving.cell.policy.state_machine import (
    NO_RAY,
    Action,
    CellFault,
    Decision,
    RayView,
    SupervisorMemory,
    initial_memory,
)
from llama_serving.cell.policy.worker import JOIN_DEADLINE, LEADER_LOST, WorkerView, decide
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.cell.worlds import TIMEOUTS, leader_report, worker_view

DEVICE = CellFault(CellReason.DEVICES_MISSING, "1 of 2 devices are there")
FAULT = CellFault(CellReason.WEIGHTS_MISSING, "there is no folder")
ALONE: dict[str, Any] = {"ray": NO_RAY, "session": None, "joined": False}
NO_LEADER = ALONE | {"leader": None, "leader_error": "its name does not resolve yet"}
LOST: dict[str, Any] = {"leader": None, "leader_error": "no answer in time"}


def look(view: WorkerView, *, now: float = 100.0, memory: SupervisorMemory | None = None) -> Decision:
    return decide(memory or initial_memory(0.0), view, timeouts=TIMEOUTS, now=now)


@pytest.mark.parametrize(
    ("changes", "phase", "reason", "actions"),
    [
        (NO_LEADER, Phase.JOINING, CellReason.LEADER_NOT_REACHED, ()),
        (NO_LEADER | {"weights_fault": FAULT}, Phase.FAILED, CellReason.WEIGHTS_MISSING, ()),
        (NO_LEADER | {"device_fault": DEVICE}, Phase.STARTING, CellReason.DEVICES_MISSING, ()),
        (ALONE | {"device_fault": DEVICE}, Phase.STARTING, CellReason.DEVICES_MISSING, ()),
        (ALONE | {"leader": leader_report(phase=Phase.STARTING)}, Phase.JOINING, CellReason.RAY_STARTING, ()),
        (ALONE | {"leader": leader_report(phase=Phase.FAILED)}, Phase.JOINING, CellReason.RAY_STARTING, ()),
        (ALONE | {"leader": leader_report(phase=Phase.DRAINING)}, Phase.JOINING, CellReason.RAY_STARTING, ()),
        (
            ALONE | {"leader": leader_report(phase=Phase.JOINING)},
            Phase.JOINING,
            CellReason.RAY_STARTING,
            (Action.START_RAY,),
        ),
        (
            ALONE | {"leader": leader_report(phase=Phase.SERVING)},
            Phase.JOINING,
            CellReason.RAY_STARTING,
            (Action.START_RAY,),
        ),
        ({"joined": False}, Phase.JOINING, CellReason.RAY_STARTING, ()),
        ({}, Phase.SERVING, CellReason.SERVING, ()),
        ({"leader": leader_report(phase=Phase.DRAINING)}, Phase.SERVING, CellReason.SERVING, ()),
    ],
)
def test_what_is_seen_decides_the_phase(
    *, changes: dict[str, Any], phase: Phase, reason: CellReason, actions: tuple[Action, ...]
) -> None:
    decision = look(worker_view(**changes))
    assert (decision.memory.status.phase, decision.memory.status.reason) == (phase, reason)
    assert decision.actions == actions
    assert decision.exit_code is None


def test_ready_once_it_has_joined() -> None:
    assert look(worker_view()).memory.status.ready
    assert not look(worker_view(joined=False)).memory.status.ready


def test_a_leader_that_cannot_be_reached_is_waited_for_without_end() -> None:
    view = worker_view(**NO_LEADER)
    memory = look(view, now=1.0).memory
    decision = look(view, memory=memory, now=5000.0)
    assert decision.exit_code is None
    assert decision.memory.status.message == (
        "leader stage-0.demo does not answer (its name does not resolve yet), 83 min so far"
    )


def test_a_leader_that_started_again_ends_the_membership() -> None:
    decision = look(worker_view(leader=leader_report(session="second")))
    assert decision.exit_code == 1
    assert "has restarted" in decision.memory.status.message


def test_a_leader_that_is_silent_for_too_long_ends_the_membership() -> None:
    memory = look(worker_view(**LOST), now=50.0).memory
    assert look(worker_view(**LOST), memory=memory, now=50.0 + LEADER_LOST).exit_code is None
    assert look(worker_view(**LOST), memory=memory, now=51.0 + LEADER_LOST).exit_code == 1


def test_a_leader_that_answers_again_in_time_is_forgiven() -> None:
    memory = look(worker_view(**LOST), now=50.0).memory
    memory = look(worker_view(), memory=memory, now=55.0).memory
    assert look(worker_view(**LOST), memory=memory, now=62.0).exit_code is None


def test_rays_end_ends_the_container() -> None:
    decision = look(worker_view(ray=RayView(started=True, exit_code=1)))
    assert decision.exit_code == 1
    assert decision.memory.status.message == "Ray ended with exit code 1: the leader's session has ended"


def test_rays_end_before_the_join_is_not_laid_to_the_leader() -> None:
    decision = look(worker_view(ray=RayView(started=True, exit_code=1), joined=False))
    assert decision.exit_code == 1
    assert decision.memory.status.message == (
        "Ray ended with exit code 1: it did not join; the container's log says why"
    )


def test_a_join_that_does_not_come_about_has_a_deadline() -> None:
    view = worker_view(joined=False)
    memory = look(view, now=1.0).memory
    assert look(view, memory=memory, now=1.0 + JOIN_DEADLINE).exit_code is None
    assert look(view, memory=memory, now=2.0 + JOIN_DEADLINE).exit_code == 1


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({}, 0),  # nothing in flight
        ({"leader": leader_report(in_flight=None)}, 0),
        ({"leader": leader_report(in_flight=2)}, None),  # they need this stage
        ({"leader": leader_report(in_flight=2), "joined": False}, 0),  # not this one
        (LOST, 0),
    ],
)
def test_stopping_waits_for_the_requests_of_the_leader(changes: dict[str, Any], exit_code: int | None) -> None:
    decision = look(worker_view(stopping=True, **changes))
    assert (decision.memory.status.phase, decision.exit_code) == (Phase.DRAINING, exit_code)


def test_stopping_has_a_deadline() -> None:
    view = worker_view(stopping=True, leader=leader_report(in_flight=2))
    memory = look(view, now=10.0).memory
    assert look(view, memory=memory, now=10.0 + TIMEOUTS.drain).exit_code == 0
