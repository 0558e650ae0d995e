"""Pauses between tries: they grow, they are not alike, and only a watch that lasted ends a series."""

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.watching.pace import Pace, Times

TIMES = Times()


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=40), st.floats(0, 1))
def test_a_server_that_ends_every_watch_is_asked_less_and_less(lasted: list[float], jitter: float) -> None:
    pace = Pace(TIMES, lambda: jitter)
    pauses = [pace.ended(one) for one in lasted]
    assert all(TIMES.first / 2 <= one <= TIMES.longest for one in pauses)
    assert pauses == sorted(pauses)
    assert pace.ended(TIMES.steady) == 0.0
    assert pace.ended(0.0) <= TIMES.first


@given(st.floats(0, 1))
def test_a_minute_of_failures_is_few_requests(jitter: float) -> None:
    pace, spent, requests = Pace(TIMES, lambda: jitter), 0.0, 0
    while spent < 60:
        spent += pace.failed()
        requests += 1
    assert requests <= 8


def test_what_the_server_asks_for_is_waited_for() -> None:
    assert Pace(TIMES, lambda: 0.0).failed(at_least=25.0) == 25.0
