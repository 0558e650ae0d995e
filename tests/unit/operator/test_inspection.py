"""The look at the model: one pod, its last word, and when it is sent again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llama_operator.observe import Ended, PodView, Waiting
from llama_operator.plan.inspection import LOOK_AGAIN, Inspection, inspect_model
from llama_operator.plan.revision import model_key_of
from llama_serving.config.model import ModelReport
from tests.fakes.nodes import ACCEPTED
from tests.unit.operator.worlds import NOW, SPEC, ago, inspector, world

MODEL = model_key_of(SPEC)
MINE = "chat-inspect-mine"


def look(*pods: PodView, known: bool = False) -> Inspection:
    return inspect_model(world(*pods, known=known), MODEL, MINE, NOW)


def ended(message: str, *, seconds_ago: float = 1, **fields: object) -> PodView:
    return inspector(MINE, phase="Succeeded", ended=Ended("Completed", 0, message, ago(seconds_ago)), **fields)


def refusal(reason: str) -> str:
    return ModelReport(outcome="refused", reason=reason, message="no").model_dump_json()


def test_a_pod_is_sent_where_nothing_is_known() -> None:
    found = look()
    assert found.create is not None
    assert (found.create.name, found.create.model_key) == (MINE, MODEL)
    assert [hold.reason.value for hold in found.holds] == ["InspectingModel"]


def test_nothing_is_done_where_the_model_is_known() -> None:
    found = look(known=True)
    assert (found.create, found.deletes, found.holds) == (None, (), ())
    assert found.look.facts is not None


def test_the_pod_goes_when_its_answer_is_in_the_status_and_not_before() -> None:
    pod = ended(ACCEPTED.model_dump_json())
    assert look(pod).look.facts == ACCEPTED.facts
    assert look(pod).deletes == ()
    assert [item.name for item in look(pod, known=True).deletes] == [MINE]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("WeightsMissing", "WeightsMissing"),
        ("WeightsUnreadable", "WeightsUnreadable"),
        ("ModelRefused", "ModelRefused"),
        ("SomethingNew", "ModelRefused"),
    ],
)
def test_a_refusal_is_shown_and_looked_at_again_after_a_while(reason: str, shown: str) -> None:
    found = look(ended(refusal(reason)))
    assert [(hold.reason.value, hold.detail) for hold in found.holds] == [(shown, "no")]
    assert found.look.refusal == found.holds[0]
    assert found.deletes == ()
    later = look(ended(refusal(reason), seconds_ago=LOOK_AGAIN.total_seconds() + 1))
    assert [item.name for item in later.deletes] == [MINE]


@pytest.mark.parametrize("message", ["", "Traceback: boom", '{"outcome": "accepted"}', "{}", "null"])
def test_an_end_without_a_report_is_a_refusal_with_the_last_words(message: str) -> None:
    found = look(ended(message))
    assert found.look.facts is None
    assert f"ended with code 0 and without a report: {message[-300:]}".rstrip() in found.holds[0].detail.rstrip()


def test_an_acceptance_without_facts_is_no_acceptance() -> None:
    text = ModelReport(outcome="accepted", reason="Accepted", message="m").model_dump_json()
    assert look(ended(text)).look.facts is None


def test_a_pod_that_was_stopped_from_outside_says_why() -> None:
    pod = inspector(MINE, phase="Failed", reason="DeadlineExceeded", message="Pod was active too long")
    assert look(pod).holds[0].detail == (
        f"pod {MINE} ended with code unknown and without a report: Pod was active too long"
    )


def test_pods_that_look_elsewhere_are_stopped() -> None:
    found = look(inspector("chat-inspect-other"), inspector(MINE))
    assert [(item.name, item.grace) for item in found.deletes] == [("chat-inspect-other", 0)]


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({}, "InspectingModel", "has no node yet, 30 s so far"),
        ({"node": "n", "phase": "Running"}, "InspectingModel", "on node n reads the model, 30 s so far"),
        ({"node": "n"}, "InspectingModel", "gets its containers on node n, 30 s so far"),
        ({"unscheduled": "0/2 nodes: 2 node(s) didn't match"}, "Unschedulable", "didn't match"),
        ({"unscheduled": 'persistentvolumeclaim "m" not found'}, "VolumeUnavailable", "not found"),
        ({"node": "n", "waiting": Waiting("c", "ErrImagePull", "no such image")}, "ImageUnavailable", "no such image"),
    ],
)
def test_while_it_looks(fields: dict[str, object], reason: str, words: str) -> None:
    (hold,) = look(inspector(MINE, **fields)).holds
    assert hold.reason.value == reason
    assert words in hold.detail


def test_a_pod_on_its_way_out_is_waited_for_and_forced_when_nobody_ends_it() -> None:
    dying = inspector(MINE, gone_by=NOW, node="n")
    assert (look(dying).create, look(dying).deletes) == (None, ())
    stuck = replace(dying, gone_by=NOW - timedelta(seconds=31))
    assert [item.grace for item in look(stuck).deletes] == [0]
    assert look(replace(stuck, forced=True)).deletes == ()
