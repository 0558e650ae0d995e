"""How many groups the load needs: now, for what will come, for the queue, and before a scale-down.

Work is counted in slot-seconds per second, so in slots: requests per second (forecast.py) times the seconds that a
request takes, as measured at the present load. The queue is weighted by the answer tokens that it is expected to get
and the measured seconds per token. Before anything was measured, each request in flight or waiting takes a slot.

Two answers are kept apart: ``now`` takes the load that is certain (or certain to come within the horizon), ``likely``
the highest that is likely, and of that the most within the last ``keep`` seconds. Groups are added up to the former
and removed down to the latter; in between nothing changes. Time is what the readings span, so a clock that jumps
changes nothing, and a reading that spans long counts ``LONGEST`` seconds at most.
"""

from dataclasses import dataclass, field, replace
from math import ceil, exp

from llama_operator.plan.autoscaling.formula import forecast, sizing
from llama_operator.plan.autoscaling.formula.forecast import ArrivalRates
from llama_operator.plan.autoscaling.formula.windows import Windows
from llama_operator.plan.autoscaling.load import Load

CERTAIN = 2.0  # errors by which the load is at least so high, now and as a line into the future
LIKELY = 1.0  # errors up to which it may be higher
DRAIN = 5.0  # a queue shall be gone this part of a start after the groups ordered for it serve
LONGEST = 30.0  # seconds that one reading counts at most
PARTS = 8  # buckets of the window for a scale-down


@dataclass(frozen=True)
class DemandHistory:
    """What readings leave behind, of fixed size. Volatile: a fresh one allows no scale-down before it is old enough."""

    rates: ArrivalRates = field(default_factory=ArrivalRates)
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
    queue: int  # for the queue
    likely: int  # for the highest load that is likely
    work: float  # slots that the certain load takes
    waiting: float  # slot-seconds that wait
    service: float  # seconds of a slot per request; 0: not known
    burst: float


@dataclass(frozen=True)
class Supply:
    """The groups that work on the load, as far as the queue is concerned."""

    slots: int  # requests that a group runs at once
    most: int  # groups that any need is bounded by
    serving: int
    due: tuple[float, ...]  # seconds until each starting group serves
    late: float  # share of requests that may wait too long


def history_after(history: DemandHistory, load: Load, windows: Windows) -> DemandHistory:
    """Add a reading to the history; the peaks are added by ``with_peak``."""
    span = min(max(0.0, load.span), LONGEST)
    busy = load.in_flight + load.waiting
    if not span:
        return history
    add = forecast.with_arrivals if load.known else forecast.with_lower_bound
    rate, bucket = load.arrived / max(load.span, 1e-3), _bucket(history, windows)
    rates = add(history.rates, rate=rate, span=span, taus=windows.taus, bucket=bucket)
    fade = exp(-2 * span / windows.stable)
    share = 1 - exp(-span / min(windows.stable / 2, max(2 * (service_seconds(history) or 0.0), 30.0)))
    changed = replace(
        history,
        rates=rates,
        served_requests=history.served_requests * fade + load.served,
        served_seconds=history.served_seconds * fade + load.served_seconds,
        served_tokens=history.served_tokens * fade + load.served_answer_tokens,
        raised=history.raised + span,
        lowered=history.lowered + span,
    )
    mean = busy if not history.age else history.busy + (0.0 if load.waiting else share) * (busy - history.busy)
    if not load.known:
        return replace(changed, busy=max(history.busy, mean), quiet=0.0)
    quiet = 0.0 if busy or load.arrived else history.quiet + span
    return replace(changed, busy=mean, quiet=quiet, age=history.age + span)


def with_peak(history: DemandHistory, needed: int, *, span: float, keep: float) -> DemandHistory:
    """Add to the history how many groups a scale-down would have needed during this reading."""
    seconds, most = history.part[0] + min(span, LONGEST), max(history.part[1], needed)
    if seconds < keep / PARTS:
        return replace(history, part=(seconds, most))
    return replace(history, part=(0.0, needed), peaks=(*history.peaks, most)[-PARTS:])


def peak(history: DemandHistory) -> int:
    """Return the most groups that were needed within ``keep``."""
    return max((history.part[1], *history.peaks))


def service_seconds(history: DemandHistory) -> float | None:
    """Compute the seconds of a slot that a request takes; None before one was served."""
    return history.served_seconds / history.served_requests if history.served_requests > 1e-6 else None


def seconds_per_token(history: DemandHistory) -> float | None:
    """Compute the seconds of a slot per answer token, the prompt's share included; None before one was served."""
    return history.served_seconds / history.served_tokens if history.served_tokens > 1e-6 else None


def needs(
    before: DemandHistory, after: DemandHistory, load: Load, *, windows: Windows, supply: Supply, speed: float | None
) -> Needs:
    """Compute what a reading asks for. ``speed``: seconds per token known from earlier."""
    service = service_seconds(after)
    if service is None or not after.rates.age:
        return _unmeasured(load, windows=windows, supply=supply, speed=speed)
    v, burst = forecast.variance(before.rates), forecast.burst(before.rates)
    sure = forecast.bounds(after.rates, v=v, burst=burst, z=CERTAIN)[0] * service
    coming = max(sure, forecast.ahead(after.rates, v=v, burst=burst, z=CERTAIN, horizon=windows.horizon) * service)
    highest = max(forecast.below(after.rates, v=v, z=LIKELY) * service, coming, after.busy)

    def groups(rho: float) -> int:
        return _groups(rho, burst=burst, service=service, windows=windows, supply=supply)

    waiting = _work(load, service, seconds_per_token(after) or speed)
    within = max(windows.wait, windows.horizon / DRAIN)
    queue = _groups_for_queue(waiting, sure, windows=windows, supply=supply, within=within)
    return Needs(
        now=groups(sure), later=groups(coming), queue=min(supply.most, queue), likely=groups(highest),
        work=coming, waiting=waiting, service=service, burst=burst,
    )  # fmt: skip


def _unmeasured(load: Load, *, windows: Windows, supply: Supply, speed: float | None) -> Needs:
    """Count a slot for each request, or what waits by the speed known from earlier: nothing was served yet."""
    plain = min(supply.most, ceil((load.in_flight + load.waiting) / supply.slots))
    if speed is None or not load.waiting_answer_tokens:
        queue, work = plain if load.waiting else 0, 0.0
    else:
        work = load.waiting_answer_tokens * speed
        within = max(windows.wait, windows.horizon)
        queue = _groups_for_queue(work, load.in_flight, windows=windows, supply=supply, within=within)
    now = min(supply.most, ceil(load.in_flight / supply.slots))
    return Needs(
        now=now, later=now, queue=min(supply.most, queue), likely=plain,
        work=load.in_flight, waiting=work, service=0.0, burst=1.0,
    )  # fmt: skip


def _groups(rho: float, *, burst: float, service: float, windows: Windows, supply: Supply) -> int:
    found = sizing.groups_for(
        rho, burst=burst, service=service, wait=windows.wait, slots=supply.slots, share=supply.late, most=supply.most
    )
    if windows.horizon > windows.wait:
        return found
    return min(found, sizing.groups_to_catch(
        rho, burst=burst, service=service, wait=windows.wait, horizon=windows.horizon, slots=supply.slots,
        most=supply.most,
    ))  # fmt: skip


def _groups_for_queue(work: float, rho: float, *, windows: Windows, supply: Supply, within: float) -> int:
    return sizing.groups_for_queue(
        work, rho=rho, slots=supply.slots, serving=supply.serving, due=supply.due, horizon=windows.horizon,
        wait=windows.wait, within=within,
    )  # fmt: skip


def _bucket(history: DemandHistory, windows: Windows) -> float:
    """Choose the seconds over which V is measured: those in which a burst makes others wait, about a service time."""
    return min(60.0, max(windows.wait, service_seconds(history) or windows.wait))


def _work(load: Load, service: float, speed: float | None) -> float:
    """Compute the slot-seconds that wait."""
    if speed is None or not load.waiting_answer_tokens:
        return load.waiting * service
    return load.waiting_answer_tokens * speed
