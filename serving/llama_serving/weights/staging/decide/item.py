"""What a stager knows of one item of its queue."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from llama_serving.config.backoff import doubling_pause
from llama_serving.config.desired import StagedWeights
from llama_serving.config.reasons import StagingReason
from llama_serving.config.wording import bytes_text
from llama_serving.weights.staging.decide.artifact import Artifact, reference
from llama_serving.weights.staging.decide.errors import RetryLater, StagingRefused
from llama_serving.weights.staging.decide.progress import StagingProgress
from llama_serving.weights.staging.decide.rate import progress_text, seconds_left

WAITING, WORKING, READY, REFUSED = "waiting", "working", "ready", "refused"
_LONGEST_PAUSE: Final = 600.0  # seconds
_ABOUT_THE_FILES: Final = frozenset({StagingReason.DIGEST_DIFFERS, StagingReason.WEIGHTS_UNREADABLE})


@dataclass
class QueueItem:
    """One item, from the first desired state that names it to the last."""

    artifact: Artifact
    progress: StagingProgress
    ready: bool = False
    files: Hashable = None  # fingerprint of what was verified, or refused
    failure: StagingRefused | RetryLater | None = None  # of the last attempt
    not_before: float = 0.0  # no new attempt earlier
    refusals: int = 0

    @property
    def bytes_needed(self) -> int:
        """Bytes that the volume had no space for in the last attempt; 0 where space was not what it lacked."""
        return self.failure.bytes_needed if isinstance(self.failure, StagingRefused) else 0

    def mark_ready(self, files: Hashable) -> None:
        """Note that the attempt returned."""
        self.ready, self.files, self.failure, self.refusals = True, files, None, 0
        self.progress.done = self.progress.total

    def mark_failed(self, failure: StagingRefused | RetryLater, *, files: Hashable, now: float) -> None:
        """Note that the attempt raised ``failure``. The pause doubles with each refusal in a row.

        ``files`` is the fingerprint of a mounted folder that was refused: the same files would be refused again.
        """
        self.ready, self.files, self.failure = False, files, failure
        if isinstance(failure, RetryLater):
            self.not_before = now + failure.after
            return
        if files is not None and failure.reason in _ABOUT_THE_FILES:
            self.not_before = math.inf
            return
        # A look at the free space is cheap, and space comes when a user makes it: the pause never grows.
        self.refusals = 1 if failure.bytes_needed else self.refusals + 1
        self.not_before = now + doubling_pause(self.refusals, first=failure.again, longest=_LONGEST_PAUSE)

    def mark_changed(self) -> None:
        """Note that the files have changed since they were verified or refused: they are verified anew, now."""
        self.ready, self.failure, self.not_before, self.refusals = False, None, 0.0, 0

    def status(self, *, running: bool) -> StagedWeights:
        """Return what is reported to the supervisor; ``running``: an attempt works on this item."""
        outcome, reason, message = self._outcome(running=running)
        working = outcome == WORKING
        left = self.progress.total - self.progress.done
        rate = self.progress.meter.rate if working else 0.0
        return StagedWeights(
            digest=reference(self.artifact).digest,
            id=reference(self.artifact).id,
            outcome=outcome,
            reason=reason,
            message=message,
            bytes_done=max(0, self.progress.done),
            bytes_total=self.progress.total,
            bytes_read=self.progress.read,
            bytes_per_second=round(rate),
            seconds_left=seconds_left(left=left, rate=rate) if working and self.progress.total else None,
        )

    def _outcome(self, *, running: bool) -> tuple[str, str, str]:
        if self.ready:
            return READY, "", f"{bytes_text(self.progress.total)} verified"
        if running and self.progress.waiting:
            return WAITING, self.progress.last_failure, self.progress.waiting
        if self.failure is not None and not (running and self.progress.under_way):
            outcome = REFUSED if isinstance(self.failure, StagingRefused) else WAITING
            return outcome, self.failure.reason, self.failure.message
        if running:
            return WORKING, "", self._progress_message()
        return WAITING, "", "waits until other weights are staged"

    def _progress_message(self) -> str:
        progress = self.progress
        if not progress.total:
            return progress.activity
        done = max(0, progress.done)
        return progress_text(progress.activity, done=done, total=progress.total, rate=progress.meter.rate)
