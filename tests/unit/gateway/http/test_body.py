"""How fast a body has to come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.gateway.http.body import BodyPace


@pytest.mark.parametrize(
    ("pace", "size", "elapsed", "seconds"),
    [
        (BodyPace(300), 0, 1e6, 300),
        (BodyPace(300, 1000, 30), 0, 0, 30),
        (BodyPace(300, 1000, 30), 5000, 20, 15),
        (BodyPace(300, 1000, 30), 5000, 40, -5),
        (BodyPace(10, 1000, 30), 10**9, 0, 10),
    ],
)
def test_how_long_the_next_byte_may_take(pace: BodyPace, *, size: int, elapsed: float, seconds: float) -> None:
    assert pace.seconds(size, elapsed) == seconds


@given(st.integers(1, 10**6), st.floats(0.1, 100), st.integers(0, 10**9))
def test_a_body_at_the_lowest_rate_always_has_its_grace(rate: int, grace: float, size: int) -> None:
    assert BodyPace(1e9, rate, grace).seconds(size, size / rate) >= grace * 0.99
    assert BodyPace(1e9, rate, grace).seconds(size, size / rate + grace * 1.01) < 0
