"""Which way a change takes and why; what it will take; and the command that prints it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, desired_template
from llama_operator.plan.rollout.preview import preview_rollout
from llama_operator.plan.rollout.strategy import choose, pod_hash_for
from llama_operator.plan.rollout.turns import why_no_turn
from llama_operator.ports import Capacity, NodeCapacity, PodRequest
from llama_operator.preview.__main__ import main
from llama_serving.config.desired import SwapState
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.model import SWAPPABLE_QUANTIZATION
from tests.fakes.models import digest_of
from tests.fakes.world import spec_of
from tests.unit.operator.plan.test_observe_once import calls
from tests.unit.operator.worlds import group, heard, state_of, world

EXAMPLES = Path(__file__).parents[5] / "examples" / "rollouts"


def node(name: str, cpu: float, *, memory: float = 1e12, gpu: float = 0, **fields: Any) -> NodeCapacity:
    known: dict[str, Any] = {"labels": {}, "ready": True, "schedulable": True} | fields
    return NodeCapacity(name, allocatable={"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpu}, requested={}, **known)


def target(**changes: Any) -> GroupTemplate:
    spec = LlamaDeploymentSpec.model_validate(spec_of(**changes))
    found = desired_template(state_of(replace(world(), spec=spec)))
    assert found is not None
    return found


def scene(*, nodes: Any = None, load: int = 0, serving: int = 2, replicas: int = 2, **rollout: Any) -> PlanState:
    pods = [pod for ordinal in range(serving) for pod in group(ordinal)]
    busy = GatewayLoad(waiting=0, oldest_wait=0, in_flight=load, draining=False, groups=(), totals={})
    seen = world(
        *pods,
        cells=heard(*pods),
        capacity=None if nodes is None else Capacity(nodes),
        loads={"g": busy},
        replicas=replicas,
        spec={"rollout": rollout},
    )
    return state_of(seen)


BIG, SMALL = (node("a", 64), node("b", 64)), (node("a", 5),)
SAME = target().template_hash


@pytest.mark.parametrize(
    ("same_pods", "fields", "strategy", "words"),
    [
        (True, {}, "inPlace", "only the weights change"),
        (True, {"maxUnavailable": 0, "nodes": BIG}, "surge", "the free devices hold one more group"),
        (
            True,
            {"maxUnavailable": 0},
            "",
            "the capacity of the nodes is not known, and spec.rollout.maxUnavailable is 0",
        ),
        (False, {"nodes": BIG}, "surge", "the free devices hold one more group"),
        (
            False,
            {"nodes": SMALL},
            "drain",
            "even if they were empty; the 1 group that stays can run 64 requests",
        ),
        (False, {"nodes": SMALL, "load": 64}, "drain", "64 requests are there now"),
        (
            False,
            {"nodes": SMALL, "load": 65},
            "",
            "that would stay can run 64 requests at a time, and 65 requests are there now",
        ),
        (False, {"maxSurge": 0}, "drain", "spec.rollout.maxSurge is 0"),
        (
            False,
            {"serving": 1, "load": 0},
            "drain",
            "the 0 groups that stay can run 0 requests at a time, and 0 requests are there now",
        ),
        (
            False,
            {"serving": 1, "replicas": 1},
            "",
            "and the only group that serves would be gone for the time of a start; free the devices of one group, or"
            " accept the outage with spec.rollout.strategy drain",
        ),
        (False, {"serving": 1, "load": 1}, "", "free the devices of one group, or accept"),
        (False, {"serving": 1, "replicas": 1, "strategy": "drain"}, "drain", "spec.rollout.strategy is drain"),
        (False, {"serving": 1, "replicas": 1, "nodes": BIG}, "surge", "the free devices hold one more group"),
        (True, {"serving": 1, "replicas": 1}, "inPlace", "only the weights change"),
        (False, {"serving": 0, "replicas": 1, "load": 9}, "drain", ""),
        (True, {"strategy": "surge"}, "surge", "spec.rollout.strategy is surge"),
        (True, {"strategy": "drain"}, "drain", "spec.rollout.strategy is drain"),
        (False, {"strategy": "surge", "maxSurge": 0}, "", "maxSurge is 0; use at least 1"),
        (False, {"strategy": "drain", "maxUnavailable": 0}, "", "maxUnavailable is 0; use at least 1"),
        (True, {"strategy": "inPlace"}, "inPlace", "spec.rollout.strategy is inPlace"),
        (False, {"strategy": "inPlace"}, "", "needs new pods; use auto, surge or drain"),
        (True, {"strategy": "inPlace", "maxUnavailable": 0}, "", "a group is out of rotation while"),
    ],
)
def test_the_strategy(*, same_pods: bool, fields: dict[str, Any], strategy: str, words: str) -> None:
    found = choose(scene(**fields), SAME if same_pods else "another", target())
    assert found.strategy == strategy
    assert words in found.why


def quantized(state: PlanState, method: str, *, asked: str | None = None) -> PlanState:
    """The same scene with desired weights that are quantized by ``method``."""
    seen = state.snapshot
    views = {
        name: replace(view, facts=view.facts and view.facts.model_copy(update={"quantization": method}))
        for name, view in seen.weights.items()
    }
    engine = state.spec.engine.model_copy(update={"quantization": asked})
    return state_of(replace(seen, weights=views, spec=state.spec.model_copy(update={"engine": engine})))


@pytest.mark.parametrize(
    ("method", "asked", "rollout", "strategy", "words"),
    [
        *((method, None, {}, "inPlace", "only the weights change") for method in ("", *SWAPPABLE_QUANTIZATION)),
        ("fp8", "fp8", {"strategy": "inPlace"}, "inPlace", "spec.rollout.strategy is inPlace"),
        (
            "modelopt",
            None,
            {"nodes": BIG},
            "surge",
            "only the weights change, but those quantized by modelopt are not swapped in a running engine; the pods",
        ),
        ("", "fp8", {"nodes": BIG}, "surge", "quantized by online are not swapped"),
        ("torchao", None, {"nodes": SMALL}, "drain", "quantized by torchao are not swapped"),
        ("quark", None, {"serving": 1, "replicas": 1}, "", "would be gone for the time of a start"),
        ("quark", None, {"strategy": "inPlace"}, "", "quantized by quark are not swapped in a running engine, which"),
    ],
)
def test_weights_that_no_running_engine_swaps_get_new_pods(
    *, method: str, asked: str | None, rollout: dict[str, Any], strategy: str, words: str
) -> None:
    found = choose(quantized(scene(**rollout), method, asked=asked), SAME, target())
    assert (found.strategy, words in found.why) == (strategy, True), found.why


def crowd(*devices: int, old: int, **rollout: Any) -> PlanState:
    """One group of two pods of ``old`` devices each on the first node, and nothing else; it serves."""
    pods = group(0)
    there = tuple(
        PodRequest("team", pod.name, pod.uid, {"nvidia.com/gpu": old}, node="node-0", ours=True) for pod in pods
    )
    nodes = [node(f"node-{number}", 64, gpu=size) for number, size in enumerate(devices)]
    nodes[0] = replace(nodes[0], requested={"nvidia.com/gpu": 2.0 * old}, pods=there)
    on_first = tuple(replace(pod, node="node-0") for pod in pods)
    seen = world(*on_first, replicas=2, cells=heard(*pods), capacity=Capacity(tuple(nodes)), spec={"rollout": rollout})
    return state_of(seen)


@pytest.mark.parametrize(
    ("state", "strategy", "words"),
    [
        (
            crowd(4, old=2),
            "",
            "only while 2 of 2 groups do not serve, and spec.rollout.maxUnavailable is 1: set it to 2",
        ),
        (crowd(4, old=2, strategy="drain"), "", "set it to 2, or free devices"),
        (crowd(4, old=2, strategy="drain", maxUnavailable=2), "drain", "spec.rollout.strategy is drain"),
        (crowd(8, old=2), "surge", "hold one more group"),
        (crowd(6, old=2), "drain", "the first new group would find room, and a later one not before a group"),
        (crowd(4, old=2, strategy="surge"), "surge", "spec.rollout.strategy is surge"),  # waits, and touches nothing
        (crowd(2, 1, old=1), "", "set it to 2"),
    ],
)
def test_no_strategy_begins_that_could_not_end(*, state: PlanState, strategy: str, words: str) -> None:
    found = choose(state, "another", target(device={"resource": "nvidia.com/gpu", "count": 1}))
    assert found.strategy == strategy, found.why
    assert words in found.why


def test_the_turns_of_a_way_are_sought_once() -> None:
    here, aim = crowd(4, old=2).scaled_to(1), target(device={"resource": "nvidia.com/gpu", "count": 1})
    assert calls(lambda: choose(here, "another", aim), why_no_turn) == {"why_no_turn": 1}


def stable(template_hash: str) -> StableTemplate:
    """What groups in pods "running" have."""
    return StableTemplate(
        key="k", template_hash=template_hash, pod_hash="running", weights="w", digest="d", id="v0", spec="{}"
    )


def test_the_hash_of_the_pods() -> None:
    here, aim = scene(), target()
    place = choose(here, SAME, aim)
    assert pod_hash_for(place, stable(SAME), aim) == "running", "the pods stay"
    assert pod_hash_for(place, stable("another"), aim) == aim.template_hash
    replaced = choose(scene(strategy="surge"), SAME, aim)
    assert pod_hash_for(replaced, stable(SAME), aim) not in ("running", aim.template_hash)


def test_what_it_will_take_is_said_with_numbers() -> None:
    pods = group(0)
    swapped = SwapState(digest=digest_of("v1"), outcome="done", seconds=4)
    seen = world(*pods, replicas=1, cells=heard(*pods, swap=swapped))
    here = state_of(seen)
    found = preview_rollout(choose(here, SAME, target()), target(), "v0 in pods x", state=here)
    assert (found.strategy, found.extra_devices, found.lowest_capacity, found.seconds) == ("inPlace", 0, "0 of 1", 4)
    assert "there is one group only: its requests wait in the gateway meanwhile" in found.steps
    assert found.steps[-1] == "a failure puts all groups back on v0 in pods x"
    more = scene(nodes=BIG, strategy="surge", canary={"groups": 1, "seconds": 60})
    found = preview_rollout(choose(more, "another", target()), target(), "v0", state=more)
    assert (found.extra_devices, found.lowest_capacity, found.seconds) == (2, "2 of 2", None)
    assert found.steps[0] == "change 1 group first and watch it for 60 s"


# -- python -m llama_operator.preview ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("weights", 0, ["strategy: inPlace: only the weights change", "1 of 2 serve", ": Done; 2 groups serve"]),
        ("image-without-room", 0, ["strategy: drain: one more group needs 2 x 1 nvidia.com/gpu, 1 are free"]),
        ("bad-canary", 1, ["is watched for 60 s", "was given up: the canary", ": Held;"]),
        ("broken-tools", 1, ['expected a call of get_weather with {"city": "Paris"}, got no text', ": Held;"]),
    ],
)  # fmt: skip
def test_the_examples_are_explained(
    *, name: str, code: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--explain", str(EXAMPLES / f"{name}.yaml")]) == code
    text = capsys.readouterr().out
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "while parsing"),
        ("before: {}", "edit: Field required"),
        ("before: {}\nedit: {}\nunknown: 1", "unknown: Extra inputs"),
        ("before: {}\nedit: {}", "model: Field required"),
    ],
)
def test_a_file_that_is_no_rollout(
    *, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(text)
    assert main(["--explain", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_further_edits_come_at_their_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text((EXAMPLES / "weights.yaml").read_text() + "then:\n  30: {model: {revision: '2025-01'}}\n")
    assert main(["--explain", str(file)]) == 0
    text = capsys.readouterr().out
    assert ": Done; 2 groups serve 2025-01@" in text
