"""What the readings of the load say about groups: how many are needed, now and for a scale-down.

Work is counted in slot-seconds per second, so in slots: requests per second (plan/forecast.py) times the seconds that
a request takes, as measured at the present load. What waits is weighted by the answer tokens that it is expected to
get and the measured seconds per token. Before anything was measured, each request in flight or waiting takes a slot.

Two answers are kept apart: ``now`` takes the load that is certain (or certain to come within the horizon), ``hold``
the highest that is likely, and of that the most within the last ``keep`` seconds. Groups are added up to the former
and taken away down to the latter; in between nothing changes. Time is what the readings span, so a clock that jumps
changes nothing, and a reading that spans long counts ``LONGEST`` seconds at most.
"""

from dataclasses import dataclass, field, replace
from math import ceil, exp

from llama_operator.plan.autoscaling import forecast, sizing
from llama_operator.plan.autoscaling.forecast import Rates
from llama_operator.plan.autoscaling.load import Load

CERTAIN = 2.0  # errors by which the load is at least so high, now and as a line into the future
LIKELY = 1.0  # errors up to which it may be higher
SHARE = 0.008  # of requests that may wait too long by the formula; the rest to 1 % is for what it does not foresee
DRAIN = 5.0  # a queue shall be gone this part of a start after the groups ordered for it serve
LONGEST = 30.0  # seconds that one reading counts at most
PARTS = 8  # buckets of the window for a scale-down


@dataclass(frozen=True)
class Windows:
    """Times in seconds, derived from the time that a start takes unless they are asked for."""

    horizon: float  # until a group ordered now serves
    stable: float  # the longest window of the load
    panic: float  # the shortest
    keep: float  # how far back the need is looked at before a scale-down
    cooldown: float  # between a change and a scale-down
    wait: float

    @property
    def taus(self) -> tuple[float, ...]:
        """Time constants of the levels."""
        return forecast.constants(self.panic, self.stable)


@dataclass(frozen=True)
class DemandHistory:
    """What readings leave behind, of fixed size. Volatile: a fresh one allows no scale-down before it is old enough."""

    rates: Rates = field(default_factory=Rates)
    served_requests: float = 0.0  # old ones count less, here and in the next two
    served_seconds: float = 0.0
    served_tokens: float = 0.0
    busy: float = 0.0  # mean requests in flight while none waits: what makes up for a queue is not what the load takes
    peaks: tuple[int, ...] = ()  # most groups needed in each part of ``keep``
    part: tuple[float, int] = (0.0, 0)  # seconds of the part that runs now, and its most
    age: float = 0.0
    quiet: float = 0.0  # seconds without any request
    raised: float = float("inf")  # seconds since the target was last raised
    lowered: float = float("inf")


@dataclass(frozen=True)
class Needs:
    """Groups that are needed, and the figures behind."""

    now: int  # for the load that is certain
    later: int  # for the load that will come within the horizon
    queue: int  # for what waits
    hold: int  # for the highest load that is likely
    work: float  # slots that the certain load takes
    waiting: float  # slot-seconds that wait
    service: float  # seconds of a slot per request; 0: not known
    burst: float


def learned(memory: DemandHistory, load: Load, windows: Windows) -> DemandHistory:
    """The memory after a reading, all but the peaks."""
    span = min(max(0.0, load.span), LONGEST)
    busy = load.in_flight + load.waiting
    if not span:
        return memory
    feed = forecast.fed if load.known else forecast.raised
    rate, bucket = load.arrived / max(load.span, 1e-3), _bucket(memory, windows)
    rates = feed(memory.rates, rate=rate, span=span, taus=windows.taus, bucket=bucket)
    fade = exp(-2 * span / windows.stable)
    share = 1 - exp(-span / min(windows.stable / 2, max(2 * (service_seconds(memory) or 0.0), 30.0)))
    changed = replace(
        memory,
        rates=rates,
        served_requests=memory.served_requests * fade + load.served,
        served_seconds=memory.served_seconds * fade + load.served_seconds,
        served_tokens=memory.served_tokens * fade + load.served_answer_tokens,
        raised=memory.raised + span,
        lowered=memory.lowered + span,
    )
    mean = busy if not memory.age else memory.busy + (0.0 if load.waiting else share) * (busy - memory.busy)
    if not load.known:
        return replace(changed, busy=max(memory.busy, mean), quiet=0.0)
    quiet = 0.0 if busy or load.arrived else memory.quiet + span
    return replace(changed, busy=mean, quiet=quiet, age=memory.age + span)


def _bucket(memory: DemandHistory, windows: Windows) -> float:
    """V is measured over the time in which a burst makes others wait: about a service time, 60 s at most."""
    return min(60.0, max(windows.wait, service_seconds(memory) or windows.wait))


def service_seconds(memory: DemandHistory) -> float | None:
    """Seconds of a slot that a request takes; None before one was served."""
    return memory.served_seconds / memory.served_requests if memory.served_requests > 1e-6 else None


def seconds_per_token(memory: DemandHistory) -> float | None:
    """Seconds of a slot per answer token, the prompt's share included; None before one was served."""
    return memory.served_seconds / memory.served_tokens if memory.served_tokens > 1e-6 else None


def needs(
    before: DemandHistory, after: DemandHistory, load: Load, *, windows: Windows, slots: int, most: int,
    speed: float | None, serving: int, due: tuple[float, ...],
) -> Needs:  # fmt: skip
    """What a reading asks for. ``speed``: seconds per token known from earlier; ``due``: as in plan/sizing.py."""
    service = service_seconds(after)
    if service is None or not after.rates.age:
        return _unmeasured(load, windows=windows, slots=slots, most=most, speed=speed, serving=serving, due=due)
    v, burst = forecast.variance(before.rates), forecast.burst(before.rates)
    sure = forecast.bounds(after.rates, v=v, burst=burst, z=CERTAIN)[0] * service
    coming = max(sure, forecast.ahead(after.rates, v=v, burst=burst, z=CERTAIN, horizon=windows.horizon) * service)
    likely = forecast.below(after.rates, v=v, z=LIKELY) * service
    hold = max(likely, coming, after.busy)

    def groups(rho: float) -> int:
        found = sizing.groups_for(
            rho, burst=burst, service=service, wait=windows.wait, slots=slots, share=SHARE, most=most
        )
        if windows.horizon > windows.wait:
            return found
        return min(found, sizing.groups_to_catch(
            rho, burst=burst, service=service, wait=windows.wait, horizon=windows.horizon, slots=slots, most=most
        ))  # fmt: skip

    waiting = _work(load, service, seconds_per_token(after) or speed)
    queue = sizing.groups_for_queue(
        waiting, rho=sure, slots=slots, serving=serving, due=due, horizon=windows.horizon, wait=windows.wait,
        within=max(windows.wait, windows.horizon / DRAIN),
    )  # fmt: skip
    return Needs(
        now=groups(sure), later=groups(coming), queue=min(most, queue), hold=groups(hold),
        work=coming, waiting=waiting, service=service, burst=burst,
    )  # fmt: skip


def _unmeasured(
    load: Load, *, windows: Windows, slots: int, most: int, speed: float | None, serving: int, due: tuple[float, ...]
) -> Needs:
    """Nothing was served yet: a slot for each request, or what waits by the speed known from earlier."""
    busy = load.in_flight + load.waiting
    plain = min(most, ceil(busy / slots))
    if speed is None or not load.waiting_answer_tokens:
        queue, work = plain if load.waiting else 0, 0.0
    else:
        work = load.waiting_answer_tokens * speed
        queue = sizing.groups_for_queue(
            work, rho=load.in_flight, slots=slots, serving=serving, due=due,
            horizon=windows.horizon, wait=windows.wait, within=max(windows.wait, windows.horizon),
        )  # fmt: skip
    now = min(most, ceil(load.in_flight / slots))
    return Needs(
        now=now,
        later=now,
        queue=min(most, queue),
        hold=plain,
        work=load.in_flight,
        waiting=work,
        service=0.0,
        burst=1.0,
    )


def _work(load: Load, service: float, speed: float | None) -> float:
    """Slot-seconds that wait."""
    if speed is None or not load.waiting_answer_tokens:
        return load.waiting * service
    return load.waiting_answer_tokens * speed


def watched(memory: DemandHistory, needed: int, span: float, keep: float) -> DemandHistory:
    """The memory with what a scale-down would have needed during this reading."""
    seconds, most = memory.part[0] + min(span, LONGEST), max(memory.part[1], needed)
    if seconds < keep / PARTS:
        return replace(memory, part=(seconds, most))
    return replace(memory, part=(0.0, needed), peaks=(*memory.peaks, most)[-PARTS:])


def held(memory: DemandHistory) -> int:
    """Most groups that were needed within ``keep``."""
    return max((memory.part[1], *memory.peaks))
