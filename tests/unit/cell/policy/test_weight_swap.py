"""The leader's table once its engine answers, row by row, and whole swaps with a fault in each."""

from dataclasses import replace
from typing import Any

import pytest

from llama_serving.cell.policy.state_machine import Action, CellFault, Decision, SupervisorMemory, initial_memory
from llama_serving.cell.policy.weight_swap import SHOW_FAILURE, DesiredWeights, EngineView, decide_weights
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import SwapState
from llama_serving.config.reasons import CellReason
from tests.unit.cell.worlds import ENGINE, NEW, OLD, SERVES

START = 300.0
RUNS = replace(ENGINE, target=NEW, swap=SwapState(digest="", outcome="running"))
DONE = replace(ENGINE, weights=NEW, target=NEW, swap=SwapState(digest="", outcome="done"))
SAID = "stage 1 (stage-1) could not load w2: IncompleteError: the files lack model.norm.weight"
FAILED = replace(
    ENGINE, weights=None, target=NEW, failures=1, swap=SwapState(digest="", outcome="failed", message=SAID)
)
FAILED_BACK = replace(FAILED, target=OLD, failures=2)
WAITS = CellFault(CellReason.WEIGHTS_STAGING, "stage 1: 1.2 of 3.4 GB, 10 s left")
DESIRED = DesiredWeights(weights=NEW, deployed=OLD, measured=True, checked=True)
DEPLOYED = replace(DESIRED, deployed=NEW)
UNVERIFIED = DesiredWeights(weights=NEW, deployed=NEW)
BACK = DesiredWeights(weights=OLD, deployed=NEW)


def look(
    engine: EngineView, desired: DesiredWeights, *, memory: SupervisorMemory | None = None, now: float = 100.0
) -> Decision:
    return decide_weights(memory or initial_memory(0.0), engine, desired, start=START, now=now)


@pytest.mark.parametrize(
    ("engine", "desired", "reason", "ready", "actions"),
    [
        (ENGINE, SERVES, CellReason.SERVING, True, ()),
        (ENGINE, replace(SERVES, measured=False, checked=False), CellReason.VERIFYING, False, (Action.VERIFY,)),
        (
            ENGINE,
            replace(SERVES, checked=False),
            CellReason.SERVING,
            True,
            (Action.VERIFY,),
        ),  # other checks are desired
        (ENGINE, DESIRED, CellReason.SWAPPING, False, (Action.SWAP,)),
        (
            ENGINE,
            replace(DESIRED, measured=False),
            CellReason.SWAPPING,
            False,
            (Action.SWAP,),
        ),  # the old ones are no matter
        (ENGINE, replace(DESIRED, staging=WAITS), CellReason.SERVING, True, ()),
        (
            ENGINE,
            replace(DESIRED, staging=WAITS, measured=False, checked=False),
            CellReason.VERIFYING,
            False,
            (Action.VERIFY,),
        ),
        (ENGINE, DEPLOYED, CellReason.SWAPPING, False, ()),
        (RUNS, DEPLOYED, CellReason.SWAPPING, False, ()),
        (RUNS, SERVES, CellReason.SWAPPING, False, ()),  # desired back while it runs: first to its end
        (DONE, UNVERIFIED, CellReason.VERIFYING, False, (Action.VERIFY,)),
        (DONE, replace(UNVERIFIED, measured=True, checked=True), CellReason.SERVING, True, ()),
        (DONE, SERVES, CellReason.SWAPPING, False, ()),  # desired back: Serve has it
        (DONE, replace(SERVES, deployed=NEW), CellReason.SWAPPING, False, (Action.SWAP,)),
        (FAILED, DEPLOYED, CellReason.SWAP_FAILED, False, ()),
        (FAILED, BACK, CellReason.SWAPPING, False, (Action.SWAP,)),
        (FAILED, replace(BACK, staging=WAITS), CellReason.SWAP_FAILED, False, ()),
        (FAILED_BACK, replace(BACK, deployed=OLD), CellReason.SWAP_FAILED, False, ()),
    ],
)
def test_what_is_seen_decides(
    *, engine: EngineView, desired: DesiredWeights, reason: CellReason, ready: bool, actions: tuple[Action, ...]
) -> None:
    decision = look(engine, desired)
    assert (decision.memory.status.reason, decision.memory.status.ready) == (reason, ready)
    assert decision.actions == actions
    assert decision.exit_code is None


@pytest.mark.parametrize(
    ("engine", "desired", "sentence"),
    [
        (ENGINE, SERVES, "serving w1; 0 requests in flight"),
        (
            ENGINE,
            replace(DESIRED, staging=WAITS),
            "serving w1; 0 requests in flight; waiting for w2: stage 1: 1.2 of 3.4 GB, 10 s left",
        ),
        (ENGINE, DESIRED, "swapping weights to w2; deploying it to Serve"),
        (RUNS, DEPLOYED, "swapping weights to w2, 0 s so far"),
        (DONE, UNVERIFIED, "verifying w2"),
        (FAILED, DEPLOYED, SAID),
        (
            FAILED,
            replace(BACK, staging=WAITS),
            f"{SAID}; waiting for w1: stage 1: 1.2 of 3.4 GB, 10 s left",
        ),
        (FAILED_BACK, BACK, f"{SAID}; 2 weight swaps failed in a row; the engine restarts"),
    ],
)
def test_every_state_has_its_sentence(engine: EngineView, desired: DesiredWeights, sentence: str) -> None:
    assert look(engine, desired).memory.status.message == sentence


def test_weights_that_no_running_engine_swaps_restart_it() -> None:
    decision = look(ENGINE, replace(DESIRED, unswappable="modelopt"))
    assert (decision.exit_code, decision.actions, decision.memory.status.ready) == (1, (), False)
    said = decision.memory.status.message
    assert said == "weights quantized by modelopt are not swapped in place; the engine restarts with w2"
    assert look(ENGINE, replace(DESIRED, unswappable="modelopt", staging=WAITS)).exit_code is None, "not before it can"
    assert look(ENGINE, replace(SERVES, unswappable="modelopt")).memory.status.ready, "what it serves is no matter"


@pytest.mark.parametrize("desired", [DEPLOYED, replace(DEPLOYED, weights=OLD)])
def test_a_swap_has_a_deadline(desired: DesiredWeights) -> None:
    memory = look(ENGINE, DESIRED, now=10.0).memory
    memory = look(RUNS, desired, memory=memory, now=11.0).memory
    assert look(RUNS, desired, memory=memory, now=10.0 + START).exit_code is None
    assert look(RUNS, desired, memory=memory, now=10.1 + START).exit_code == 1


def test_serve_that_does_nothing_runs_into_the_same_deadline() -> None:
    memory = look(ENGINE, DESIRED, now=10.0).memory
    assert look(ENGINE, DEPLOYED, memory=memory, now=10.0 + START).exit_code is None
    assert look(ENGINE, DEPLOYED, memory=memory, now=11.0 + START).exit_code == 1


def test_each_swap_has_the_whole_time() -> None:
    memory = look(ENGINE, DESIRED, now=10.0).memory
    memory = look(DONE, UNVERIFIED, memory=memory, now=200.0).memory
    memory = look(DONE, replace(SERVES, deployed=NEW), memory=memory, now=400.0).memory
    assert look(replace(RUNS, weights=NEW, target=OLD), SERVES, memory=memory, now=600.0).exit_code is None


def test_two_failures_are_shown_before_the_engine_restarts() -> None:
    memory = look(FAILED_BACK, BACK, now=10.0).memory
    assert look(FAILED_BACK, BACK, memory=memory, now=10.0 + SHOW_FAILURE - 1).exit_code is None
    assert look(FAILED_BACK, BACK, memory=memory, now=10.0 + SHOW_FAILURE).exit_code == 1


def test_a_single_failure_never_ends_the_container() -> None:
    memory = look(FAILED, DEPLOYED, now=10.0).memory
    assert look(FAILED, DEPLOYED, memory=memory, now=9999.0).exit_code is None


@pytest.mark.parametrize("load", [None, OLD, NEW])
@pytest.mark.parametrize("swap", [None, RUNS.swap, FAILED.swap, DONE.swap])
@pytest.mark.parametrize("failures", [0, 1, 2])
@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("staging", [None, WAITS])
def test_only_a_whole_and_measured_engine_is_ready(
    *, load: WeightsRef | None, swap: SwapState | None, failures: int, measured: bool, staging: CellFault | None
) -> None:
    engine = replace(ENGINE, weights=load, swap=swap, target=NEW, failures=failures)
    values: dict[str, Any] = {"staging": staging, "measured": measured, "checked": measured}
    for wanted in (OLD, NEW):
        decision = look(engine, DesiredWeights(weights=wanted, **values))
        if decision.memory.status.ready:
            assert load is not None
            assert measured
            assert not engine.swapping
            assert load == wanted or staging is not None


def test_a_swap_that_has_not_begun_names_the_weights_that_are_desired() -> None:
    """The replica's target is still that of the swap before, here the way to NEW."""
    decision = look(DONE, SERVES, now=104.0)
    assert decision.memory.status.message == f"swapping weights to {OLD.id}, 0 s so far"
