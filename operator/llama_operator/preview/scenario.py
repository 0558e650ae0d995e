"""A rollout as it stands in a YAML file: the spec before, what is edited, the nodes, the load, and what goes wrong."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.ports import Capacity, NodeCapacity
from llama_operator.preview.simulated_group import Faults, Spans
from llama_operator.preview.simulation import START, Moment, Setting, Simulation


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class ScenarioNode(_Part):
    """A node, with what is free on it beside the groups that are there."""

    name: str = Field(description="name of the node")
    labels: dict[str, str] = Field(default={}, description="its labels, for placement.nodeSelector")
    free: dict[str, str | int | float] = Field(description="resource -> amount, such as nvidia.com/gpu: 8")

    def capacity(self) -> NodeCapacity:
        """Convert it for the planner."""
        amounts = {name: float(parse(str(amount))) for name, amount in self.free.items()}
        return NodeCapacity(self.name, self.labels, ready=True, schedulable=True, allocatable=amounts, requested={})


class Seconds(_Part):
    """How long things take."""

    stage: int = Field(default=60, ge=0, description="bring the next weights into the pods of a group")
    start: int = Field(default=120, ge=1, description="from new pods to the engine's first answer, without staging")
    swap: int = Field(default=5, ge=1, description="swap the weights of a running engine")
    verify: int = Field(default=2, ge=0, description="ask the golden prompts")
    requests: int = Field(default=10, ge=0, description="until the requests of a group out of rotation have ended")
    rehearse: int = Field(default=0, ge=0, description="try image and configuration of new pods before the first step")
    end: int = Field(default=5, ge=1, description="until deleted pods are gone")


class ScenarioFaults(_Part):
    """What goes wrong; each names the ``model.revision`` whose weights it happens to."""

    staging: str = Field(default="", description="their bytes are not what the manifest says")
    swap: str = Field(default="", description="a stage cannot take them")
    verify: str = Field(default="", description="their answers are bad, and they call no function")
    start: str = Field(default="", description="an engine does not start with them")
    canary: str = Field(default="", description="their first byte comes late")


class Scenario(_Part):
    """One rollout."""

    before: dict[str, Any] = Field(description="spec of the LlamaDeployment before the edit")
    edit: dict[str, Any] = Field(description="what is changed in it, as a merge patch: null removes a field")
    then: dict[int, dict[str, Any]] = Field(
        default={}, description="further edits, by the second after the first one at which they come"
    )
    nodes: tuple[ScenarioNode, ...] | None = Field(
        default=None, description="absent: the operator may not look at nodes"
    )
    in_flight: int = Field(default=0, ge=0, description="requests that are there all the time")
    seconds: Seconds = Field(default=Seconds(), description="how long things take")
    wrong: ScenarioFaults = Field(default=ScenarioFaults(), description="what goes wrong")


def run(scenario: Scenario) -> Iterator[Moment]:
    """Bring the groups up as they were before the edit, edit, and follow the rollout from second 0."""
    setting = Setting(
        spans=Spans(**scenario.seconds.model_dump()),
        faults=Faults(**scenario.wrong.model_dump()),
        capacity=None if scenario.nodes is None else Capacity(tuple(node.capacity() for node in scenario.nodes)),
        in_flight=scenario.in_flight,
    )
    simulation = Simulation(fixed(scenario.before), setting)
    for _ in simulation.moments():
        continue
    begin = simulation.now
    edits = {0: scenario.edit, **scenario.then}
    spec = scenario.before
    for second, after in zip(sorted(edits), (*sorted(edits)[1:], None), strict=True):
        spec = merged(spec, edits[second])
        simulation.spec = fixed(spec)
        limit = {} if after is None else {"limit": after - second}
        for moment in simulation.moments(**limit):
            yield replace(moment, second=moment.second - int((begin - START).total_seconds()))


def fixed(spec: dict[str, Any]) -> LlamaDeploymentSpec:
    """Return the spec for a rollout in which the number of groups stays: with autoscaling the one to begin with."""
    asked = LlamaDeploymentSpec.model_validate(spec)
    auto = asked.autoscaling
    if auto is None:
        return asked
    replicas = min(max(asked.replicas, auto.min_replicas), auto.max_replicas)
    return asked.model_copy(update={"autoscaling": None, "replicas": replicas})


def scaling_of(scenario: Scenario) -> str:
    """Say what autoscaling would do meanwhile; empty without it."""
    asked = merged(scenario.before, scenario.edit)
    auto = LlamaDeploymentSpec.model_validate(asked).autoscaling
    if auto is None:
        return ""
    return (
        f"autoscaling keeps {auto.min_replicas} to {auto.max_replicas} groups by load; this is shown with"
        f" {fixed(asked).replicas}. No group is taken away for less load while a rollout is under way."
    )


def merged(spec: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7386)."""
    result = dict(spec)
    for key, value in edit.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result
