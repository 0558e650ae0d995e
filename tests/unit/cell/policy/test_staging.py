"""The worst stage speaks for the group."""

from typing import Any

import pytest

from llama_serving.cell.policy.staging import StageView, group_fault, stage_fault, wish_fault
from llama_serving.cell.policy.state_machine import Fault
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.state import CellReason
from tests.unit.cell.fakes import ready

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LOAD = Load(path="/tmp/llama-weights/aaaaaaaaaaaaaaaa", id="v2", digest=A)
GOOD = StageView(wish="k", staging=ready(A))


def said(outcome: str, **changes: Any) -> StageView:
    return StageView(wish="k", staging=ready(B, A, outcome=outcome, **changes))


WORKS = said("working", message="1.2 of 3.4 GB, 10 s left")
REFUSES = said("refused", reason="DigestDiffers", message="model.safetensors differs")


@pytest.mark.parametrize(
    ("view", "reason", "sentence"),
    [
        (WORKS, CellReason.WEIGHTS_STAGING, "Stage 1: 1.2 of 3.4 GB, 10 s left"),
        (said("waiting", reason="WeightsBusy"), CellReason.WEIGHTS_STAGING, "Stage 1: waiting WeightsBusy"),
        (REFUSES, CellReason.WEIGHTS_REFUSED, "Stage 1: model.safetensors differs"),
        (StageView(), CellReason.WEIGHTS_STAGING, "The stager of stage 1 has not been heard yet."),
        (
            StageView(staging=ready(B)),
            CellReason.WEIGHTS_STAGING,
            "The stager of stage 1 has not begun with v2 (aaaaaaaaaaaa).",
        ),
        (
            StageView(error="its name does not resolve yet"),
            CellReason.WEIGHTS_STAGING,
            "Stage 1 does not answer (its name does not resolve yet).",
        ),
    ],
)
def test_what_keeps_a_stage_from_loading(view: StageView, reason: CellReason, sentence: str) -> None:
    assert stage_fault(LOAD, view, stage=1) == Fault(reason, sentence)


def test_a_stage_that_is_ready() -> None:
    assert stage_fault(LOAD, GOOD, stage=1) is None
    assert group_fault(LOAD, {0: GOOD, 1: GOOD}) is None


def test_a_refusal_counts_before_a_wait() -> None:
    fault = group_fault(LOAD, {0: GOOD, 1: WORKS, 2: REFUSES})
    assert fault == Fault(CellReason.WEIGHTS_REFUSED, "Stage 2: model.safetensors differs")
    assert group_fault(LOAD, {0: GOOD, 1: WORKS, 2: WORKS}) == stage_fault(LOAD, WORKS, stage=1)


def test_all_stages_must_have_got_the_wish() -> None:
    assert wish_fault({0: GOOD, 1: GOOD}) is None
    fault = wish_fault({0: GOOD, 1: StageView(wish="older"), 2: StageView()})
    assert fault is not None
    assert fault.message == "Stage 1 has not got the wish yet."
    silent = wish_fault({0: GOOD, 1: StageView(error="no answer in time")})
    assert silent is not None
    assert silent.message == "Stage 1 does not answer (no answer in time)."
