"""What a stager knows of one item of its wish."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from llama_serving.config.desired import StagedWeights, WeightsArtifact
from llama_serving.config.reasons import StagingReason
from llama_serving.weights.staging.decide.errors import NotYet, Refused
from llama_serving.weights.staging.decide.progress import Gauge
from llama_serving.weights.staging.decide.rate import seconds_left, sentence, size

WAITING, WORKING, READY, REFUSED = "waiting", "working", "ready", "refused"
_LONGEST_PAUSE: Final = 600.0
_OF_THE_FILES: Final = frozenset({StagingReason.DIGEST_DIFFERS, StagingReason.WEIGHTS_UNREADABLE})


@dataclass
class Entry:
    """One item, from its first mention to its last."""

    item: WeightsArtifact
    gauge: Gauge
    ready: bool = False
    files: Hashable = None  # fingerprint of what was verified, or refused
    verdict: Refused | NotYet | None = None  # of the last attempt
    not_before: float = 0.0  # no new attempt earlier
    refusals: int = 0

    @property
    def room(self) -> int:
        """Bytes that the volume had no room for when it was tried last; 0 where that was not the matter."""
        return self.verdict.room if isinstance(self.verdict, Refused) else 0

    def became_ready(self, files: Hashable) -> None:
        """The attempt returned."""
        self.ready, self.files, self.verdict, self.refusals = True, files, None, 0
        self.gauge.done = self.gauge.total

    def failed(self, verdict: Refused | NotYet, *, files: Hashable, now: float) -> None:
        """The attempt raised. A refusal that comes again is looked at less and less often.

        ``files`` is the fingerprint of a mounted folder that was judged: the same files would be judged the same.
        """
        self.ready, self.files, self.verdict = False, files, verdict
        if isinstance(verdict, NotYet):
            self.not_before = now + verdict.after
            return
        if files is not None and verdict.reason in _OF_THE_FILES:
            self.not_before = math.inf
            return
        # Room is cheap to look for, and comes when somebody makes it: always soon.
        self.refusals = 1 if verdict.room else self.refusals + 1
        self.not_before = now + min(verdict.again * 2 ** min(self.refusals - 1, 10), _LONGEST_PAUSE)

    def changed(self) -> None:
        """The files are others than those that were judged: judge them anew, now."""
        self.ready, self.verdict, self.not_before, self.refusals = False, None, 0.0, 0

    def shown(self, *, running: bool) -> StagedWeights:
        """What the supervisor is told."""
        outcome, reason, message = self._outcome(running=running)
        working = outcome == WORKING
        left = self.gauge.total - self.gauge.done
        rate = self.gauge.meter.rate if working else 0.0
        return StagedWeights(
            digest=self.item.weights.digest,
            id=self.item.weights.id,
            outcome=outcome,
            reason=reason,
            message=message,
            bytes_done=max(0, self.gauge.done),
            bytes_total=self.gauge.total,
            bytes_read=self.gauge.read,
            bytes_per_second=round(rate),
            seconds_left=seconds_left(left=left, rate=rate) if working and self.gauge.total else None,
        )

    def _outcome(self, *, running: bool) -> tuple[str, str, str]:
        if self.ready:
            return READY, "", f"{size(self.gauge.total)} verified"
        if running and self.gauge.waiting:
            return WAITING, self.gauge.trouble, self.gauge.waiting
        if self.verdict is not None and not (running and self.gauge.under_way):
            return (
                (REFUSED if isinstance(self.verdict, Refused) else WAITING),
                self.verdict.reason,
                self.verdict.message,
            )
        if running:
            return WORKING, "", self._progress()
        return WAITING, "", "waits until other weights are there"

    def _progress(self) -> str:
        gauge = self.gauge
        if not gauge.total:
            return gauge.verb
        return sentence(verb=gauge.verb, done=max(0, gauge.done), total=gauge.total, rate=gauge.meter.rate)
