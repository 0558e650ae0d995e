"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v2) with an external metric of type AverageValue.

Source: kubernetes/kubernetes pkg/controller/podautoscaler, horizontal.go and replica_calculator.go
(GetExternalPerPodMetricReplicas), and the documented defaults: every 15 s

    ratio = metric / (target x replicas); within 10 % of 1 nothing changes; else wanted = ceil(metric / target)

Up: at once, at most to the larger of double and 4 more than 15 s ago. Down: to the largest number wanted within the
last 300 s, at most all of them in 15 s. The metric is requests in flight and waiting, as the gateways export them.
There is no default target for such a metric; 80 % of the slots is taken, as 80 % is the default for CPU.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from llama_operator.replay.baselines.window import Window
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen, clamp


@dataclass(frozen=True)
class Settings:
    """Fields of the HPA's behaviour; times in seconds."""

    target: float | None = None  # requests for each group; None: 80 % of the slots
    tolerance: float = 0.1
    down_window: float = 300.0
    up_window: float = 0.0
    up_percent: float = 100.0
    up_pods: int = 4
    period: float = 15.0


@dataclass
class Hpa:
    """State of the rule."""

    parameters: Parameters
    settings: Settings
    initial: int
    interval: float = 15.0
    raised: Window = field(init=False)
    wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.raised = Window(self.settings.period)
        self.wanted.append((0.0, self.initial))  # as the controller does, so that it does not begin with a fall

    def watch(self, seen: Seen) -> None:
        """Ignore readings: the rule remembers decisions only."""

    def metric(self, seen: Seen) -> float:
        """Return the metric that is to be at ``target`` for each group."""
        return float(seen.load.in_flight + seen.load.waiting)

    def decide(self, seen: Seen) -> int:
        """Apply the rule above."""
        current = seen.target
        if not current:  # an HPA is switched off at zero; who scales to zero wakes it, and here that is the minimum
            return clamp(0, self.parameters)
        wanted = clamp(self._recommended(self.metric(seen), current), self.parameters)
        number = self._limited(seen.now, current, self._stabilised(seen.now, current, wanted))
        if number > current:
            self.raised.add(seen.now, number - current)
        return clamp(number, self.parameters)

    def _recommended(self, metric: float, current: int) -> int:
        target = self.settings.target or 0.8 * self.parameters.slots
        if abs(metric / (target * current) - 1.0) <= self.settings.tolerance:
            return current
        return max(1, math.ceil(metric / target))

    def _stabilised(self, now: float, current: int, wanted: int) -> int:
        settings = self.settings
        up = wanted >= current
        span = settings.up_window if up else settings.down_window
        past = [number for time, number in self.wanted if time > now - span]
        self.wanted.append((now, wanted))
        longest = max(settings.up_window, settings.down_window)
        while self.wanted and self.wanted[0][0] <= now - longest:
            self.wanted.popleft()
        return min([wanted, *past]) if up else max([wanted, *past])

    def _limited(self, now: float, current: int, number: int) -> int:
        if number <= current:
            return number
        self.raised.prune(now)
        before = current - self.raised.sum()
        limit = max(before + self.settings.up_pods, math.ceil(before * (1.0 + self.settings.up_percent / 100.0)))
        return max(current, min(number, int(limit)))
