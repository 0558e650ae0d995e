"""What a client that was sent away is told: when to come back."""

import pytest

from llama_serving.gateway.routing.expected_start import KEPT, LONGEST, UNKNOWN, ExpectedStart


@pytest.mark.parametrize(
    ("told", "after", "seconds"),
    [
        (None, 0.0, UNKNOWN),
        (165.0, 0.0, 165),
        (165.0, 20.5, 145),
        (165.0, KEPT + 1, UNKNOWN),  # the operator is gone: what it said is not counted down for ever
        (10.0, 30.0, 1),  # late
        (0.0, 0.0, 1),
        (7200.0, 0.0, LONGEST),
    ],
)
def test_the_seconds_until_a_group_serves(told: float | None, after: float, seconds: int) -> None:
    expected = ExpectedStart()
    if told is not None:
        expected.tell(told, 1000.0)
    assert expected.retry_after(1000.0 + after) == seconds
