"""The promise in the status: who learns, when it is written, in which words, and what a restart makes of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llama_operator.api import AutoscalingSpec, LlamaDeploymentSpec, PromiseStatus
from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.learning.kept import Kept, KeptShare
from llama_operator.plan.autoscaling.learning.learner import Following, Learner, PromiseTerms
from llama_operator.plan.autoscaling.learning.rules import RULES
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.promise import EVERY, learner_after, learns, promise_status
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum
from llama_operator.plan.autoscaling.status_record import first_status
from tests.unit.operator.worlds import world

NOW = datetime(2026, 11, 30, 8, 0, 20, tzinfo=UTC)
TERMS = PromiseTerms(slots=8, wait=5.0, share=0.99)
LIMITS = Limits(floor=1, ceiling=5, slots=8)
AUTO: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 5}
READING = Load(known=True, span=1.0, in_flight=8, arrived=2)
RULE = str(RULES[30])


def auto(**fields: Any) -> AutoscalingSpec:
    return AutoscalingSpec.model_validate(AUTO | fields)


class Told(Learner):
    """A learner that says what it was told to."""

    def __init__(self, following: Following, late: float = 0.0) -> None:
        super().__init__(TERMS, delay=60.0, groups=2)
        self.told = following
        self.kept = Kept(*(KeptShare(requests=1000.0, late=late) for _ in range(3)))

    @property
    def following(self) -> Following:
        return self.told


def written(before: PromiseStatus | None, learner: Learner | None, moment: datetime = NOW) -> PromiseStatus | None:
    spec: LlamaDeploymentSpec | None = world(spec={"autoscaling": AUTO}).spec
    assert spec is not None
    return promise_status(before, learner, spec, start=300.0, moment=moment)


@pytest.mark.parametrize(
    ("fields", "learnt"),
    [
        ({}, True),
        ({"rule": "formula"}, False),
        ({"windows": {"cooldownSeconds": 0}}, False),
        ({"windows": {"stableSeconds": 60}}, False),
        ({"windows": {"panicSeconds": 60}}, False),
        ({"target": {"inFlightPerGroup": 4}}, False),
        ({"target": {"waitSeconds": 2, "share": 0.95}}, True),
    ],
)
def test_who_says_how_the_formula_counts_gets_the_formula(fields: dict[str, Any], *, learnt: bool) -> None:
    status = first_status(2, 2, auto=auto(), minimum=ScheduledMinimum(1), moment=NOW)
    found = learner_after(None, READING, auto=auto(**fields), status=status, limits=LIMITS, delay=60.0, now=NOW)
    assert learns(auto(**fields)) == (found is not None) == learnt
    assert (written(None, found) is not None) == learnt


@pytest.mark.parametrize("fields", [{"share": 0.9}, {"waitSeconds": 60}])
def test_another_promise_is_another_record(fields: dict[str, Any]) -> None:
    status = first_status(2, 2, auto=auto(), minimum=ScheduledMinimum(1), moment=NOW)
    first = learner_after(None, READING, auto=auto(), status=status, limits=LIMITS, delay=60.0, now=NOW)
    same = learner_after(first, READING, auto=auto(), status=status, limits=LIMITS, delay=60.0, now=NOW)
    assert same is first
    changed, wait = auto(target=fields), float(fields.get("waitSeconds", 5))
    limits = replace(LIMITS, wait=wait)
    other = learner_after(first, READING, auto=changed, status=status, limits=limits, delay=60.0, now=NOW)
    assert other is not None
    assert other is not first


def test_a_restart_goes_on_with_the_rule_of_the_status() -> None:
    status = first_status(2, 2, auto=auto(), minimum=ScheduledMinimum(1), moment=NOW)
    status = status.model_copy(update={"promise": PromiseStatus(rule=RULE, since=NOW)})
    found = learner_after(None, READING, auto=auto(), status=status, limits=LIMITS, delay=60.0, now=NOW)
    assert found is not None
    assert found.following.rule == RULE
    after = written(status.promise, found)
    assert after is not None
    assert (after.rule, after.since) == (RULE, NOW)


def test_a_restart_goes_on_with_the_record_of_the_status() -> None:
    """It was written with the shares; a learner without it begins anew, and knows nothing of the past."""
    status = first_status(2, 2, auto=auto(), minimum=ScheduledMinimum(1), moment=NOW)
    first, moment = None, NOW
    for _ in range(700):
        moment += timedelta(seconds=1)
        first = learner_after(first, READING, auto=auto(), status=status, limits=LIMITS, delay=60.0, now=moment)
    status = status.model_copy(update={"promise": written(None, first, moment)})
    found = learner_after(None, READING, auto=auto(), status=status, limits=LIMITS, delay=60.0, now=moment)
    assert found is not None
    assert found.following.seconds == pytest.approx(701, abs=1)


def test_the_shares_are_written_every_five_minutes_and_only_when_they_are_others() -> None:
    first = written(None, Told(Following(rule="", share=None), late=10))
    assert first is not None
    assert (first.share_of_hour, first.rule, first.message) == (0.99, "", "")
    assert written(first, Told(Following(rule=""), late=20), NOW + EVERY / 2) == first
    same = written(first, Told(Following(rule=""), late=10.2), NOW + 2 * EVERY)
    assert same == first, "the same to a thousandth"
    other = written(first, Told(Following(rule=""), late=20), NOW + 2 * EVERY)
    assert other is not None
    assert (other.share_of_hour, other.at) == (0.98, (NOW + 2 * EVERY).replace(second=0))


def test_another_rule_is_written_at_once_with_what_it_would_have_done() -> None:
    first = written(None, Told(Following("the formula", share=1.0, seconds=660.0, groups=4.0)))
    assert first is not None
    assert first.message == "the formula: with the load of about the last 11 min 100.0 % in time, now with 4.0 groups"
    following = Following(RULE, share=0.993, seconds=14400.0, groups=4.1, formula_share=0.96, formula_groups=3.3)
    later = NOW + timedelta(seconds=40)
    other = written(first, Told(following), later)
    assert other is not None
    assert (other.rule, other.since) == (RULE, later)
    assert other.message == (
        f"{RULE}: with the load of about the last 4 h 99.3 % in time, now with 4.1 groups; the formula 96.0 %, now with"
        " 3.3"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            3.0,
            "; 99 % within 5 s take 3.0 groups more (6 devices) with starts of 300 s: target.prefer share orders them",
        ),
        (None, "; no rule that is known would have had 99 % within 5 s: starts take 300 s"),
    ],
)
def test_a_promise_that_is_not_kept_says_what_it_would_take(more: float | None, said: str) -> None:
    following = Following("the formula", keeps=False, share=0.96, groups=3.3, more_groups=more)
    found = written(None, Told(following))
    assert found is not None
    assert said in found.message
