"""How far the work on some weights is; the attempt writes it, the stager's report reads it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from llama_serving.config.reasons import StagingReason
from llama_serving.weights.staging.decide.rate import RateMeter


@dataclass
class StagingProgress:
    """Bytes since the stager's start; ``clock`` gives seconds."""

    clock: Callable[[], float]
    activity: str = "listing the files of the source"
    total: int = 0  # that the stage needs; 0 while it is not known
    done: int = 0  # of them, on the disk and not known to be wrong
    read: int = 0  # from the source, kept or not
    last_failure: StagingReason = StagingReason.WEIGHTS_BROKEN  # the source's last
    waiting: str = ""  # why nothing comes right now: a clause; empty where bytes come
    under_way: bool = False  # all checks that need no transfer have passed
    meter: RateMeter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = RateMeter(self.clock())

    def begin(self, activity: str, *, total: int = 0, done: int = 0, under_way: bool = False) -> None:
        """Begin a new piece of work; the bytes that were read stay counted."""
        self.activity, self.total, self.done, self.waiting, self.under_way = activity, total, done, "", under_way
        self.meter = RateMeter(self.clock())

    def add_read(self, count: int) -> None:
        """Count bytes that came from the source."""
        self.read += count
        self.waiting = ""

    def advance(self, count: int) -> None:
        """Count bytes that are needed and were dealt with; negative when they turned out to be wrong."""
        self.done += count
        self.meter.add(max(count, 0), now=self.clock())

    def set_waiting(self, sentence: str) -> None:
        """Note why nothing comes for a while."""
        self.waiting = sentence
