"""How far the work on some weights is; written by those who work, read by the one who reports."""

from collections.abc import Callable
from dataclasses import dataclass, field

from llama_serving.config.reasons import StagingReason
from llama_serving.weights.staging.decide.rate import Meter


@dataclass
class Gauge:
    """Bytes since the stager's start; ``clock`` gives seconds."""

    clock: Callable[[], float]
    verb: str = "looking at the source"
    total: int = 0  # that the stage needs; 0 while it is not known
    done: int = 0  # of them, on the disk and not known to be wrong
    read: int = 0  # from the source, whatever became of them
    trouble: StagingReason = StagingReason.WEIGHTS_BROKEN  # the source's last
    waiting: str = ""  # why nothing comes right now; one sentence
    under_way: bool = False  # all that can be checked beforehand is fine
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.clock())

    def begin(self, verb: str, *, total: int = 0, done: int = 0, under_way: bool = False) -> None:
        """A new piece of work; what was read stays counted."""
        self.verb, self.total, self.done, self.waiting, self.under_way = verb, total, done, "", under_way
        self.meter = Meter(self.clock())

    def came(self, count: int) -> None:
        """Bytes came from the source."""
        self.read += count
        self.waiting = ""

    def advance(self, count: int) -> None:
        """Bytes that are needed were dealt with; negative when they turned out to be wrong."""
        self.done += count
        self.meter.add(max(count, 0), now=self.clock())

    def wait(self, sentence: str) -> None:
        """Nothing comes for a while."""
        self.waiting = sentence
