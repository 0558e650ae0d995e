"""One client that sends more than all groups can take costs the others nothing that they would notice."""

import pytest

from llama_serving.gateway.routing.fair.flow import Flow
from tests.unit.gateway.routing.fair.simulation import Arrival, Outcome, poisson, simulate

SLOTS = 64
UNTIL = 30.0
USERS = 8
FLOOD = 160.0  # requests a second: five times what there is
TOKENS = 200  # an answer takes two seconds, so all slots together make 32 a second


def users(rate: float, seed: int) -> tuple[list[Flow], list[Arrival]]:
    flows = [Flow(f"user {number}") for number in range(USERS)]
    arrivals = [
        arrival
        for number, flow in enumerate(flows)
        for arrival in poisson(flow, rate=rate, until=UNTIL, seed=seed + number, expected=240, tokens=TOKENS)
    ]
    return flows, arrivals


def flood(*, rate: float, tokens: int, weight: int = 1) -> tuple[Flow, list[Arrival]]:
    flow = Flow("flooder", weight=weight)
    return flow, poisson(flow, rate=rate, until=UNTIL, seed=99, expected=240, tokens=tokens)


def both(rate: float, seed: int, flooding: list[Arrival]) -> tuple[list[Flow], Outcome, Outcome]:
    flows, arrivals = users(rate, seed)
    return flows, simulate(arrivals, slots=SLOTS), simulate([*arrivals, *flooding], slots=SLOTS)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("tokens", [TOKENS // 4, TOKENS], ids=["short", "alike"])
def test_with_a_flooder_a_user_waits_about_as_long_as_without(seed: int, tokens: int) -> None:
    """Users take 70 % of the groups; the flooder asks for five times what there is."""
    flooder, flooding = flood(rate=FLOOD * TOKENS / tokens, tokens=tokens)
    flows, alone, together = both(2.8, seed, flooding)
    assert sum(together.refused.get(flow, 0) for flow in flows) == 0
    assert together.refused[flooder] > 0, "it was no flood"
    assert together.p99(*flows) <= 1.5 * alone.p99(*flows)


def test_in_order_of_arrival_the_same_flood_would_stop_everybody() -> None:
    _, flooding = flood(rate=FLOOD, tokens=TOKENS)
    _, arrivals = users(2.8, 1)
    one = Flow("everybody")
    mixed = [Arrival(each.at, one, each.expected, each.tokens) for each in [*arrivals, *flooding]]
    together, alone = simulate(mixed, slots=SLOTS), simulate(arrivals, slots=SLOTS)
    assert together.p99(one) > 10 * alone.p99(*alone.totals)


def test_a_flooder_gets_all_that_the_others_leave() -> None:
    flooder, flooding = flood(rate=FLOOD, tokens=TOKENS)
    _, arrivals = users(1.4, 1)
    outcome = simulate([*arrivals, *flooding], slots=SLOTS)
    served = sum(map(len, outcome.totals.values()))
    assert served >= 0.95 * SLOTS * UNTIL / 2, "slots stood empty while requests waited"
    assert len(outcome.totals[flooder]) >= 0.55 * served


def test_two_flooders_share_by_their_weights() -> None:
    light, few = flood(rate=FLOOD, tokens=TOKENS)
    heavy, many = flood(rate=FLOOD, tokens=TOKENS, weight=3)
    outcome = simulate([*few, *many], slots=SLOTS, queue=400)
    ratio = outcome.served(heavy, until=UNTIL) / outcome.served(light, until=UNTIL)
    assert 2.6 <= ratio <= 3.4


def test_who_gets_answers_that_are_longer_than_expected_pays_afterwards() -> None:
    """Both ask without a pause; one has answers of 200 tokens, the other of 800, and both were expected to have 240."""
    short, one = flood(rate=FLOOD, tokens=TOKENS)
    long, other = flood(rate=FLOOD, tokens=4 * TOKENS)
    outcome = simulate([*one, *other], slots=SLOTS, queue=400)
    assert outcome.served(short, until=UNTIL) >= 2 * outcome.served(long, until=UNTIL)


def test_long_answers_of_a_flooder_keep_their_slots_and_refuse_nobody() -> None:
    """What has a slot is not interrupted: users wait for slots, but every one of them is served."""
    _, flooding = flood(rate=FLOOD / 10, tokens=10 * TOKENS)
    flows, _, together = both(1.4, 1, flooding)
    assert sum(together.refused.get(flow, 0) for flow in flows) == 0
    assert together.p99_wait(*flows) <= 1.5 * 10 * TOKENS / 100  # the longest answer, which began before they came


def test_a_higher_priority_goes_first_while_requests_wait() -> None:
    high = Flow("high", priority=1)
    wanted = poisson(high, rate=2.0, start=3.0, until=UNTIL, seed=5, expected=240, tokens=TOKENS)
    _, flooding = flood(rate=FLOOD, tokens=TOKENS)
    outcome = simulate([*wanted, *flooding], slots=SLOTS)
    assert outcome.p99_wait(high) <= 0.5  # a slot becomes free 32 times a second
