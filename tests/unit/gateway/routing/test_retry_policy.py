"""Which failed attempts are repeated, and how often."""

import pytest

from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind, Tries


def repeats(fault: AttemptFault, *, max_retries: int = 10) -> int:
    tries = Tries()
    count = 0
    while tries.may_retry(fault, max_retries):
        count += 1
    return count


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (AttemptFault(FaultKind.CONNECT, "refused"), 10),
        (AttemptFault(FaultKind.RESET, "closed"), 2),
        (AttemptFault(FaultKind.PROTOCOL_ERROR, "no HTTP"), 2),
        (AttemptFault(FaultKind.STATUS, "answered 502", 502), 10),
        (AttemptFault(FaultKind.STATUS, "answered 503", 503), 10),
        (AttemptFault(FaultKind.STATUS, "answered 504", 504), 10),
        (AttemptFault(FaultKind.STATUS, "answered 500", 500), 1),
        (AttemptFault(FaultKind.READ_TIMEOUT, "silent"), 0),
        (AttemptFault(FaultKind.STREAM_BROKEN, "broke off"), 10),
        (AttemptFault(FaultKind.DIFFERS, "its text differs"), 10),
    ],
)
def test_each_kind_has_its_own_limit(fault: AttemptFault, expected: int) -> None:
    assert repeats(fault) == expected


@pytest.mark.parametrize("kind", list(FaultKind))
def test_no_retries_means_none(kind: FaultKind) -> None:
    assert repeats(AttemptFault(kind, "", 503), max_retries=0) == 0


def test_the_limit_of_retries_counts_all_kinds_together() -> None:
    tries = Tries()
    assert tries.may_retry(AttemptFault(FaultKind.CONNECT, ""), 2)
    assert tries.may_retry(AttemptFault(FaultKind.STATUS, "", 503), 2)
    assert not tries.may_retry(AttemptFault(FaultKind.CONNECT, ""), 2)


def test_a_refused_repeat_is_not_counted() -> None:
    tries = Tries()
    assert not tries.may_retry(AttemptFault(FaultKind.READ_TIMEOUT, ""), 10)
    assert tries.retries == 0


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_stream_that_had_begun_is_known_to_be_answerable(kind: FaultKind) -> None:
    tries = Tries(answer_begun=True)
    count = 0
    while tries.may_retry(AttemptFault(kind, "", 500), 10):
        count += 1
    assert count == (0 if kind is FaultKind.READ_TIMEOUT else 10)
