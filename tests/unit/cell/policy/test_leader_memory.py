"""What a leader makes of the raw answers of a look, by what it remembers."""

from dataclasses import replace

import pytest

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.leader_memory import (
    Answers,
    Deployment,
    LeaderMemory,
    current_measurement,
    is_still_desired,
    needs_assets,
    needs_peers,
    observe,
)
from llama_serving.cell.policy.measurement import TRIES, CachedMeasurement, MeasuredEngine
from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.config.desired import DesiredState, Measurement, Verify
from llama_serving.config.reasons import CellReason
from tests.unit.cell.fakes import replica
from tests.unit.cell.worlds import NEW, OLD, config

CONFIG = config()
BOTH = {"node-a": 0, "node-b": 1}
DEPLOYMENT = Deployment(CONFIG, 1, {"tokenizer.json": "1"})
DEPLOYED = LeaderMemory(deployment=DEPLOYMENT, deployed=OLD, answered=True)
SERVES = Answers(nodes=BOTH, replica=replica())
WANTS_NEW = replace(SERVES, desired=DesiredState(serve=NEW))
AGREED = {0: StageView(desired="k"), 1: StageView(desired="k")}


@pytest.mark.parametrize(
    ("memory", "answers", "peers", "assets"),
    [
        (LeaderMemory(), Answers(nodes={"node-a": 0}), False, False),  # waits for stages: weights are no matter yet
        (LeaderMemory(), Answers(nodes=BOTH), False, False),  # weights that nobody stages are there
        (DEPLOYED, SERVES, False, False),  # the engine has what is desired
        (DEPLOYED, replace(WANTS_NEW, peers=AGREED), True, True),
        (DEPLOYED, replace(WANTS_NEW, peers=AGREED | {1: StageView(error="no answer in time")}), True, False),
        (replace(DEPLOYED, compared=(NEW, "")), replace(WANTS_NEW, peers=AGREED), True, False),  # they are known
        (replace(DEPLOYED, compared=(OLD, "")), replace(WANTS_NEW, peers=AGREED), True, True),
    ],
)
def test_the_other_stages_and_the_assets_are_asked_where_they_matter(
    *, memory: LeaderMemory, answers: Answers, peers: bool, assets: bool
) -> None:
    assert needs_peers(memory, answers, config=CONFIG) is peers
    assert needs_assets(memory, answers, config=CONFIG) is assets


def test_a_difference_of_the_assets_is_remembered_with_its_weights() -> None:
    answers = replace(WANTS_NEW, peers=AGREED, assets={"tokenizer.json": "2"})
    memory, view = observe(DEPLOYED, answers, config=CONFIG)
    assert (memory.compared, view.desired.asset_difference) == ((NEW, "tokenizer.json"), "tokenizer.json")
    memory, view = observe(memory, replace(answers, assets={}), config=CONFIG)
    assert view.desired.asset_difference == "tokenizer.json"
    _, view = observe(memory, SERVES, config=CONFIG)
    assert view.desired.asset_difference == "", "of the weights that the engine has"


def test_the_replica_says_what_keeps_its_weights_from_being_swapped() -> None:
    answers = replace(WANTS_NEW, peers=AGREED, replica=replica().model_copy(update={"unswappable": "quark"}))
    _, view = observe(DEPLOYED, answers, config=CONFIG)
    assert view.desired.unswappable == "quark"
    _, view = observe(DEPLOYED, replace(answers, replica=None), config=CONFIG)
    assert view.desired.unswappable == ""


def test_what_keeps_the_desired_weights_from_being_loaded() -> None:
    late = replace(WANTS_NEW, peers={0: StageView(desired="k"), 1: StageView(desired="older")})
    _, view = observe(DEPLOYED, late, config=CONFIG)
    assert view.desired.staging == CellFault(
        CellReason.WEIGHTS_STAGING, "stage 1 has not received the desired state yet"
    )


def test_a_replica_is_intact_on_the_nodes_that_it_was_started_on() -> None:
    memory, view = observe(DEPLOYED, SERVES, config=CONFIG)
    assert view.intact
    other = replace(SERVES, nodes={"node-a": 0, "node-c": 1})
    memory, view = observe(memory, other, config=CONFIG)
    assert not view.intact
    memory, view = observe(memory, replace(other, nodes=None), config=CONFIG)
    assert view.intact, "a cluster that does not answer has not lost a node"
    _, view = observe(memory, replace(other, replica=replica(pid=8)), config=CONFIG)
    assert view.intact, "another replica was started there"


@pytest.mark.parametrize(
    ("answers", "changed"),
    [(replace(SERVES, fingerprint=1), False), (replace(SERVES, fingerprint=2), True), (WANTS_NEW, True)],
)
def test_a_refused_model_is_tried_again_with_other_files_or_weights(answers: Answers, changed: bool) -> None:
    refused = AppView(failed=True, status="DEPLOY_FAILED", refused=True)
    _, view = observe(DEPLOYED, replace(answers, app=refused, peers=AGREED), config=CONFIG)
    assert view.files_changed is changed


def measured(*, error: str = "", tries: int = 1, pid: int = 7) -> LeaderMemory:
    taken = CachedMeasurement(Measurement(digest="", id="w1", error=error), 1.0, Verify())
    return replace(DEPLOYED, measured=MeasuredEngine(pid, OLD, taken, tries))


@pytest.mark.parametrize(
    ("memory", "counts"),
    [
        (DEPLOYED, False),
        (measured(), True),
        (measured(pid=8), False),  # of another engine
        (measured(error="no"), False),
        (measured(error="no", tries=TRIES), True),
    ],
)
def test_a_measurement_counts_for_its_engine_and_an_error_when_it_repeats(memory: LeaderMemory, counts: bool) -> None:
    memory, view = observe(memory, SERVES, config=CONFIG)
    assert view.desired.measured is counts
    assert view.desired.checked is counts
    if counts:
        assert current_measurement(memory) is memory.measured


def test_only_the_weights_of_the_last_look_are_deployed() -> None:
    assert not is_still_desired(DEPLOYED, OLD)
    memory, _ = observe(DEPLOYED, SERVES, config=CONFIG)
    assert is_still_desired(memory, OLD)
    assert not is_still_desired(memory, NEW)
