"""The worst stage speaks for the group."""

from typing import Any

import pytest

from llama_serving.cell.policy.staging import StageView, desired_state_fault, group_fault, stage_fault
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.config.cell import WeightsRef
from llama_serving.config.reasons import CellReason
from tests.unit.cell.fakes import ready

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WEIGHTS = WeightsRef(path="/tmp/llama-weights/aaaaaaaaaaaaaaaa", id="v2", served_name="llama", digest=A)
GOOD = StageView(desired="k", staging=ready(A))


def said(outcome: str, **changes: Any) -> StageView:
    return StageView(desired="k", staging=ready(B, A, outcome=outcome, **changes))


WORKS = said("working", message="1.2 of 3.4 GB, 10 s left")
REFUSES = said("refused", reason="DigestDiffers", message="model.safetensors differs")


@pytest.mark.parametrize(
    ("view", "reason", "sentence"),
    [
        (WORKS, CellReason.WEIGHTS_STAGING, "stage 1: 1.2 of 3.4 GB, 10 s left"),
        (said("waiting", reason="WeightsBusy"), CellReason.WEIGHTS_STAGING, "stage 1: waiting WeightsBusy"),
        (REFUSES, CellReason.WEIGHTS_REFUSED, "stage 1: model.safetensors differs"),
        (StageView(), CellReason.WEIGHTS_STAGING, "the stager of stage 1 has not reported yet"),
        (
            StageView(staging=ready(B)),
            CellReason.WEIGHTS_STAGING,
            "the stager of stage 1 has not started with v2 (aaaaaaaaaaaa)",
        ),
        (
            StageView(error="its name does not resolve yet"),
            CellReason.WEIGHTS_STAGING,
            "stage 1 does not answer (its name does not resolve yet)",
        ),
    ],
)
def test_what_keeps_a_stage_from_loading(view: StageView, reason: CellReason, sentence: str) -> None:
    assert stage_fault(WEIGHTS, view, stage=1) == CellFault(reason, sentence)


def test_a_stage_that_is_ready() -> None:
    assert stage_fault(WEIGHTS, GOOD, stage=1) is None
    assert group_fault(WEIGHTS, {0: GOOD, 1: GOOD}) is None


def test_a_refusal_counts_before_a_wait() -> None:
    fault = group_fault(WEIGHTS, {0: GOOD, 1: WORKS, 2: REFUSES})
    assert fault == CellFault(CellReason.WEIGHTS_REFUSED, "stage 2: model.safetensors differs")
    assert group_fault(WEIGHTS, {0: GOOD, 1: WORKS, 2: WORKS}) == stage_fault(WEIGHTS, WORKS, stage=1)


def test_all_stages_must_have_the_desired_state() -> None:
    assert desired_state_fault({0: GOOD, 1: GOOD}) is None
    fault = desired_state_fault({0: GOOD, 1: StageView(desired="older"), 2: StageView()})
    assert fault is not None
    assert fault.message == "stage 1 has not received the desired state yet"
    silent = desired_state_fault({0: GOOD, 1: StageView(error="no answer in time")})
    assert silent is not None
    assert silent.message == "stage 1 does not answer (no answer in time)"
