"""Limits per minute and at a time: of one gateway, and of several together."""

from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config.access.rules import AccessLimits
from llama_serving.gateway.access.pure.account import CONCURRENT, REQUESTS, TOKENS, Account
from llama_serving.gateway.access.pure.bucket import MINUTE, Bucket

STEPS = st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 500), st.floats(-200, 400)), max_size=60)


@given(limit=st.integers(1, 300), steps=STEPS)
def test_whatever_was_expected_the_rate_is_kept(limit: int, steps: list[tuple[float, float, float]]) -> None:
    """What was taken never exceeds the limit, a minute's burst, and what the last request cost too much."""
    bucket, now, taken, over = Bucket(limit, 0.0), 0.0, 0.0, 0.0
    for seconds, cost, more in steps:
        now += seconds
        wait = bucket.take(cost, now)
        if wait:
            assert bucket.take(cost, now + wait * 0.99) > 0, "there was enough before"
            now += wait * 0.99
            continue
        more = max(more, -cost)
        bucket.settle(more)
        taken += cost + more
        over = max(over, cost + more)
        assert taken <= limit + now * limit / MINUTE + over + 1e-6


def test_a_request_larger_than_the_limit_goes_when_the_bucket_is_full_and_is_paid_back() -> None:
    bucket = Bucket(100, 0.0)
    assert bucket.take(250, 0.0) == 0
    assert bucket.level == -150
    assert bucket.take(10, 0.0) == (10 + 150) * MINUTE / 100
    assert bucket.take(10, 96.0) == 0


def exchange(buckets: list[Bucket], told: list[float], now: float) -> list[float]:
    """Let all gateways hear of each other; return what each has told so far."""
    used = [bucket.used for bucket in buckets]
    for bucket in buckets:
        for other, before, after in zip(buckets, told, used, strict=True):
            if other is not bucket:
                bucket.hear(after - before, now)
        bucket.sync(now, peers=len(buckets), reached=len(buckets))
    return used


@given(
    limit=st.integers(20, 300),
    gateways=st.integers(2, 5),
    seconds=st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 20)), max_size=25), max_size=20),
)
def test_several_gateways_keep_one_limit_within_one_request_each(
    limit: int, gateways: int, seconds: list[list[tuple[int, int]]]
) -> None:
    """In every second some requests arrive anywhere; at its end all tell each other."""
    buckets = [Bucket(limit, 0.0) for _ in range(gateways)]
    told = [0.0] * gateways
    taken = 0.0
    for bucket in buckets:
        bucket.sync(0.0, peers=gateways, reached=gateways)
    for second, arrivals in enumerate(seconds):
        for where, cost in arrivals:
            if buckets[where % gateways].take(cost, float(second)) == 0:
                taken += cost
        assert taken <= limit + second * limit / MINUTE + (gateways - 1) * 20 + 1e-6
        told = exchange(buckets, told, second + 1.0)
        levels = [bucket.level for bucket in buckets]
        assert max(levels) - min(levels) <= limit / MINUTE + 1e-6, "they differ by more than a second refills"


def test_gateways_that_hear_of_nobody_keep_their_share() -> None:
    bucket = Bucket(120, 0.0)
    bucket.sync(0.0, peers=3, reached=1)
    assert bucket.take(40, 0.0) == 0
    assert bucket.take(1, 0.0) > 0
    assert bucket.take(40, 60.0) == 0, "a third of the limit per minute"
    bucket.sync(60.0, peers=3, reached=3)
    assert bucket.take(1, 61.0) == 0


def account(**limits: int) -> Account:
    return Account("team", AccessLimits(**limits), 0.0)


def test_each_denial_says_which_limit_its_value_and_when_there_is_more() -> None:
    one = account(requests_per_minute=2, tokens_per_minute=600, concurrent_requests=2)
    assert one.begin(0.0) is None
    assert one.begin(0.0) is None
    denial = one.begin(0.0)
    assert denial is not None
    assert (denial.limit, denial.value, denial.seconds) == (REQUESTS, 2, 30.0)
    assert one.reserve(600, 0.0) is None
    denial = one.reserve(100, 0.0)
    assert denial is not None
    assert (denial.limit, denial.value, denial.seconds) == (TOKENS, 600, 10.0)
    assert denial.message == (
        "the limit of 600 tokens per minute is reached: 0 are left and this request is expected to take 100"
    )
    one.visits |= {1, 2}
    denial = one.begin(60.0)
    assert denial is not None
    assert (denial.limit, denial.value) == (CONCURRENT, 2)
    assert one.totals.refused == {REQUESTS: 1, TOKENS: 1, CONCURRENT: 1}


def test_what_runs_elsewhere_counts() -> None:
    one = account(concurrent_requests=4)
    one.sync(0.0, peers=2, reached=2, elsewhere=3)
    assert one.begin(0.0) is None
    one.visits.add(1)
    assert one.begin(0.0) is not None
    one.visits.clear()
    one.sync(1.0, peers=2, reached=2, elsewhere=4)
    assert one.begin(1.0) is not None
    one.sync(2.0, peers=2, reached=1, elsewhere=0)
    assert one.begin(2.0) is None


def test_clients_are_told_what_is_left_as_openai_tells_them() -> None:
    one = account(requests_per_minute=60, tokens_per_minute=6000)
    one.begin(0.0)
    one.reserve(600, 0.0)
    assert one.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1.0s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5400",
        "x-ratelimit-reset-tokens": "6.0s",
    }
    assert account().headers() == {}
