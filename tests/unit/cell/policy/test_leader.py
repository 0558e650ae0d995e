"""The leader's table, row by row, and whole starts of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.cell.policy.leader import FRESH, FRESH_BUSY, RAY_DEADLINE, SETTLE, AppView, LeaderView, decide
from llama_serving.cell.policy.state_machine import (
    NO_RAY,
    Action,
    CellFault,
    Decision,
    RayView,
    StartStep,
    SupervisorMemory,
    initial_memory,
)
from llama_serving.cell.policy.weight_swap import SHOW_FAILURE, DesiredWeights
from llama_serving.config.desired import SwapState
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.cell.worlds import ENGINE, NEW, OLD, RUNNING, SERVES, TIMEOUTS, leader_view

BEFORE_RAY: dict[str, Any] = {
    "ray": NO_RAY,
    "joined": None,
    "deployed": False,
    "app": None,
    "engine": None,
    "answered": False,
    "desired": replace(SERVES, deployed=None, measured=False, checked=False),
}
RAY_STARTS = BEFORE_RAY | {"ray": RUNNING}
WAITS = RAY_STARTS | {"joined": frozenset({0})}
LOADS = RAY_STARTS | {"joined": frozenset({0, 1}), "deployed": True}
BOTH = frozenset({0, 1})
STAGING = replace(SERVES, staging=CellFault(CellReason.WEIGHTS_STAGING, "Stage 1: 1.2 of 3.4 GB, 10 s left"))
REFUSED_WEIGHTS = replace(SERVES, staging=CellFault(CellReason.WEIGHTS_REFUSED, "Stage 1: its digest differs"))
DEVICE = CellFault(CellReason.DEVICE_UNHEALTHY, "device 1 (GPU-1): 3 uncorrected ECC errors")
FAULT = CellFault(CellReason.WEIGHTS_UNREADABLE, "uid 10001 may not read it")
GAVE_UP = AppView(failed=True, status="DEPLOY_FAILED", error="ValueError: no room")
REFUSED = replace(GAVE_UP, refused=True)
LOST_DEVICE = replace(GAVE_UP, error="AcceleratorError: CUDA error: uncorrectable ECC error encountered")


def look(view: LeaderView, *, now: float = 100.0, memory: SupervisorMemory | None = None) -> Decision:
    return decide(memory or initial_memory(0.0), view, timeouts=TIMEOUTS, now=now)


def after(*views: LeaderView, start: float = 0.0, every: float = 1.0) -> Decision:
    """The decision after these looks, one a second."""
    memory, decision = initial_memory(start), None
    for number, view in enumerate(views):
        decision = decide(memory, view, timeouts=TIMEOUTS, now=start + every * (number + 1))
        memory = decision.memory
    assert decision is not None
    return decision


@pytest.mark.parametrize(
    ("changes", "phase", "reason", "actions"),
    [
        (BEFORE_RAY, Phase.STARTING, CellReason.RAY_STARTING, (Action.START_RAY,)),
        (BEFORE_RAY | {"weights_fault": FAULT}, Phase.FAILED, CellReason.WEIGHTS_UNREADABLE, ()),
        (BEFORE_RAY | {"device_fault": DEVICE}, Phase.STARTING, CellReason.DEVICE_UNHEALTHY, ()),
        (RAY_STARTS, Phase.STARTING, CellReason.RAY_STARTING, ()),
        (WAITS, Phase.JOINING, CellReason.STAGES_NOT_JOINED, ()),
        (WAITS | {"joined": frozenset()}, Phase.JOINING, CellReason.STAGES_NOT_JOINED, ()),
        (WAITS | {"joined": frozenset({0, 1})}, Phase.LOADING, CellReason.ENGINE_STARTING, (Action.DEPLOY,)),
        (WAITS | {"joined": BOTH, "desired": STAGING}, Phase.LOADING, CellReason.WEIGHTS_STAGING, ()),
        (WAITS | {"joined": BOTH, "desired": REFUSED_WEIGHTS}, Phase.FAILED, CellReason.WEIGHTS_REFUSED, ()),
        (WAITS | {"desired": STAGING}, Phase.JOINING, CellReason.STAGES_NOT_JOINED, ()),
        (LOADS, Phase.LOADING, CellReason.ENGINE_STARTING, ()),
        (LOADS | {"engine": ENGINE}, Phase.LOADING, CellReason.ENGINE_STARTING, (Action.FIRST_TOKEN,)),
        (LOADS | {"app": GAVE_UP}, Phase.LOADING, CellReason.ENGINE_FAILED, ()),
        (LOADS | {"app": REFUSED}, Phase.FAILED, CellReason.MODEL_REFUSED, ()),
        (LOADS | {"app": REFUSED, "device_fault": DEVICE}, Phase.LOADING, CellReason.DEVICE_UNHEALTHY, ()),
        (LOADS | {"app": GAVE_UP, "device_fault": DEVICE}, Phase.LOADING, CellReason.DEVICE_UNHEALTHY, ()),
        (LOADS | {"app": LOST_DEVICE}, Phase.LOADING, CellReason.DEVICE_UNHEALTHY, ()),
        ({}, Phase.SERVING, CellReason.SERVING, ()),
        ({"engine": None}, Phase.SERVING, CellReason.ENGINE_UNHEALTHY, ()),
        ({"app": GAVE_UP}, Phase.SERVING, CellReason.SERVING, ()),
        ({"app": GAVE_UP, "engine": None}, Phase.LOADING, CellReason.ENGINE_FAILED, ()),
        ({"app": None, "joined": None}, Phase.SERVING, CellReason.SERVING, ()),
        ({"stopping": True}, Phase.DRAINING, CellReason.DRAINING, ()),
    ],
)
def test_what_is_seen_decides_the_phase(
    *, changes: dict[str, Any], phase: Phase, reason: CellReason, actions: tuple[Action, ...]
) -> None:
    decision = look(leader_view(**changes))
    assert (decision.memory.status.phase, decision.memory.status.reason) == (phase, reason)
    assert decision.actions == actions
    assert decision.exit_code is None


@pytest.mark.parametrize(
    ("engine", "ready"),
    [
        (replace(ENGINE, seconds_ago=FRESH), True),
        (replace(ENGINE, seconds_ago=FRESH + 0.1), False),
        (replace(ENGINE, seconds_ago=FRESH_BUSY, in_flight=1), True),
        (replace(ENGINE, seconds_ago=FRESH_BUSY + 1, in_flight=1), False),
        (None, False),
    ],
)
def test_ready_means_that_the_engine_answered_lately(engine: Any, ready: bool) -> None:
    assert look(leader_view(engine=engine)).memory.status.ready is ready


@pytest.mark.parametrize("changes", [BEFORE_RAY, RAY_STARTS, WAITS, LOADS, {"stopping": True}])
def test_nothing_but_serving_is_ready(changes: dict[str, Any]) -> None:
    assert look(leader_view(**changes)).memory.status.ready is False


def test_waiting_for_stages_says_how_many_and_which() -> None:
    view = leader_view(**WAITS | {"stages": 4, "joined": frozenset({0, 2})})
    decision = after(*[view] * 13)
    assert decision.memory.status.message == "2 of 4 stages have joined; waiting for stages 1, 3, 10 s so far"


@pytest.mark.parametrize(
    ("joined", "said"),
    [(BOTH, ""), (frozenset({0}), "; stage 1 left the cluster"), (None, "")],
)
def test_a_cluster_that_does_not_list_its_nodes_has_not_lost_them(joined: frozenset[int] | None, said: str) -> None:
    starting = leader_view(**LOADS | {"joined": joined})
    decision = after(leader_view(**LOADS), *[starting] * 5)
    assert decision.memory.status.message == f"the engine is starting, 0 s so far{said}"


def test_an_engine_without_answer_names_the_stage_that_left() -> None:
    left = leader_view(engine=None, joined=frozenset({0}))
    memory = look(left, now=1000.0).memory
    assert memory.status.message == "the engine does not answer; stage 1 left the cluster"
    memory = look(left, memory=memory, now=1009.9).memory
    assert memory.status.message == "the engine does not answer; stage 1 left the cluster"
    memory = look(left, memory=memory, now=1010.0).memory
    assert memory.status.message == "the engine has not answered for 10 s; stage 1 left the cluster"


def test_an_engine_that_hangs_says_since_when_and_not_since_it_was_noticed() -> None:
    hangs = replace(ENGINE, in_flight=2, seconds_ago=63.0)
    memory = look(leader_view(engine=hangs), now=1000.0).memory
    assert memory.status.message == "the engine has not answered for 60 s, with 2 requests in flight"
    memory = look(leader_view(engine=None), memory=memory, now=1010.0).memory
    assert memory.status.message == "the engine has not answered for 70 s"


@pytest.mark.parametrize(
    ("changes", "deadline", "words"),
    [
        (RAY_STARTS, RAY_DEADLINE, "Ray did not come up"),
        (WAITS, TIMEOUTS.join, "only 1 of 2 stages have joined within 100 s; missing: stage 1"),
        (LOADS, TIMEOUTS.start, "the engine did not answer within 300 s"),
        ({"engine": None}, TIMEOUTS.start, "the engine has not answered for 5 min"),
    ],
)
def test_every_wait_has_a_deadline(changes: dict[str, Any], deadline: float, words: str) -> None:
    view = leader_view(**changes)
    memory = look(view, memory=initial_memory(1.0), now=1.0).memory
    assert look(view, memory=memory, now=1.0 + deadline).exit_code is None
    over = look(view, memory=memory, now=2.0 + deadline)
    assert over.exit_code == 1
    assert words in over.memory.status.message


def test_rays_end_ends_the_container() -> None:
    decision = look(leader_view(ray=RayView(started=True, exit_code=1)))
    assert (decision.exit_code, decision.memory.status.ready) == (1, False)
    assert decision.memory.status.message == "Ray ended with exit code 1"


def test_a_failed_engine_is_shown_before_the_container_starts_again() -> None:
    view = leader_view(**LOADS | {"app": GAVE_UP})
    memory = look(view, now=10.0).memory
    assert memory.status.message == "the engine failed: ValueError: no room"
    assert look(view, memory=memory, now=10.0 + SHOW_FAILURE - 1).exit_code is None
    assert look(view, memory=memory, now=10.0 + SHOW_FAILURE).exit_code == 1


def test_a_refused_model_waits_for_other_files() -> None:
    view = leader_view(**LOADS | {"app": REFUSED})
    memory = look(view, now=10.0).memory
    assert look(view, memory=memory, now=10_000.0).exit_code is None
    assert look(replace(view, files_changed=True), memory=memory, now=11.0).exit_code == 1


def test_draining_waits_for_requests_in_flight() -> None:
    busy = leader_view(stopping=True, engine=replace(ENGINE, in_flight=2))
    idle = leader_view(stopping=True)
    memory = look(busy, now=10.0).memory
    assert memory.status.message == "draining; 2 requests in flight, 0 of at most 30 s"
    memory = look(idle, memory=memory, now=20.0).memory
    memory_busy_again = look(busy, memory=memory, now=20.5).memory
    assert look(idle, memory=memory_busy_again, now=21.5).exit_code is None
    assert look(idle, memory=memory, now=20.0 + SETTLE).exit_code == 0


def test_draining_has_a_deadline() -> None:
    busy = leader_view(stopping=True, engine=replace(ENGINE, in_flight=2))
    memory = look(busy, now=10.0).memory
    assert look(busy, memory=memory, now=10.0 + TIMEOUTS.drain).exit_code == 0


def test_a_start_is_timed_step_by_step() -> None:
    views = [
        *[leader_view(**BEFORE_RAY)] * 1,
        *[leader_view(**RAY_STARTS)] * 4,
        *[leader_view(**WAITS)] * 3,
        *[leader_view(**LOADS)] * 20,
        *[leader_view(**LOADS | {"engine": ENGINE})] * 2,
        *[leader_view(desired=replace(SERVES, measured=False, checked=False))] * 3,
        leader_view(),
    ]
    decision = after(*views)
    assert decision.memory.timings() == {
        "ray": 6.0,
        "join": 3.0,
        "engine": 20.0,
        "first_token": 2.0,
        "verification": 3.0,
    }
    assert decision.memory.status.ready


def test_a_phase_keeps_its_beginning_and_a_new_one_has_its_own() -> None:
    memory = after(*[leader_view(**RAY_STARTS)] * 5).memory
    assert memory.since == 0.0
    assert look(leader_view(**WAITS), memory=memory, now=9.0).memory.since == 9.0


def test_an_outage_is_measured_from_its_own_beginning() -> None:
    gone, back = leader_view(engine=None), leader_view()
    memory = after(gone, gone, back).memory
    decision = look(gone, memory=memory, now=50.0)
    assert decision.memory.status.message.startswith("the engine does not answer")


BROKEN = [
    replace(ENGINE, weights=None, target=NEW, failures=1, swap=SwapState(digest="", outcome="failed", message="no")),
    replace(ENGINE, weights=None, target=OLD, failures=2, swap=SwapState(digest="", outcome="failed", message="no")),
    replace(ENGINE, weights=None, target=NEW, swap=SwapState(digest="", outcome="running")),
]
VIEWS = st.builds(
    LeaderView,
    stages=st.just(2),
    stopping=st.booleans(),
    weights_fault=st.sampled_from([None, FAULT]),
    ray=st.sampled_from([NO_RAY, RUNNING, RayView(started=True, exit_code=1)]),
    joined=st.sampled_from([None, frozenset(), frozenset({0}), frozenset({0, 1})]),
    deployed=st.booleans(),
    app=st.sampled_from([None, AppView(failed=False, status="DEPLOYING"), GAVE_UP, REFUSED]),
    engine=st.sampled_from([None, ENGINE, replace(ENGINE, in_flight=3), replace(ENGINE, seconds_ago=99.0), *BROKEN]),
    answered=st.booleans(),
    files_changed=st.booleans(),
    desired=st.builds(
        DesiredWeights,
        weights=st.sampled_from([OLD, NEW]),
        staging=st.sampled_from([None, STAGING.staging, REFUSED_WEIGHTS.staging]),
        deployed=st.sampled_from([None, OLD, NEW]),
        measured=st.booleans(),
        checked=st.booleans(),
    ),
)


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(VIEWS, min_size=1, max_size=30))
def test_whatever_is_seen_is_answered_with_a_sentence_and_at_most_one_action(views: list[LeaderView]) -> None:
    memory, now = initial_memory(0.0), 0.0
    for view in views:
        now += 1.0
        # What a real leader cannot see: an app without Ray, an answer without an app.
        if (view.deployed and not view.ray.started) or (view.answered and not view.deployed):
            continue
        if view.deployed and StartStep.RAY not in memory.finished:
            continue
        decision = decide(memory, view, timeouts=TIMEOUTS, now=now)
        memory = decision.memory
        assert memory.status.message
        assert len(decision.actions) <= 1
        assert not (decision.actions and decision.exit_code is not None)
        assert not memory.status.ready or (view.engine is not None and view.answered)
        assert not memory.status.ready or (view.engine is not None and view.engine.weights and view.desired.measured)
