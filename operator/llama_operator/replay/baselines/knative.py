"""Knative's pod autoscaler (KPA), concurrency metric.

Source: knative/serving pkg/autoscaler/scaling/autoscaler.go (Scale) and the defaults of its ConfigMap
config-autoscaler: every 2 s, with c the mean concurrency (queue at the activator included) of the stable window (60 s)
and of the panic window (10 % of it), and target = the pod's hard limit x target utilisation (70 %):

    stable = ceil(c_stable / target), panic = ceil(c_panic / target), both within [ready / 2, ready x 1000]

From panic / ready >= 200 % on, for a stable window after it was last so, the larger of both counts and the number never
falls. A scale-down delay (default 0) takes the largest number of that time. To zero: 30 s after the number became 0.
"""

import math
from dataclasses import dataclass, field

from llama_operator.replay.baselines.window import Window
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen, clamp


@dataclass(frozen=True)
class Settings:
    """Names and defaults of config-autoscaler; times in seconds."""

    utilisation: float = 0.7
    stable: float = 60.0
    panic_share: float = 0.1
    panic_threshold: float = 2.0
    up_rate: float = 1000.0
    down_rate: float = 2.0
    down_delay: float = 0.0
    zero_grace: float = 30.0


@dataclass
class Knative:
    """State of the rule."""

    parameters: Parameters
    settings: Settings
    initial: int
    interval: float = 2.0
    stable: Window = field(init=False)
    panic: Window = field(init=False)
    delayed: Window = field(init=False)
    panicked: float | None = None  # when it was last over the threshold
    most: int = 0  # in this panic
    emptied: float | None = None  # since when the number is 0

    def __post_init__(self) -> None:
        self.stable = Window(self.settings.stable)
        self.panic = Window(self.settings.stable * self.settings.panic_share)
        self.delayed = Window(self.settings.down_delay)
        if self.initial > 1:  # an autoscaler that finds several pods begins in a panic, so as not to lose them
            self.panicked, self.most = 0.0, self.initial

    def watch(self, seen: Seen) -> None:
        """Add the mean concurrency of the second."""
        self.stable.add(seen.now, seen.concurrency)
        self.panic.add(seen.now, seen.concurrency)

    def decide(self, seen: Seen) -> int:
        """Apply the rule above."""
        ready = max(1, seen.groups.serving)
        target = self.parameters.slots * self.settings.utilisation
        wanted = math.ceil(self.stable.mean() / target)
        urgent = math.ceil(self.panic.mean() / target)
        number = self._number(seen.now, ready, wanted=wanted, urgent=urgent)
        if self.settings.down_delay:
            self.delayed.add(seen.now, number)
            number = int(self.delayed.max())
        return clamp(self._graced(seen, number), self.parameters)

    def _number(self, now: float, ready: int, *, wanted: int, urgent: int) -> int:
        settings = self.settings
        least, largest = math.floor(ready / settings.down_rate), math.ceil(ready * settings.up_rate)
        if urgent / ready >= settings.panic_threshold:
            self.panicked = now
        elif self.panicked is not None and self.panicked + settings.stable < now:
            self.panicked, self.most = None, 0
        number = min(max(wanted, least), largest)
        if self.panicked is None:
            return number
        self.most = max(self.most, number, min(max(urgent, least), largest))
        return self.most

    def _graced(self, seen: Seen, number: int) -> int:
        if number or not seen.target:
            self.emptied = None
            return number
        self.emptied = seen.now if self.emptied is None else self.emptied
        return 0 if seen.now - self.emptied >= self.settings.zero_grace else 1
