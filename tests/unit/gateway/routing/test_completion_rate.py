"""Retry-After from what was observed."""

from llama_serving.gateway.routing.completion_rate import MAX_RETRY_AFTER, CompletionRate


def rate_of(ends: int, *, per_second: float, sample: int = 256) -> tuple[CompletionRate, float]:
    rate = CompletionRate(sample)
    now = 0.0
    for _ in range(ends):
        now += 1 / per_second
        rate.note(now)
    return rate, now


def test_without_any_end_it_is_the_longest() -> None:
    assert CompletionRate().retry_after(1, 100.0) == MAX_RETRY_AFTER


def test_it_is_the_time_that_the_queue_needs() -> None:
    rate, now = rate_of(100, per_second=10)
    assert rate.retry_after(50, now) in (5, 6)


def test_it_stays_between_one_second_and_the_longest() -> None:
    rate, now = rate_of(100, per_second=10)
    assert rate.retry_after(1, now) == 1
    assert rate.retry_after(10**6, now) == MAX_RETRY_AFTER


def test_old_ends_do_not_count() -> None:
    rate, now = rate_of(100, per_second=10)
    assert rate.per_second(now + 120) == 0.0


def test_the_sample_is_bounded_and_the_rate_is_right_all_the_same() -> None:
    rate, now = rate_of(10_000, per_second=1000)
    assert 900 < rate.per_second(now) < 1100


def test_two_ends_at_once_are_no_high_rate() -> None:
    rate = CompletionRate()
    rate.note(5.0)
    rate.note(5.0)
    assert rate.per_second(5.001) == 2.0
