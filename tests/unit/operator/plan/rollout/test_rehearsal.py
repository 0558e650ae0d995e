"""No edit takes down what serves: what a rehearsal refuses leaves every group in rotation; the next edit goes on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.groups.images import stage_defaults, with_defaults
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.ports import Capacity, NodeCapacity
from llama_operator.preview.scenario import merged
from llama_operator.preview.simulated_group import Faults, Spans
from llama_operator.preview.simulated_rehearsal import Refusals
from llama_operator.preview.simulation import SETTINGS, SHAPE, Moment, Setting, Simulation

GPU = "nvidia.com/gpu"
BAD = "registry.example/llama-serving:nope"
SPANS = Spans(stage=4, start=6, swap=2, verify=1, requests=3, end=2, rehearse=20)
ROOM = Capacity((NodeCapacity("big", {}, True, True, {"cpu": 999.0, "memory": 1e15, GPU: 999.0}, {}),))


def spec_of(replicas: int, **rollout: Any) -> dict[str, Any]:
    return {
        "model": {"source": "pvc://llama/{revision}", "revision": "v1", "license": "llama3.1", "acceptLicense": True},
        "replicas": replicas,
        "sharding": {"pipeline": 2},
        "rollout": rollout,
    }


class Story:
    """A simulation of groups that serve, edited, with every moment looked at."""

    def __init__(
        self, spec: dict[str, Any], capacity: Capacity | None = ROOM, refusals: Refusals | None = None
    ) -> None:
        setting = Setting(SPANS, Faults(), capacity, refusals=refusals or Refusals())
        self.spec = spec
        self.simulation = Simulation(LlamaDeploymentSpec.model_validate(spec), setting)
        self.last: Moment = list(self.simulation.moments())[-1]
        assert self.last.serving == spec["replicas"]

    def edit(self, edit: dict[str, Any], limit: int = 5_000) -> Iterator[Moment]:
        self.spec = merged(self.spec, edit)
        self.simulation.spec = LlamaDeploymentSpec.model_validate(self.spec)
        for moment in self.simulation.moments(limit):
            self.last = moment
            yield moment

    def refuse(self, refusals: Refusals) -> None:
        self.simulation.rehearsal.refusals = refusals

    @property
    def phase(self) -> str:
        rollout = self.simulation.persisted.rollout
        return rollout.phase if rollout else ""

    @property
    def reason(self) -> str:
        rollout = self.simulation.persisted.rollout
        return rollout.reason if rollout else ""

    @property
    def pods(self) -> set[str]:
        return {group.pod_hash for group in self.simulation.groups}


def hash_of(spec: dict[str, Any]) -> str:
    found = LlamaDeploymentSpec.model_validate(spec)
    made = with_defaults(found, stage_defaults(found, SHAPE, taken=(), settings=SETTINGS))
    return template_hash(made, SHAPE, serving_image=made.images.serving)


REFUSED = {
    "admission": ("Pod chat-0 was refused: exceeded quota: gpus, used: 2, limited: 2", "ApiRejected"),
    "image": (
        'rpc error: code = NotFound desc = failed to pull and unpack image "registry.example/llama-serving:nope":'
        " failed to resolve image: registry.example/llama-serving:nope: not found",
        "ImageUnavailable",
    ),
    "configuration": ("the engine refuses the configuration: ValueError: block size 7", "EngineConfigRefused"),
}


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("step", REFUSED)
@pytest.mark.parametrize("strategy", ["auto", "surge", "drain"])
def test_what_is_refused_touches_no_group(*, replicas: int, step: str, strategy: str) -> None:
    edit = {"images": {"serving": BAD}}
    said, reason = REFUSED[step]
    story = Story(spec_of(replicas, strategy=strategy))
    before = story.pods
    story.refuse(Refusals(**{step: {hash_of(merged(story.spec, edit)): said}}))
    begin = story.simulation.now
    held = None
    for moment in story.edit(edit, limit=600):
        assert moment.serving == replicas, moment.plan.explanations
        if held is None and story.phase == "Held":
            held = (story.simulation.now - begin).total_seconds()
    assert held is not None
    assert held <= 60
    assert (story.phase, story.reason, story.pods) == ("Held", reason, before)
    detail = story.last.plan.explanations[0].detail
    assert ("(images.serving); push it" if step == "image" else said) in detail
    assert "is held before its first step" in detail
    rollout = story.simulation.persisted.rollout
    assert rollout is not None
    assert rollout.rehearsal is not None
    assert rollout.rehearsal.outcome == "failed"

    list(story.edit({"images": {"serving": "registry.example/llama-serving:2"}}))
    assert (story.phase, story.last.serving) == ("Done", replicas)
    assert story.pods.isdisjoint(before)
    assert not story.simulation.rehearsal.pods, "pods of a rehearsal stay behind"


@pytest.mark.parametrize("step", ["admission", "image"])
def test_it_goes_on_by_itself_when_the_cause_is_gone(step: str) -> None:
    edit = {"images": {"serving": "registry.example/llama-serving:2"}}
    story = Story(spec_of(2))
    story.refuse(Refusals(**{step: {hash_of(merged(story.spec, edit)): REFUSED[step][0]}}))
    list(story.edit(edit, limit=200))
    assert story.phase == "Held"
    story.refuse(Refusals())
    list(story.edit({}))
    assert (story.phase, story.last.serving) == ("Done", 2)


def test_taking_the_edit_back_ends_it() -> None:
    story = Story(spec_of(1))
    before = story.pods
    bad = {"images": {"serving": BAD}}
    story.refuse(Refusals(image={hash_of(merged(story.spec, bad)): "manifest unknown"}))
    list(story.edit(bad, limit=100))
    list(story.edit({"images": {"serving": None}}))
    assert story.simulation.persisted.rollout is None
    assert (story.pods, story.last.serving, story.last.plan.explanations) == (before, 1, ())
    assert not story.simulation.rehearsal.pods


def test_without_a_rehearsal_the_rollout_begins_at_once() -> None:
    story = Story(spec_of(2, rehearsal=False))
    list(story.edit({"images": {"serving": "registry.example/llama-serving:2"}}))
    rollout = story.simulation.persisted.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.rehearsal) == ("Done", None)


def test_nothing_is_rehearsed_where_nothing_serves() -> None:
    story = Story(spec_of(1))
    list(story.edit({"replicas": 0}))
    list(story.edit({"images": {"serving": "registry.example/llama-serving:2"}}, limit=100))
    assert not story.simulation.rehearsal.pods


def test_weights_alone_need_no_rehearsal() -> None:
    story = Story(spec_of(2))
    list(story.edit({"model": {"revision": "v2"}}))
    rollout = story.simulation.persisted.rollout
    assert rollout is not None
    assert (rollout.phase, rollout.rehearsal) == ("Done", None)


def test_a_passed_rehearsal_says_what_it_took() -> None:
    story = Story(spec_of(2))
    phases = [story.phase for _ in story.edit({"images": {"serving": "registry.example/llama-serving:2"}})]
    rollout = story.simulation.persisted.rollout
    assert rollout is not None
    assert rollout.rehearsal is not None
    assert (rollout.rehearsal.outcome, rollout.rehearsal.seconds) == ("passed", 20)
    assert "tried in 2 pods within 20 s" in rollout.rehearsal.message
    assert list(dict.fromkeys(phases)) == ["Rehearsing", "RollingOut", "Done"]


def test_an_edit_that_supersedes_half_a_rollout_is_rehearsed_and_keeps_all_that_serves() -> None:
    story = Story(spec_of(3, maxSurge=0))
    half = next(
        m for m in story.edit({"images": {"serving": "r.example/s:2"}}) if len(story.pods) == 2 and m.serving == 3
    )
    assert half.serving == 3
    bad = {"images": {"serving": BAD}}
    story.refuse(Refusals(image={hash_of(merged(story.spec, bad)): "manifest unknown"}))
    before = story.pods
    for moment in story.edit(bad, limit=100):
        assert moment.serving >= 2, moment.plan.explanations
    assert story.phase == "Held"
    assert story.last.serving == 3
    assert story.pods <= before
    list(story.edit({"images": {"serving": None}}))
    assert len(story.pods) == 1
    assert story.last.serving == 3


sizes = st.sampled_from(["1", "4", "64", "4000"])
edits = st.fixed_dictionaries(
    {},
    optional={
        "images": st.fixed_dictionaries({"serving": st.sampled_from(["r.example/a:1", BAD])}),
        "sharding": st.fixed_dictionaries({"pipeline": st.sampled_from([1, 2, 4])}),
        "resources": st.fixed_dictionaries({"cpu": sizes}),
        "contextLength": st.sampled_from([2048, 4096]),
        "placement": st.fixed_dictionaries({"nodeSelector": st.sampled_from([{}, {"pool": "none"}])}),
        "rollout": st.fixed_dictionaries(
            {"strategy": st.sampled_from(["auto", "surge", "drain"]), "maxUnavailable": st.integers(1, 2)}
        ),
    },
)


@settings(max_examples=60)
@given(replicas=st.integers(1, 3), edit=edits, step=st.sampled_from(["", *REFUSED]), devices=st.integers(0, 8))
def test_a_group_that_cannot_run_closes_none_that_serves(
    *, replicas: int, edit: dict[str, Any], step: str, devices: int
) -> None:
    """If the API server, the image or the engine refuses the new group, no gate of a group that serves is closed."""
    node = NodeCapacity("n", {}, True, True, {"cpu": 64.0, "memory": 1e15, GPU: float(devices)}, {})
    story = Story(spec_of(replicas), Capacity((node,)))
    before = story.pods
    new = hash_of(merged(story.spec, edit))
    if not step or {new} == before:
        return
    story.refuse(replace(Refusals(), **{step: {new: REFUSED[step][0]}}))
    for moment in story.edit(edit, limit=300):
        assert moment.serving == replicas, moment.plan.explanations
        assert all(change.open_ for change in moment.plan.actions.rotations)
    assert (story.phase, story.pods) == ("Held", before)
