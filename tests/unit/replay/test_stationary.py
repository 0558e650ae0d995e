"""On a load that stays as it is the promise is kept after the first hour, however uneven its arrivals are.

The formula alone makes up to 5 % late with these. Some rule of the family keeps the promise with each of them.
"""

import pytest

from llama_operator.replay.parameters import Parameters
from llama_operator.replay.report import Summary
from llama_operator.replay.traces import load
from llama_operator.replay.tuning import attempt
from tests.soak import soak

HOUR, HOURS = 3600, 4
PROMISED = 0.99


def judged(policy: str, trace: str, delay: float) -> Summary:
    """Requests behind the first hour."""
    return attempt(policy, {}, trace=load(trace), parameters=Parameters(startDelay=delay), warmup=HOUR)


def test_bursts_that_the_formula_does_not_understand() -> None:
    trace = f"gamma:6,8,{2 * HOUR},53"
    assert judged("formula", trace, 60.0).share < PROMISED, "nothing would show"
    assert judged("ours", trace, 60.0).share >= PROMISED


@soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("delay", [60.0, 300.0])
@pytest.mark.parametrize("seed", [51, 52, 53, 54])
@pytest.mark.parametrize("cv", [1, 2, 4, 8])
def test_the_promise_is_kept_after_the_first_hour(cv: int, seed: int, delay: float) -> None:
    found = judged("ours", f"gamma:6,{cv},{HOURS * HOUR},{seed}", delay)
    assert found.share >= PROMISED, found
