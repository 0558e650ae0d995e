"""Random stories of load, restarts, silent gateways and edits of the limits, on simulated groups, second by second.

In every second: the target lies within the limits, and so many groups are wanted; no group is taken out of rotation
while one that starts is wanted in its place; pods with requests on them are not deleted; a new process of the operator
takes nothing away by itself. In the end, without load, only the fewest groups are there.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.autoscaling.memory import NO_MEMORY
from llama_operator.plan.autoscaling.owed import RETURN
from llama_operator.plan.naming import GroupId
from llama_operator.preview.simulated_group import Spans
from llama_operator.preview.simulation import Moment, Setting, Simulation
from llama_serving.config.gateway import GatewayLoad, WorkCount
from tests.fakes.traffic import Traffic

SPANS = Spans(stage=3, start=6, swap=2, verify=1, requests=4, end=2)
MODEL = {"source": "s3://models/m", "revision": "v1", "license": "llama3.1", "acceptLicense": True}
SCALING: dict[str, Any] = {
    "minReplicas": 0, "maxReplicas": 4, "idleAfterSeconds": 15, "target": {"waitSeconds": 2},
    "windows": {"stableSeconds": 10, "panicSeconds": 2, "cooldownSeconds": 5},
}  # fmt: skip


def spec_of(**scaling: Any) -> dict[str, Any]:
    spec = {"model": MODEL, "sharding": {"pipeline": 2}, "maxConcurrentRequests": 4, "replicas": 1}
    return {**spec, "autoscaling": SCALING | scaling}


@dataclass
class ScaleRun(Simulation):
    """A simulation with requests; ``silent``: its gateway does not answer."""

    silent: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.traffic = Traffic(seconds=3)
        self.last: Moment | None = None

    def load(self) -> GatewayLoad | None:
        found, traffic = super().load(), self.traffic
        if found is None or self.silent:
            return None
        counts = {
            "waiting": traffic.waiting, "oldest_wait": traffic.waited, "in_flight": len(traffic.running),
            "uptime": traffic.uptime, "arrived": traffic.work(traffic.arrived), "served": traffic.work(traffic.served),
            "waits": traffic.work(traffic.waiting) if traffic.waiting else WorkCount(),
        }  # fmt: skip
        return found.model_copy(update=counts)

    def go(self, seconds: int) -> "ScaleRun":
        for _ in range(seconds):
            fresh, before = self.memory is NO_MEMORY, self.persisted.autoscaling
            busy = {group for group, unit in self.groups.items() if unit.ready or unit.busy(self.now)}
            moment = self.second()
            self.traffic.tick(sum(unit.ready for unit in self.groups.values()))
            self._look(moment, busy)
            if fresh and before:
                self._look_at_a_new_process(moment, before.target)
            self.last = moment
        return self

    def _look(self, moment: Moment, busy: set[GroupId]) -> None:
        auto, target = self.spec.autoscaling, moment.plan.replicas
        assert auto is not None
        assert target is not None
        assert auto.min_replicas <= target <= auto.max_replicas
        wanted = {item.group.ordinal for item in moment.plan.actions.groups}
        assert len(wanted) == target
        serving = {pod.group for pod in moment.state.snapshot.stages if pod.stage == 0 and pod.ready}
        assert wanted <= serving or serving <= wanted, "a group that serves goes before one that starts"
        deleted = {item.name.rpartition("-")[0] for item in moment.plan.actions.deletes}
        assert not deleted & {group.name for group in busy}, "pods are deleted while requests run on them"
        assert {item.group.ordinal for item in moment.plan.actions.creates} <= wanted

    def _look_at_a_new_process(self, moment: Moment, before: int) -> None:
        auto, record = self.spec.autoscaling, moment.plan.persisted.autoscaling
        assert auto is not None
        assert record is not None
        if record.target < min(before, auto.max_replicas):
            raise AssertionError(f"a new process went from {before} to {record.target}: {record.message}")
        assert record.target == before or record.decisions[0].reason

    def pass_over(self, seconds: float) -> None:
        """Let time go by in which the operator does not run."""
        self.now += timedelta(seconds=seconds)
        self.traffic.uptime += seconds

    @property
    def target(self) -> int:
        assert self.persisted.autoscaling is not None
        return self.persisted.autoscaling.target

    @property
    def serving(self) -> int:
        return sum(unit.ready for unit in self.groups.values())


def run_of(**scaling: Any) -> ScaleRun:
    run = ScaleRun(LlamaDeploymentSpec.model_validate(spec_of(**scaling)), Setting(SPANS))
    return run.go(30)


def settle(run: ScaleRun, groups: int, limit: int = 400) -> None:
    for _ in range(limit):
        run.go(1)
        if (run.target, run.serving, len(run.groups)) == (groups, groups, groups):
            return
    raise AssertionError(f"{run.serving} of {run.target}, {len(run.groups)} are there: {run.persisted.autoscaling}")


things = st.sampled_from(
    [
        "restart", "silent", "heard", "nothing", {"maxReplicas": 2}, {"maxReplicas": 4}, {"minReplicas": 2},
        {"minReplicas": 0},
    ]
)  # fmt: skip
stories = st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 0, 1, 2, 5]), things), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(stories, st.booleans())
def test_any_story_keeps_the_rules_and_ends_at_the_fewest(story: list[tuple[int, int, Any]], forgetful: bool) -> None:
    """``forgetful``: at the end of each part the operator is another process.

    A new process has not seen who was answered before it: it may keep the last group for clients that will not come.
    """
    run, scaling = run_of(), dict(SCALING)
    owed_at_a_restart = False
    for seconds, rate, thing in story:
        run.traffic.rate = rate
        run.silent = thing == "silent" or (run.silent and thing != "heard")
        if thing == "restart" or forgetful:
            run.memory = NO_MEMORY
            owed_at_a_restart |= run.persisted.autoscaling is not None and run.persisted.autoscaling.owed > 0
        if isinstance(thing, dict):
            scaling |= thing
            run.spec = LlamaDeploymentSpec.model_validate(spec_of(**scaling))
        run.go(seconds)
    run.traffic.rate, run.silent = 0, False
    run.go(5)
    if owed_at_a_restart:
        settle(run, max(scaling["minReplicas"], min(run.target, 1)))
        run.pass_over(RETURN)
    settle(run, scaling["minReplicas"])
    run.go(run.traffic.seconds)  # a request may begin in the second in which the groups come to serve
    assert run.traffic.served == run.traffic.arrived


@pytest.mark.parametrize("second", range(0, 40, 3))
def test_a_restart_at_any_second_of_a_rise_ends_the_same(second: int) -> None:
    run = run_of(minReplicas=1)
    run.traffic.rate = 3
    run.go(second)
    run.memory = NO_MEMORY
    run.go(120)
    assert run.serving >= 3, "three requests of three seconds each, four at a time on a group"
    assert run.traffic.waiting == 0
    run.traffic.rate = 0
    settle(run.go(5), 1)
    assert run.traffic.served == run.traffic.arrived


def test_a_restart_in_every_second_takes_nothing_away() -> None:
    run = run_of(minReplicas=1)
    run.traffic.rate = 3
    run.go(60)
    before = run.target
    run.traffic.rate = 0
    for _ in range(200):
        run.memory = NO_MEMORY
        run.go(1)
    assert run.target == before >= 3
    settle(run, 1)


def test_a_group_that_drains_is_taken_back() -> None:
    run = run_of(minReplicas=2)
    settle(run, 2)
    names = set(run.groups)
    run.spec = LlamaDeploymentSpec.model_validate(spec_of(minReplicas=1, maxReplicas=1))
    run.go(2)
    assert (run.target, run.serving) == (1, 1)
    run.spec = LlamaDeploymentSpec.model_validate(spec_of(minReplicas=2))
    run.go(3)
    assert (run.serving, set(run.groups)) == (2, names)


def test_an_edit_at_zero_ends_when_the_next_group_serves_with_it() -> None:
    run = run_of()
    run.traffic.rate = 1
    run.go(60)
    assert run.serving
    run.traffic.rate = 0
    settle(run, 0)
    spec = spec_of()
    spec["model"] = MODEL | {"revision": "v2"}
    run.spec = LlamaDeploymentSpec.model_validate(spec)
    run.go(20)
    record = run.persisted.rollout
    assert record is not None
    assert (record.phase, len(run.groups)) == ("RollingOut", 0)
    assert "no group is wanted now" in record.message
    run.traffic.waiting, run.traffic.arrived = 1, run.traffic.arrived + 1
    run.go(40)
    record = run.persisted.rollout
    assert record is not None
    assert record.phase == "Done"
    assert [unit.gateway_weights.partition("@")[0] for unit in run.groups.values()] in (["v2"], [])
