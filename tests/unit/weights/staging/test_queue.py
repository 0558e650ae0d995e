"""What is worked on next, what is protected, and what a stager says of it."""

from itertools import pairwise

import pytest

from llama_serving.config.desired import DesiredState, WeightsArtifact
from llama_serving.config.reasons import StagingReason
from llama_serving.config.wording import bytes_text
from llama_serving.weights.staging.decide.errors import RetryLater, StagingRefused, disk_full
from llama_serving.weights.staging.decide.item import QueueItem
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.queue import choose, protected, wanted
from llama_serving.weights.staging.decide.rate import RateMeter, progress_text, seconds_left
from tests.fakes.staging import Time, checkpoint

A, B, C = (checkpoint(seed=seed, layers=2, shards=1).item() for seed in (1, 2, 3))


def desired(*staged: WeightsArtifact, serve: WeightsArtifact) -> DesiredState:
    return DesiredState(serve=serve.weights, staged=staged)


@pytest.mark.parametrize(
    ("told", "configured", "expected"),
    [
        (None, None, ()),
        (None, A, (A,)),
        (desired(B, A, serve=A), A, (A, B)),  # what serves comes first: a group that starts again waits for it
        (desired(B, A, serve=B), A, (B, A)),
        (desired(B, C, serve=A), A, (B, C)),
        (desired(B, B, A, serve=A), None, (A, B)),
        (desired(serve=A), A, ()),
    ],
)
def test_the_desired_state_replaces_what_was_configured(
    told: DesiredState | None, configured: WeightsArtifact | None, expected: tuple[WeightsArtifact, ...]
) -> None:
    assert wanted(told, configured) == expected


def test_what_serves_is_protected_even_when_nobody_asks_to_stage_it() -> None:
    assert protected(desired(B, serve=A), None) == {A.weights.digest, B.weights.digest}
    assert protected(None, C) == {C.weights.digest}


@pytest.mark.parametrize(
    ("ready", "not_before", "chosen"),
    [([], {}, "a"), (["a"], {}, "b"), ([], {"a": 11.0}, "b"), ([], {"a": 10.0}, "a"), (["a"], {"b": 11.0}, None)],
)
def test_the_first_that_can_be_worked_on(ready: list[str], not_before: dict[str, float], chosen: str | None) -> None:
    assert choose(["a", "b"], ready=ready, not_before=not_before, now=10.0) == chosen


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_400_000_000, "3.4 GB"), (512_000_000, "512 MB")],
)
def test_sizes(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_the_sentence_has_the_numbers() -> None:
    text = progress_text("downloading", done=1_200_000_000, total=3_400_000_000, rate=220_000_000.0)
    assert text == "downloading: 1.2 of 3.4 GB, 220 MB/s, 10 s left"
    assert progress_text("downloading", done=0, total=3_400, rate=0.0) == "downloading: 0.0 of 3.4 kB"


def test_seconds_left() -> None:
    assert seconds_left(left=0, rate=0.0) == 0.0
    assert seconds_left(left=10, rate=0.0) is None
    assert seconds_left(left=10, rate=5.0) == 2.0


def test_the_rate_follows_a_change_within_some_seconds_and_does_not_jump() -> None:
    meter, rates = RateMeter(began=0.0), []
    for step in range(1, 121):
        meter.add(50 if step <= 60 else 10, now=step * 0.5)
        rates.append(meter.rate)
    assert rates[59] == pytest.approx(100.0)
    assert rates[119] == pytest.approx(20.0, abs=1.0)
    assert all(abs(after - before) < 15 for before, after in pairwise(rates))


def test_a_burst_in_no_time_is_no_rate() -> None:
    meter = RateMeter(began=0.0)
    meter.add(10**9, now=0.0)
    assert meter.rate == 0.0


def queue_item() -> QueueItem:
    return QueueItem(A, StagingProgress(Time()))


def outcome(of: QueueItem, *, running: bool = False) -> tuple[str, str]:
    shown = of.status(running=running)
    return shown.outcome, shown.reason


def test_an_item_from_its_first_mention_to_its_end() -> None:
    mine = queue_item()
    assert outcome(mine) == ("waiting", "")
    assert outcome(mine, running=True) == ("working", "")
    mine.progress.set_waiting("429: asked too often; trying again in 3.0 s")
    mine.progress.last_failure = StagingReason.WEIGHTS_BUSY
    assert outcome(mine, running=True) == ("waiting", "WeightsBusy")
    mine.progress.add_read(5)
    assert outcome(mine, running=True) == ("working", "")
    mine.mark_ready("files")
    assert outcome(mine) == ("ready", "")


def test_a_refusal_stays_visible_until_a_new_attempt_gets_further() -> None:
    mine = queue_item()
    mine.mark_failed(StagingRefused(StagingReason.DISK_FULL, "needs 3 GB", again=5.0), files=None, now=100.0)
    assert outcome(mine) == ("refused", "DiskFull")
    mine.progress.begin("listing the files of the source")
    assert outcome(mine, running=True) == ("refused", "DiskFull")
    mine.progress.begin("downloading", total=10, under_way=True)
    assert outcome(mine, running=True) == ("working", "")


def test_refusals_are_looked_at_less_and_less_often_and_waits_as_they_ask() -> None:
    mine = queue_item()
    pauses = []
    for _ in range(6):
        mine.mark_failed(StagingRefused(StagingReason.WEIGHTS_DENIED, "401"), files=None, now=0.0)
        pauses.append(mine.not_before)
    assert pauses == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    for _ in range(3):
        mine.mark_failed(disk_full("needs 3 GB", bytes_needed=3), files=None, now=0.0)
        assert (mine.not_before, mine.bytes_needed) == (5.0, 3)
    mine.mark_failed(RetryLater(StagingReason.WEIGHTS_BUSY, "429", after=7.0), files=None, now=50.0)
    assert mine.not_before == 57.0


def test_files_that_were_judged_wrong_are_judged_again_only_when_they_change() -> None:
    mine = queue_item()
    mine.mark_failed(StagingRefused(StagingReason.DIGEST_DIFFERS, "differs"), files="these", now=0.0)
    assert mine.not_before == float("inf")
    mine.mark_changed()
    assert mine.not_before == 0.0
    assert outcome(mine) == ("waiting", "")
