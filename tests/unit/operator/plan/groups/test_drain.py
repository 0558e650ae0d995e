"""When the gateways have let go of a group, and how long they may take."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.groups.drain import (
    MOVING,
    UNHEARD,
    drain_expired,
    drain_seconds,
    overdue,
    requests_left,
    tokens_per_second,
)
from llama_operator.plan.groups.group import Group
from llama_serving.config import names
from llama_serving.config.gateway import GatewayLoad, GroupLoad, WorkCount
from tests.fakes.world import spec_of
from tests.unit.operator.worlds import NOW, V1, ago, cell, leader, state_of, worker, world


def gateway(name: str = "g", **fields: Any) -> PodView:
    view = pod_view({"metadata": {"name": name}})
    running: dict[str, Any] = {"component": names.COMPONENT_GATEWAY, "phase": "Running", "ip": "x", "ready": True}
    return replace(view, **running | fields)


def load(*groups: tuple[str, bool, int]) -> GatewayLoad:
    found = tuple(
        GroupLoad(name=name, group=0, weights=V1, ready=ready, ejected=False, in_flight=busy)
        for name, ready, busy in groups
    )
    return GatewayLoad(waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=found, totals={})


LEADER = leader(0, ready=False, in_rotation=False, rotation_since=ago(10))


def scene(*gateways: PodView, **loads: GatewayLoad | None) -> tuple[Group, Snapshot]:
    seen = world(LEADER, worker(0), *gateways, loads=loads, cells={LEADER.name: cell(tokens_per_second=20.0)})
    return state_of(seen).groups[0], seen


@pytest.mark.parametrize(
    ("pod", "said", "words"),
    [
        (gateway(), load((LEADER.name, False, 0)), ""),
        (gateway(), load(), ""),
        (gateway(), load((LEADER.name, True, 0)), "still routes to it"),
        (gateway(), load((LEADER.name, False, 3)), "3 requests in flight"),
        (gateway(), load(("another", True, 9)), ""),
        (gateway(), None, "does not respond"),
        (gateway(ready=False, ready_since=NOW - UNHEARD + timedelta(seconds=1)), None, "does not respond"),
        (gateway(ready=False, ready_since=NOW - UNHEARD), None, ""),
        (gateway(ready=True, ready_since=NOW - UNHEARD), None, "does not respond"),
        (gateway(ip=""), None, ""),
        (gateway(phase="Failed"), None, ""),
        (gateway(gone_by=NOW), load((LEADER.name, False, 1)), "1 request in flight"),
    ],
)
def test_who_still_holds_requests(pod: PodView, said: GatewayLoad | None, words: str) -> None:
    unit, seen = scene(pod, g=said)
    found = requests_left(unit, seen, NOW)
    assert words in found
    assert bool(found) is bool(words)


def test_every_gateway_must_have_let_go() -> None:
    pods = (gateway("a"), gateway("b"))
    unit, seen = scene(*pods, a=load((LEADER.name, False, 0)), b=load((LEADER.name, False, 2)))
    assert requests_left(unit, seen, NOW) == "gateway b has 2 requests in flight"


@pytest.mark.parametrize(
    ("spec", "speed", "seconds"),
    [
        ({"drainTimeoutSeconds": 7}, 20.0, 7),
        ({"contextLength": 2048}, 20.0, 103),
        ({"contextLength": 2048}, 1000.0, 30),
        ({"contextLength": 24000}, 20.0, 600),
        ({"contextLength": 131072}, 20.0, 3277),
        ({"contextLength": 131072}, 80.0, 1639),
        ({"contextLength": 10485760}, 20.0, 3600),
        ({"contextLength": 2048}, None, 120),
        ({"contextLength": 2048}, 0.0, 120),
    ],
)
def test_how_long_requests_are_waited_for(spec: dict[str, int], speed: float | None, seconds: int) -> None:
    assert drain_seconds(LlamaDeploymentSpec.model_validate(spec_of(**spec)), speed) == seconds


def test_after_its_time_streams_are_moved_and_then_given_up() -> None:
    unit, seen = scene()
    spec = LlamaDeploymentSpec.model_validate(spec_of(drainTimeoutSeconds=20))
    closed = NOW - timedelta(seconds=10)
    for seconds, late, over in ((19, False, False), (20, True, False), (20 + MOVING.total_seconds(), True, True)):
        moment = closed + timedelta(seconds=seconds)
        assert (overdue(unit, spec, seen, now=moment), drain_expired(unit, spec, seen, now=moment)) == (late, over)
    waiting = replace(unit, pods=(replace(LEADER, in_rotation=None),))
    assert not overdue(waiting, spec, seen, now=NOW + timedelta(days=1)), "it was never open"


@pytest.mark.parametrize(
    ("served", "speed"),
    [
        ((), 20.0),
        ((WorkCount(),), 20.0),  # nobody has asked yet
        ((WorkCount(requests=10, answer_tokens=1000, seconds=10.0),), 20.0),  # quicker than alone: short of tokens
        ((WorkCount(requests=10, answer_tokens=1000, seconds=400.0), None), 2.5),
        ((WorkCount(answer_tokens=900, seconds=300.0), WorkCount(answer_tokens=100, seconds=100.0)), 2.5),
    ],
)
def test_answers_are_as_slow_as_those_beside_each_other_were(
    served: tuple[WorkCount | None, ...], speed: float
) -> None:
    loads = {
        f"g{place}": None if one is None else load().model_copy(update={"served": one})
        for place, one in enumerate(served)
    }
    unit, seen = scene(*(gateway(name) for name in loads), **loads)
    assert tokens_per_second(unit, seen) == speed
    unmeasured = replace(unit, states={})
    assert tokens_per_second(unmeasured, seen) is None
