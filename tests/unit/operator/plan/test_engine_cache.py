"""Groups that serve without the cache that their spec asks for."""

from typing import Any

from llama_operator.plan.engine_cache import explain_caches
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.status.deployment import deployment_status
from llama_serving.config.reasons import Reason
from tests.unit.operator.worlds import group, heard, leader, state_of, worker, world

FAULT = "the engine's cache /cache/x cannot be used, so it lies in the pod: No space left on device"


def test_the_first_stage_with_a_fault_is_named() -> None:
    first, second = group(0)
    cells = heard(first) | heard(second, cache_fault=FAULT)
    [found] = explain_caches(state_of(world(first, second, replicas=1, cells=cells)))
    assert (found.reason, found.detail) == (Reason.CACHE_UNUSED, f"group 0 stage 1: {FAULT} (engine.cache)")


def test_a_group_that_does_not_serve_yet_has_other_sentences() -> None:
    pods = leader(0, ready=False, in_rotation=None), worker(0)
    assert explain_caches(state_of(world(*pods, replicas=1, cells=heard(*pods, cache_fault=FAULT)))) == ()


def seen(**cell: Any) -> tuple[Plan, dict[str, Any]]:
    """What a pass decides and reports of one group."""
    pods = group(0)
    state = state_of(world(*pods, replicas=1, cells=heard(*pods, **cell)))
    decided = plan(state)
    return decided, deployment_status(state, decided, ()).to_api()


def test_it_is_degraded_and_serves() -> None:
    _, status = seen(cache_fault=FAULT)
    conditions = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
    assert (conditions["Available"][0], conditions["Degraded"]) == ("True", ("True", Reason.CACHE_UNUSED))
    assert status["message"] == f"group 0 stage 0: {FAULT} (engine.cache)"


def test_nothing_is_said_where_the_cache_is_used() -> None:
    assert seen()[1]["reason"] == Reason.SERVING
