"""The leader's table once its engine answers, row by row, and whole exchanges with a fault in each."""

from dataclasses import replace
from typing import Any

import pytest

from llama_serving.cell.policy.state_machine import Decision, Do, Fault, Memory, begin
from llama_serving.cell.policy.weight_swap import SHOW_FAILURE, Asked, EngineView, serve
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.desired import SwapState
from llama_serving.config.state import CellReason
from tests.unit.cell.worlds import ENGINE, NEW, OLD, SERVES

START = 300.0
RUNS = replace(ENGINE, target=NEW, swap=SwapState(digest="", outcome="running"))
DONE = replace(ENGINE, load=NEW, target=NEW, swap=SwapState(digest="", outcome="done"))
SAID = "Stage 1 (stage-1) could not load w2: IncompleteError: the files lack model.norm.weight"
FAILED = replace(
    ENGINE, load=None, target=NEW, failures=1, swap=SwapState(digest="", outcome="failed", message=f"{SAID}.")
)
FAILED_BACK = replace(FAILED, target=OLD, failures=2)
WAITS = Fault(CellReason.WEIGHTS_STAGING, "Stage 1: 1.2 of 3.4 GB, 10 s left")
WISHED = Asked(wanted=NEW, requested=OLD, verified=True, proven=True)
TOLD = replace(WISHED, requested=NEW)
UNVERIFIED = Asked(wanted=NEW, requested=NEW)
BACK = Asked(wanted=OLD, requested=NEW)


def look(engine: EngineView, asked: Asked, *, memory: Memory | None = None, now: float = 100.0) -> Decision:
    return serve(memory or begin(0.0), engine, asked, start=START, now=now)


@pytest.mark.parametrize(
    ("engine", "asked", "reason", "ready", "actions"),
    [
        (ENGINE, SERVES, CellReason.SERVING, True, ()),
        (ENGINE, replace(SERVES, verified=False, proven=False), CellReason.VERIFYING, False, (Do.VERIFY,)),
        (ENGINE, replace(SERVES, proven=False), CellReason.SERVING, True, (Do.VERIFY,)),  # other proofs are asked for
        (ENGINE, WISHED, CellReason.SWAPPING, False, (Do.SWAP,)),
        (ENGINE, replace(WISHED, verified=False), CellReason.SWAPPING, False, (Do.SWAP,)),  # the old ones are no matter
        (ENGINE, replace(WISHED, staging=WAITS), CellReason.SERVING, True, ()),
        (
            ENGINE,
            replace(WISHED, staging=WAITS, verified=False, proven=False),
            CellReason.VERIFYING,
            False,
            (Do.VERIFY,),
        ),
        (ENGINE, TOLD, CellReason.SWAPPING, False, ()),
        (RUNS, TOLD, CellReason.SWAPPING, False, ()),
        (RUNS, SERVES, CellReason.SWAPPING, False, ()),  # wished back while it runs: first to its end
        (DONE, UNVERIFIED, CellReason.VERIFYING, False, (Do.VERIFY,)),
        (DONE, replace(UNVERIFIED, verified=True, proven=True), CellReason.SERVING, True, ()),
        (DONE, SERVES, CellReason.SWAPPING, False, ()),  # wished back: Serve was told
        (DONE, replace(SERVES, requested=NEW), CellReason.SWAPPING, False, (Do.SWAP,)),
        (FAILED, TOLD, CellReason.SWAP_FAILED, False, ()),
        (FAILED, BACK, CellReason.SWAPPING, False, (Do.SWAP,)),
        (FAILED, replace(BACK, staging=WAITS), CellReason.SWAP_FAILED, False, ()),
        (FAILED_BACK, replace(BACK, requested=OLD), CellReason.SWAP_FAILED, False, ()),
    ],
)
def test_what_is_seen_decides(
    engine: EngineView, asked: Asked, reason: CellReason, ready: bool, actions: tuple[Do, ...]
) -> None:
    decision = look(engine, asked)
    assert (decision.memory.status.reason, decision.memory.status.ready) == (reason, ready)
    assert decision.actions == actions
    assert decision.exit_code is None


@pytest.mark.parametrize(
    ("engine", "asked", "sentence"),
    [
        (ENGINE, SERVES, "Serving w1; 0 requests in flight."),
        (
            ENGINE,
            replace(WISHED, staging=WAITS),
            "Serving w1; 0 requests in flight. w2 is waited for: Stage 1: 1.2 of 3.4 GB, 10 s left",
        ),
        (ENGINE, WISHED, "Exchanging the weights for w2: Serve is told."),
        (RUNS, TOLD, "Exchanging the weights for w2, 0 s so far."),
        (DONE, UNVERIFIED, "w2 is asked what it must answer."),
        (FAILED, TOLD, f"{SAID}."),
        (
            FAILED,
            replace(BACK, staging=WAITS),
            f"{SAID}. w1 is waited for: Stage 1: 1.2 of 3.4 GB, 10 s left",
        ),
        (FAILED_BACK, BACK, f"{SAID}. 2 exchanges failed: the engine starts anew."),
    ],
)
def test_every_state_has_its_sentence(engine: EngineView, asked: Asked, sentence: str) -> None:
    assert look(engine, asked).memory.status.message == sentence


@pytest.mark.parametrize("asked", [TOLD, replace(TOLD, wanted=OLD)])
def test_an_exchange_has_a_deadline(asked: Asked) -> None:
    memory = look(ENGINE, WISHED, now=10.0).memory
    memory = look(RUNS, asked, memory=memory, now=11.0).memory
    assert look(RUNS, asked, memory=memory, now=10.0 + START).exit_code is None
    assert look(RUNS, asked, memory=memory, now=10.1 + START).exit_code == 1


def test_serve_that_does_nothing_runs_into_the_same_deadline() -> None:
    memory = look(ENGINE, WISHED, now=10.0).memory
    assert look(ENGINE, TOLD, memory=memory, now=10.0 + START).exit_code is None
    assert look(ENGINE, TOLD, memory=memory, now=11.0 + START).exit_code == 1


def test_each_exchange_has_the_whole_time() -> None:
    memory = look(ENGINE, WISHED, now=10.0).memory
    memory = look(DONE, UNVERIFIED, memory=memory, now=200.0).memory
    memory = look(DONE, replace(SERVES, requested=NEW), memory=memory, now=400.0).memory
    assert look(replace(RUNS, load=NEW, target=OLD), SERVES, memory=memory, now=600.0).exit_code is None


def test_two_failures_are_shown_before_the_engine_starts_anew() -> None:
    memory = look(FAILED_BACK, BACK, now=10.0).memory
    assert look(FAILED_BACK, BACK, memory=memory, now=10.0 + SHOW_FAILURE - 1).exit_code is None
    assert look(FAILED_BACK, BACK, memory=memory, now=10.0 + SHOW_FAILURE).exit_code == 1


def test_a_single_failure_never_ends_the_container() -> None:
    memory = look(FAILED, TOLD, now=10.0).memory
    assert look(FAILED, TOLD, memory=memory, now=9999.0).exit_code is None


@pytest.mark.parametrize("load", [None, OLD, NEW])
@pytest.mark.parametrize("swap", [None, RUNS.swap, FAILED.swap, DONE.swap])
@pytest.mark.parametrize("failures", [0, 1, 2])
@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("staging", [None, WAITS])
def test_only_a_whole_and_verified_engine_is_ready(
    load: Load | None, swap: SwapState | None, failures: int, verified: bool, staging: Fault | None
) -> None:
    engine = replace(ENGINE, load=load, swap=swap, target=NEW, failures=failures)
    asked: dict[str, Any] = {"staging": staging, "verified": verified, "proven": verified}
    for wanted in (OLD, NEW):
        decision = look(engine, Asked(wanted=wanted, **asked))
        if decision.memory.status.ready:
            assert load is not None
            assert verified
            assert not engine.swapping
            assert load == wanted or staging is not None
