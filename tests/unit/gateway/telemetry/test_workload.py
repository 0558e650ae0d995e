"""What arrives, what it is expected to get, and what was served."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.config.gateway import WorkCount
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.telemetry.token_counter import FRAME, TokenCounter
from llama_serving.gateway.telemetry.workload import FIRST_MEAN, MARGIN, WINDOW, Workload, work_count

CHAT = "/v1/chat/completions"


def test_a_request_asks_for_its_limit_and_is_expected_to_get_what_others_got() -> None:
    workload = Workload()
    assert workload.count_arrival(CHAT, b'{"max_tokens": 4000}') == RequestSize(5, math.ceil(MARGIN * FIRST_MEAN))
    assert workload.count_arrival(CHAT, b'{"max_tokens": 40}  ') == RequestSize(5, 40)
    assert workload.count_arrival(CHAT, b"{}" + b" " * 18) == RequestSize(5, math.ceil(MARGIN * FIRST_MEAN))
    assert work_count(workload.arrived) == WorkCount(
        requests=3, prompt_tokens=15, answer_tokens=4000 + 40 + round(FIRST_MEAN)
    )


def test_the_mean_of_answers_moves_and_forgets_what_was_assumed() -> None:
    workload = Workload()
    workload.count_served(RequestSize(3, 9), tokens=100, seconds=2.0)
    assert workload.mean == pytest.approx((FIRST_MEAN + 100) / 2)
    for _ in range(10 * WINDOW):
        workload.count_served(RequestSize(3, 9), tokens=50, seconds=0.5)
    assert workload.mean == pytest.approx(50, abs=0.5)
    for _ in range(WINDOW):
        workload.count_served(RequestSize(3, 9), tokens=500, seconds=0.5)
    assert 300 < workload.mean < 500


def test_answers_without_tokens_are_served_and_say_nothing_about_the_mean() -> None:
    workload = Workload()
    workload.count_served(RequestSize(3, 9), tokens=0, seconds=0.25)
    assert workload.mean == FIRST_MEAN
    assert work_count(workload.served) == WorkCount(requests=1, prompt_tokens=3, answer_tokens=0, seconds=0.25)


@settings(deadline=None)
@given(tokens=st.lists(st.integers(0, 5000), max_size=40))
def test_the_mean_stays_between_what_was_seen(tokens: list[int]) -> None:
    workload = Workload()
    for count in tokens:
        workload.count_served(RequestSize(0, 0), tokens=count, seconds=0.0)
    seen = [FIRST_MEAN, *[count for count in tokens if count]]
    assert min(seen) - 1e-6 <= workload.mean <= max(seen) + 1e-6
    assert workload.served.answer_tokens == sum(tokens)


EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
COUNT = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 42}}\n\n'


@pytest.mark.parametrize(
    ("pieces", "events", "tokens"),
    [
        ([], True, 0),
        ([EVENT], True, 0),
        ([EVENT * 3, EVENT, b"data: [DONE]\n\n"], True, 5 - FRAME),
        ([EVENT * 3, COUNT, b"data: [DONE]\n\n"], True, 42),
        ([COUNT.replace(b"42", b"1"), COUNT.replace(b"42", b"2")], True, 2),
        ([b'{"choices": [{"text": "a\\n\\nb"}], "usage":{"completion_tokens":6,"x":1}}'], False, 6),
        ([b'{"choices": [{"text": "\\"completion_tokens\\": 6"}]}'], False, 0),
        ([b'{"data": []}\n\n\n\n\n\n'], False, 0),
    ],
)
def test_tokens_of_an_answer_that_is_not_read(pieces: list[bytes], events: bool, tokens: int) -> None:
    counter = TokenCounter()
    for piece in pieces:
        counter.take(piece)
    assert counter.tokens(events=events) == tokens
