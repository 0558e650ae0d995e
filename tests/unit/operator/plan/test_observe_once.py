"""A pass cuts the snapshot into groups, reads their files and looks up weights once, for all that follows."""

import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest

from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.groups.group import observed_groups
from llama_operator.plan.groups.state import plan_state
from llama_operator.plan.groups.template import desired_template, persisted_template, stable_spec
from llama_operator.plan.groups.weights_lookup import group_files, known_artifacts, weights_by_content
from llama_operator.plan.planner import plan
from llama_operator.status.deployment import deployment_status
from tests.fakes.world import SETTINGS
from tests.unit.operator.worlds import NOW, group, heard, stage, state_of, worker, world

ONCE: Final = (observed_groups, group_files, known_artifacts, weights_by_content)
AUTO: Final = {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}}


def calls(action: Callable[[], object], *functions: Callable[..., object]) -> Counter[str]:
    """How often each of these functions is called, whoever imported it."""
    codes, found = {function.__code__: function.__name__ for function in functions}, Counter[str]()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in codes:
            found[codes[frame.f_code]] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return found


def one_pass(seen: Snapshot) -> None:
    """All of a pass but its reads and writes."""
    assert seen.spec is not None
    state = plan_state(seen, SETTINGS, NOW)
    decided = plan(state)
    changes(decided, state, Context(seen.key, seen.uid, seen.spec, SETTINGS))
    deployment_status(state, decided, ())


@pytest.mark.parametrize("spec", [{}, AUTO], ids=["fixed", "by load"])
def test_a_pass_looks_once(spec: dict[str, Any]) -> None:
    pods = (*group(0), stage(1, 0), worker(1))
    seen = world(*pods, cells=heard(*pods), spec=spec)
    assert calls(lambda: one_pass(seen), *ONCE) == {function.__name__: 1 for function in ONCE}


def test_the_stable_spec_is_parsed_once_for_all_passes() -> None:
    template = desired_template(state_of(world()))
    assert template is not None
    stored = persisted_template(template)
    spec = stable_spec(stored)
    assert spec is not None
    assert spec.images.serving == template.spec.images.serving
    assert stable_spec(stored.model_copy()) is spec
    assert stable_spec(stored.model_copy(update={"spec": '{"unknown": 1}'})) is None
