"""The planner against simulated groups: every rollout of a grid, with what goes wrong at each step and edits between.

Invariants in every state: ready groups >= replicas - maxUnavailable by our own doing, groups <= replicas + maxSurge,
none in rotation with weights that were not verified or while it exchanges them; at the end all groups have the new or
all the old version, or a hold says why not.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.ports import Capacity, NodeCapacity
from llama_operator.preview.scenario import merged
from llama_operator.preview.simulated_group import Faults, Spans
from llama_operator.preview.simulation import Moment, Setting, Simulation

SPANS = Spans(stage=4, start=6, swap=2, verify=1, requests=3, end=2)
BIG_NODE = NodeCapacity("big", {}, True, True, {"cpu": 999.0, "memory": 1e15, "nvidia.com/gpu": 999.0}, {})
MODEL = {"source": "pvc://llama/{revision}", "revision": "v1", "license": "llama3.1", "acceptLicense": True}
WEIGHTS = {"model": {"revision": "v2"}}
PODS = {"images": {"serving": "new:1"}}
EDITS = {"weights": WEIGHTS, "pods": PODS, "both": WEIGHTS | PODS}


def spec_of(replicas: int, surge: int, unavailable: int, **rollout: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "replicas": replicas,
        "sharding": {"pipeline": 2},
        "rollout": {"maxSurge": surge, "maxUnavailable": unavailable, **rollout},
    }


@dataclass
class Run:
    """A simulation whose every moment is looked at. ``excused`` groups are those that edits of replicas cost."""

    spec: dict[str, Any]
    simulation: Simulation
    most: int = 0
    excused: int = 0

    @classmethod
    def of(cls, spec: dict[str, Any], *, late: int = 1, **wrong: str) -> "Run":
        """``late``: seconds after which stagers hear and kubelets show what was done."""
        setting = Setting(replace(SPANS, read_lag=late, kubelet_lag=late), Faults(**wrong), Capacity((BIG_NODE,)))
        found = cls(spec, Simulation(LlamaDeploymentSpec.model_validate(spec), setting))
        found.go()
        assert found.last.serving == spec["replicas"], found.last.plan.explanations
        found.most = 0
        return found

    def edit(self, edit: dict[str, Any]) -> "Run":
        self.spec = merged(self.spec, edit)
        self.simulation.spec = LlamaDeploymentSpec.model_validate(self.spec)
        return self

    def go(self, limit: int = 20_000) -> "Run":
        before = self.simulation.now
        for moment in self.simulation.moments(limit):
            self.last = moment
            if self.most:
                self.look(moment)
        if limit == 20_000:
            assert (self.simulation.now - before).total_seconds() < limit, f"no end: {self.last.plan.explanations}"
        return self

    def watch(self) -> "Run":
        self.most = self.spec["replicas"] + self.spec["rollout"]["maxSurge"]
        return self

    def look(self, moment: Moment) -> None:
        rollout, said = self.spec["rollout"], [hold.detail for hold in moment.plan.explanations]
        assert moment.groups <= self.most, said
        assert moment.serving >= self.spec["replicas"] - rollout["maxUnavailable"] - self.excused, said
        for unit in self.simulation.groups.values():
            if unit.ready:
                assert unit.engine is not None
                assert unit.gateway_weights == unit.engine.weights.id
                verdict = unit.measurement(self.simulation.now)
                assert verdict is not None, "in rotation without a verdict"
                assert verdict.mean_logprob == -3.0, "in rotation with weights that failed"
            if unit.swapping:
                assert not unit.busy(self.simulation.now), "exchanges weights under requests"

    @property
    def versions(self) -> set[tuple[str, str]]:
        units = self.simulation.groups.values()
        return {(unit.engine.weights.id if unit.engine else "", unit.id.pod_hash) for unit in units}

    @property
    def weights(self) -> set[str]:
        return {weights.partition("@")[0] for weights, _ in self.versions}

    @property
    def phase(self) -> str:
        record = self.simulation.persisted.rollout
        return record.phase if record else ""

    @property
    def reason(self) -> str:
        record = self.simulation.persisted.rollout
        return record.reason if record else ""


SHAPES = [shape for shape in itertools.product((1, 2, 3, 4), (0, 1), (0, 1)) if shape[1] or shape[2]]


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_calm(kind: str, shape: tuple[int, int, int]) -> None:
    run = Run.of(spec_of(*shape))
    old = run.versions
    run.watch().edit(EDITS[kind]).go()
    allow_the_outage(run, kind, shape)
    assert (run.phase, len(run.versions), run.last.serving) == ("Done", 1, shape[0])
    assert run.weights == {"v1" if kind == "pods" else "v2"}
    assert run.versions != old
    assert run.last.plan.explanations == ()
    assert [past.outcome for past in run.simulation.persisted.history] == ["done"]


def allow_the_outage(run: Run, kind: str, shape: tuple[int, int, int]) -> None:
    """New pods for the only group, and no room beside it: held, until its user allows it."""
    if kind == "weights" or shape != (1, 0, 1):
        return
    assert (run.phase, run.reason, run.last.serving) == ("Held", "OutageNotAccepted", 1)
    detail = run.last.plan.explanations[0].detail
    assert "the only group that serves would be gone for" in detail
    assert "accept the outage with spec.rollout.strategy drain" in detail
    run.edit({"rollout": {"strategy": "drain"}}).go()


def faults() -> Iterator[tuple[str, str, str]]:
    yield from (("staging", kind, "DigestDiffers") for kind in ("weights", "both"))
    yield ("swap", "weights", "SwapFailed")
    yield from (("verify", kind, "VerifyFailed") for kind in ("weights", "both"))
    yield ("start", "both", "EngineFailed")


@pytest.mark.parametrize(("step", "kind", "reason"), list(faults()))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_failure_at_each_step(*, shape: tuple[int, int, int], step: str, kind: str, reason: str) -> None:
    in_place = kind == "weights" and shape[2]
    if step == "swap" and not in_place:
        return  # nothing is exchanged where no group may leave the rotation
    run = Run.of(spec_of(*shape), **dict[str, Any]({step: "v2"}))
    old = run.versions
    run.watch().edit(EDITS[kind]).go()
    allow_the_outage(run, kind, shape)
    assert (run.phase, run.reason) == ("Held", reason)
    assert run.versions == old
    assert run.last.serving == shape[0]
    assert "the rollout is held until the spec changes" in run.last.plan.explanations[0].detail
    assert [(past.outcome, past.reason) for past in run.simulation.persisted.history] == [("rolledBack", reason)]
    run.edit({"model": {"revision": "v3"}}).go()
    assert (run.phase, run.weights) == ("Done", {"v3"})


def test_back_in_reverse_order_and_one_at_a_time() -> None:
    """Two groups have the new weights when they turn out to be slow."""
    canary = {"groups": 2, "seconds": 30}
    run = Run.of(spec_of(3, 0, 1, canary=canary), canary="v2").watch().edit(WEIGHTS)
    closed: list[tuple[int, str]] = []
    for moment in run.simulation.moments():
        run.look(moment)
        record = moment.plan.persisted.rollout
        closing = (item for item in moment.plan.actions.rotations if not item.open_)
        closed += [(int(item.pod.split("-")[2]), record.phase if record else "") for item in closing]
    assert closed == [(0, "RollingOut"), (1, "RollingOut"), (1, "RollingBack"), (0, "RollingBack")]


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 0, 1), (4, 1, 0)], ids=str)
@pytest.mark.parametrize("kind", EDITS)
def test_a_canary(kind: str, shape: tuple[int, int, int]) -> None:
    canary = {"groups": 1, "seconds": 30}
    run = Run.of(spec_of(*shape, canary=canary)).watch().edit(EDITS[kind]).go()
    assert (run.phase, run.last.serving) == ("Done", shape[0])
    if kind == "pods":
        return  # the same weights cannot be slower than themselves
    run = Run.of(spec_of(*shape, canary=canary), canary="v2").watch().edit(EDITS[kind]).go()
    assert (run.phase, run.reason, run.weights) == ("Held", "CanaryFailed", {"v1"})


@pytest.mark.parametrize("kind", EDITS)
def test_a_partition_keeps_the_lower_groups(kind: str) -> None:
    run = Run.of(spec_of(3, 1, 1, partition=1)).watch().edit(EDITS[kind]).go()
    assert (run.phase, run.last.serving) == ("RollingOut", 3)
    kept = {
        group.id.ordinal
        for group in run.simulation.groups.values()
        if group.engine and (group.engine.weights.id, group.id.pod_hash) == old_version(run)
    }
    assert kept == {0}
    assert "spec.rollout.partition 1 keeps the groups below it: 2 of 3" in run.last.plan.explanations[0].detail
    run.edit({"rollout": {"partition": 0}}).go()
    assert (run.phase, len(run.versions)) == ("Done", 1)


def old_version(run: Run) -> tuple[str, str]:
    good = run.simulation.persisted.stable
    assert good is not None
    return good.id, good.pod_hash


@pytest.mark.parametrize("kind", EDITS)
def test_pause_and_resume(kind: str) -> None:
    run = Run.of(spec_of(3, 0, 1)).watch().edit(EDITS[kind]).go(12)
    run.edit({"rollout": {"paused": True}}).go()
    assert run.last.serving == 3, "a group that was out of rotation for it came back"
    assert len(run.versions) == 2
    assert run.last.plan.explanations[0].reason == "RolloutPaused"
    run.edit({"rollout": {"paused": None}}).go()
    assert (run.phase, len(run.versions)) == ("Done", 1)


def test_min_ready_seconds_are_waited_between_two_groups() -> None:
    quick, slow = Run.of(spec_of(3, 0, 1)), Run.of(spec_of(3, 0, 1, minReadySeconds=100))
    spans = []
    for run in (quick, slow):
        begin = run.simulation.now
        run.watch().edit(WEIGHTS).go()
        spans.append((run.simulation.now - begin).total_seconds())
        assert run.phase == "Done"
    assert spans[1] - spans[0] >= 3 * 100 - 5


@pytest.mark.parametrize("strategy", ["surge", "drain"])
def test_weights_alone_may_be_asked_to_replace_groups(strategy: str) -> None:
    run = Run.of(spec_of(2, 1, 1, strategy=strategy))
    old = run.versions
    run.watch().edit(WEIGHTS).go()
    ((weights, pod_hash),) = run.versions
    assert (run.phase, weights.partition("@")[0]) == ("Done", "v2")
    assert pod_hash not in {other for _, other in old}
    run.edit({"model": {"revision": "v3"}, "rollout": {"strategy": "auto"}}).go()
    assert run.versions == {(next(iter(run.versions))[0], pod_hash)}, "in place again, in the pods that are there"


def test_what_cannot_be_done_says_so_and_is_done_when_it_can() -> None:
    run = Run.of(spec_of(2, 1, 1, strategy="inPlace")).watch().edit(PODS).go()
    assert run.last.plan.explanations[0].reason == "RolloutHeld"
    assert "needs new pods; use auto, surge or drain" in run.last.plan.explanations[0].detail
    assert run.last.serving == 2
    run.edit({"rollout": {"strategy": "drain"}}).go()
    assert run.phase == "Done"


def test_no_room_and_too_much_load_waits_for_either() -> None:
    run = Run.of(spec_of(2, 1, 1))
    run.simulation.setting = Setting(SPANS, Faults(), Capacity(()), in_flight=100)
    run.watch().edit(PODS).go()
    hold = run.last.plan.explanations[0]
    assert hold.reason == "WaitingForRoom"
    assert "can run 64 requests at a time, and 100 requests are there now" in hold.detail
    run.simulation.setting = Setting(SPANS, Faults(), Capacity(()), in_flight=60)
    run.go()
    record = run.simulation.persisted.rollout
    assert record is not None
    assert (record.phase, record.preview.strategy) == ("Done", "drain")


@pytest.mark.parametrize("late", [0, 1, 3])
@pytest.mark.parametrize("shape", [(2, 0, 1), (4, 0, 2)], ids=str)
def test_back_and_forth_without_a_pause(shape: tuple[int, int, int], late: int) -> None:
    """The next edit comes in each second around the end of the one before: what is seen may still be of that one."""
    quiet = Run.of(spec_of(*shape), late=late)
    begin = quiet.simulation.now
    quiet.edit(WEIGHTS).go()
    whole = int((quiet.simulation.now - begin).total_seconds())
    for pause in range(whole // 2, whole + 8):
        run = Run.of(spec_of(*shape), late=late).watch()
        for revision in ("v2", "v1", "v2"):
            run.edit({"model": {"revision": revision}})
            taken = Counter(closed_by(run, pause))
            assert set(taken.values()) <= {1}, f"left the rotation and came back for nothing, {pause} s after: {taken}"
        run.go()
        assert (run.phase, run.weights, run.last.serving) == ("Done", {"v2"}, shape[0]), pause


def closed_by(run: Run, limit: int) -> Iterator[str]:
    """Leaders that leave the rotation within so many seconds."""
    for moment in run.simulation.moments(limit):
        run.look(moment)
        yield from (change.pod for change in moment.plan.actions.rotations if not change.open_)


# -- edits in the middle ----------------------------------------------------------------------------------------------

edits = st.sampled_from(
    [
        WEIGHTS, {"model": {"revision": "v1"}}, {"model": {"revision": "v3"}}, PODS, {"images": None},
        {"replicas": 1}, {"replicas": 2}, {"replicas": 4}, {"rollout": {"paused": True}}, {"rollout": {"paused": None}},
        {"rollout": {"partition": 1}}, {"rollout": {"partition": None}},
        {"rollout": {"canary": {"groups": 1, "seconds": 9}}}, {"rollout": {"canary": None}},
        {"rollout": {"strategy": "surge"}}, {"rollout": {"strategy": "drain"}}, {"rollout": {"strategy": "auto"}},
    ]
)  # fmt: skip
stories = st.lists(st.tuples(st.integers(0, 40), edits), min_size=1, max_size=6)
troubles = st.sampled_from([{}, {}, {}, *[{step: "v3"} for step in ("staging", "swap", "verify", "start", "canary")]])


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(shape=st.sampled_from(SHAPES), story=stories, wrong=troubles, late=st.integers(0, 3))
def test_any_story_of_edits_ends_where_its_last_spec_says(
    *, shape: tuple[int, int, int], story: list[tuple[int, dict[str, Any]]], wrong: dict[str, str], late: int
) -> None:
    run = Run.of(spec_of(*shape), late=late, **wrong)
    run.watch()
    for wait, edit in story:
        before = run.spec["replicas"]
        run.edit(edit)
        run.most = max(run.most, run.spec["replicas"] + shape[1])
        run.excused = max(run.excused, run.spec["replicas"] - before + run.excused, 0)
        run.go(wait + 1)
    run.excused = 4
    run.edit({"rollout": {"paused": None, "partition": None}}).go()
    wanted = run.spec["model"]["revision"]
    assert run.last.serving == run.spec["replicas"], run.last.plan.explanations
    assert len(run.versions) == 1
    if wanted in wrong.values():
        assert run.weights != {"v3"} or run.phase in ("Held", "Done", "")
    elif run.phase not in ("Held", "RollingOut"):
        assert run.weights == {wanted}
    else:
        assert run.last.plan.explanations, "neither progress nor a reason"
