"""Counts since a mark, also over a gateway's restart, and what a canary is judged by."""

from dataclasses import replace

import pytest

from llama_operator.api.v1alpha1.rollout import CanarySpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.rollout.canary import (
    FEWEST,
    WeightsPair,
    canary_fault,
    count_requests,
    counted_since,
    counter_baselines,
    percentile,
)
from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts, GatewayLoad
from tests.unit.operator.worlds import world

CLASSES = len(FIRST_BYTE_BOUNDS) + 1
PAIR = WeightsPair("old", "new")


def answers(finished: int = 0, failed: int = 0, *, at: int = 0) -> AnswerCounts:
    classes = [0] * CLASSES
    classes[at] = finished
    return AnswerCounts(finished=finished, failed=failed, first_byte=tuple(classes))


def load(finished: int = 0, retried: int = 0, **by_weights: AnswerCounts) -> GatewayLoad:
    return GatewayLoad(
        waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(), by_weights=by_weights,
        totals={"finished": finished, "retried": retried},
    )  # fmt: skip


def seen(**loads: GatewayLoad | None) -> Snapshot:
    return replace(world(), loads=loads)


def test_what_was_counted_since_the_mark() -> None:
    begin = counter_baselines(seen(a=load(100, 3, old=answers(100)), b=load(50)), PAIR)
    now = seen(a=load(130, 4, old=answers(110), new=answers(20)), b=load(57, new=answers(7)))
    found = count_requests(now, begin, PAIR)
    assert (found.finished, found.retried, found.served_by_old, found.served_by_new) == (37, 1, 10, 27)


def test_a_gateway_that_started_anew_counts_whole() -> None:
    begin = counter_baselines(seen(a=load(100, old=answers(100))), PAIR)
    assert count_requests(seen(a=load(5, new=answers(5))), begin, PAIR).finished == 5
    assert count_requests(seen(b=load(5)), begin, PAIR).finished == 5


def test_a_gateway_that_is_not_heard_counts_nothing() -> None:
    begin = counter_baselines(seen(a=load(100), b=None), PAIR)
    assert [mark.gateway for mark in begin] == ["a"]
    assert count_requests(seen(a=None), begin, PAIR).finished == 0
    assert count_requests(seen(), begin, PAIR).finished == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (answers(100), answers(100), ""),
        (answers(100), answers(0), ""),
        (answers(100), answers(99, 1), ""),
        (answers(100), answers(98, 2), "2 of 100 requests failed on new, 2.0%"),
        (answers(100), answers(0, 1), "1 of 1 requests failed"),
        (answers(100, at=4), answers(100, at=6), ""),
        (answers(100, at=4), answers(100, at=7), "took up to 0.7 s on new and 0.3 s on old, 2.3 times as long"),
        (answers(100, at=4), answers(FEWEST - 1, at=20), ""),
        (answers(FEWEST - 1, at=4), answers(100, at=20), ""),
    ],
)
def test_what_speaks_against_a_canary(old: AnswerCounts, new: AnswerCounts, words: str) -> None:
    found = canary_fault(counted_since(seen(a=load(old=old, new=new)), (), PAIR), CanarySpec(groups=1), PAIR)
    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    ("classes", "bound"),
    [
        ({0: 100}, 0.05),
        ({0: 99, 5: 1}, 0.05),
        ({0: 98, 5: 2}, 0.4),
        ({CLASSES - 1: 50}, 240.0),
        ({0: FEWEST - 1}, None),
        ({0: FEWEST}, 0.05),
        ({}, None),
    ],
)
def test_percentiles(classes: dict[int, int], bound: float | None) -> None:
    assert percentile([classes.get(number, 0) for number in range(CLASSES)]) == bound
