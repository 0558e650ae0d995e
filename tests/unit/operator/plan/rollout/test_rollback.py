"""By what a start is given up, and what is not held against a pod."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.observe.pods import PodView, Waiting
from llama_operator.plan.groups.template import desired_template
from llama_operator.plan.rollout.rollback import rollback_cause
from llama_operator.plan.start_limits import start_limit
from llama_operator.ports import SupervisorAnswer
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.operator.worlds import NOW, SPEC, ago, cell, serve_of, stage, state_of, worker, world

NO_IMAGE = Waiting("stage", "ImagePullBackOff", "manifest unknown")
LOOPING = Waiting("stage", "CrashLoopBackOff", "back-off 40s")
REFUSED: dict[str, Any] = {"reason": CellReason.MODEL_REFUSED, "phase": Phase.FAILED}
LATE = start_limit(SPEC).total_seconds()
STARTS: dict[str, Any] = {
    "weights": "",
    "measurement": None,
    "ready": False,
    "phase": Phase.LOADING,
    "message": "it fails",
}


def given_up(pod: PodView, *, since: float, answer: SupervisorAnswer | None = None) -> str:
    file = {
        "kind": "ConfigMap", "metadata": {"name": pod.name[:-2]}, "data": {"next.json": serve_of().model_dump_json()},
    }  # fmt: skip
    seen = world(pod, worker(0, created=pod.created), cells={pod.name: answer} if answer else {}, children=(file,))
    aim = desired_template(state_of(replace(seen, spec=SPEC)))
    assert aim is not None
    found = rollback_cause(aim, state_of(replace(seen, spec=SPEC)), since=NOW - timedelta(seconds=since))
    return f"{found.reason.value}: {found.detail}" if found else ""


@pytest.mark.parametrize(
    ("pod", "since", "answer", "words"),
    [
        (stage(0, 0, created=ago(50)), 60, None, ""),
        (stage(0, 0, created=ago(50), restarts=2, waiting=LOOPING), 60, None, ""),
        (stage(0, 0, created=ago(50), restarts=3, waiting=LOOPING), 60, None, "3 restarts: back-off 40s"),
        (stage(0, 0, created=ago(70), restarts=9, waiting=LOOPING), 60, None, ""),  # from before the rollout
        (stage(0, 0, created=ago(50), restarts=3), 60, cell(reason=CellReason.ENGINE_FAILED, **STARTS), "it fails"),
        (stage(0, 0, created=ago(50), restarts=3), 60, cell(reason=CellReason.ENGINE_STARTING, **STARTS), ""),
        (
            stage(0, 0, created=ago(70)), 60, cell(**STARTS | REFUSED),
            "EngineFailed: group 0 stage 0 does not start: it fails",
        ),
        (
            stage(0, 0), 60, cell(**STARTS | {"reason": CellReason.IMAGE_REFUSED, "phase": Phase.FAILED}),
            "ImageRefused: group 0 stage 0 does not start: it fails",
        ),
        (
            stage(0, 0), 60, cell(**STARTS | {"reason": CellReason.WEIGHTS_REFUSED, "phase": Phase.FAILED}),
            "WeightsRefused: group 0 stage 0 does not start",
        ),
        (
            stage(0, 0, created=ago(130), moved=ago(125), phase="Pending", waiting=NO_IMAGE), 140, None,
            "ImageUnavailable: group 0 did not start, and nothing has moved for 125 s: ",
        ),
        (stage(0, 0, created=ago(130), moved=ago(115), phase="Pending", waiting=NO_IMAGE), 140, None, ""),
        (stage(0, 0, created=ago(600), moved=ago(500), phase="Pending", waiting=NO_IMAGE), 100, None, ""),
        (stage(0, 0, created=ago(LATE)), LATE, None, "did not start within 90 min"),
        (stage(0, 0, created=ago(LATE - 1)), LATE, None, ""),
        (stage(0, 0, created=ago(LATE * 9)), LATE - 1, None, ""),
        (stage(0, 0, created=ago(LATE), unscheduled="no room"), LATE, None, ""),
    ],
)  # fmt: skip
def test_a_start(*, pod: PodView, since: float, answer: SupervisorAnswer | None, words: str) -> None:
    found = given_up(pod, since=since, answer=answer)
    assert words in found
    assert bool(found) is bool(words)
