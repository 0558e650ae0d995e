"""Ray Serve's default policy (``ray.serve.autoscaling_policy.default_autoscaling_policy``) and its defaults.

Source: ray 2.60.0, serve/autoscaling_policy.py and serve/config.py (AutoscalingConfig). With r the mean number of
requests running and queued over the last 30 s (look_back_period_s) and n the running replicas:

    wanted = ceil(n + factor x (r / target - n)), target_ongoing_requests 2, both factors 1

A number above the present target counts after it was so for 30 s (upscale_delay_s), one below after 600 s
(downscale_delay_s), each time without a break. With no replica running and something queued it is ceil(factor) at once.
Serve decides every 0.1 s on metrics that come every 10 s; here once a second, on the mean of every second.
``tests/serving`` compares this with the code of the installed Ray.
"""

import math
from dataclasses import dataclass, field

from llama_operator.replay.baselines.window import Window
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Seen, clamp

_EPSILON = 1e-6  # seconds; Ray allows as much for rounding


@dataclass(frozen=True)
class Settings:
    """Names and defaults of AutoscalingConfig; times in seconds."""

    target: float = 2.0
    look_back: float = 30.0
    up_delay: float = 30.0
    down_delay: float = 600.0
    zero_delay: float | None = None  # from one to none; None: as down_delay
    up_factor: float = 1.0
    down_factor: float = 1.0


@dataclass(frozen=True)
class Delay:
    """Since when the wanted number has been above (+1) or below (-1) the target."""

    direction: int = 0
    since: float = 0.0


def step(
    settings: Settings, delay: Delay, *, requests: float, running: int, target: int, now: float
) -> tuple[int, Delay]:
    """One decision, limits not yet applied: the new target and what to remember."""
    if not running:
        number = max(math.ceil(settings.up_factor), target) if requests > 0 else target
        return number, delay if number else Delay()
    # In Ray's order, for the same last bit: what is rounded up may be a whole number.
    wanted = _scaled(settings, running * (requests / (settings.target * running)), running)
    direction = (wanted > target) - (wanted < target)
    if not direction:
        return target, Delay()
    delay = delay if delay.direction == direction else Delay(direction, now)
    wait = settings.up_delay
    if direction < 0:
        last = target == 1
        wait = settings.zero_delay if last and settings.zero_delay is not None else settings.down_delay
        wanted = wanted if last else max(1, wanted)
    if now - delay.since + _EPSILON >= wait:
        return wanted, Delay()
    return target, delay


def _scaled(settings: Settings, wanted: float, running: int) -> int:
    change = wanted - running
    scaled = math.ceil(running + (settings.up_factor if change > 0 else settings.down_factor) * change)
    if math.ceil(wanted) < running and scaled == running:
        scaled -= 1
    return max(0, scaled)


@dataclass
class Ray:
    """State of the rule."""

    parameters: Parameters
    settings: Settings
    interval: float = 1.0
    requests: Window = field(init=False)
    delay: Delay = Delay()

    def __post_init__(self) -> None:
        self.requests = Window(self.settings.look_back)

    def watch(self, seen: Seen) -> None:
        """Add the requests running and queued."""
        self.requests.add(seen.now, seen.concurrency)

    def decide(self, seen: Seen) -> int:
        """Apply the rule above."""
        number, self.delay = step(
            self.settings,
            self.delay,
            requests=self.requests.mean(),
            running=seen.groups.serving,
            target=seen.target,
            now=seen.now,
        )
        return clamp(number, self.parameters)
