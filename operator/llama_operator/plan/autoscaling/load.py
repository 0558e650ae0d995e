"""The load of all gateways of a deployment as one reading, merged from what each of them counts.

Gateways count upwards from their start; a reading holds differences to the reading before, so a request is counted
once, whichever gateway had it, and a gateway that started anew counts from zero. A gateway that did not answer makes
the reading a lower bound; what it counted meanwhile comes with its next answer.

A gateway that is seen for the first time may have counted for long, when it is the operator that is new: its counts
are where differences begin. Only one that started after the reading before counts whole. Whenever that is in doubt
less is counted, never more than what came.

The time that a reading spans is taken from the gateways' own uptimes, so that a clock that jumps changes nothing; from
the clock, within LONGEST_SPAN, only when no gateway answered both times.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from llama_serving.config.gateway import GatewayLoad, WorkCount

LONGEST_SPAN = 60.0  # seconds


@dataclass(frozen=True)
class Load:
    """One reading. ``span`` is the time since the reading before, 0 at the first: then all differences are 0."""

    known: bool  # False: a gateway did not answer, so every number is a lower bound
    silent: tuple[str, ...] = ()  # gateway pods that did not answer
    span: float = 0.0  # seconds
    waiting: int = 0  # requests
    oldest_wait: float = 0.0  # seconds
    in_flight: int = 0  # requests on groups
    waiting_answer_tokens: int = 0  # expected
    arrived: int = 0  # requests within span
    arrived_prompt_tokens: int = 0
    rejected: int = 0  # of those, because the queue was full or they would have been late
    served: int = 0  # requests that ended within span, answered
    served_answer_tokens: int = 0  # produced
    served_seconds: float = 0.0  # that those requests spent on groups, added up


@dataclass(frozen=True, order=True)
class GatewayPod:
    """A gateway pod; another one of the same name has another uid."""

    name: str
    uid: str = ""


@dataclass(frozen=True)
class GatewayCounters:
    """Where a gateway's counts stood when it was last heard."""

    uptime: float
    arrived: WorkCount
    served: WorkCount
    rejected: int = 0
    heard: bool = True  # at the last reading; False: before it


@dataclass(frozen=True)
class PreviousReading:
    """What a reading leaves to the next one. ``at`` None: there was none."""

    at: datetime | None = None
    gateways: Mapping[GatewayPod, GatewayCounters] = field(default_factory=dict)


def merge(
    previous: PreviousReading, answers: Mapping[GatewayPod, GatewayLoad | None], now: datetime
) -> tuple[Load, PreviousReading]:
    """Merge the answers of all gateways that are there, None for those that did not answer, into one reading.

    Returns the reading and what it leaves to the next one. Gateways that are not in ``answers`` are gone, and
    forgotten.
    """
    heard = {gateway: load for gateway, load in answers.items() if load is not None}
    passed = 0.0 if previous.at is None else min(max((now - previous.at).total_seconds(), 0.0), LONGEST_SPAN)
    pairs = tuple(_pairs(previous, heard, passed))
    arrived = [_since(load.arrived, before.arrived) for load, before in pairs]
    served = [_since(load.served, before.served) for load, before in pairs]
    silent = tuple(sorted(gateway.name for gateway, load in answers.items() if load is None))
    load = Load(
        known=not silent and bool(heard),
        silent=silent,
        span=_span(previous, heard, passed),
        waiting=sum(one.waiting for one in heard.values()),
        oldest_wait=max((one.oldest_wait for one in heard.values()), default=0.0),
        in_flight=sum(one.in_flight for one in heard.values()),
        waiting_answer_tokens=sum(one.waits.answer_tokens for one in heard.values()),
        arrived=sum(one.requests for one in arrived),
        arrived_prompt_tokens=sum(one.prompt_tokens for one in arrived),
        rejected=sum(max(_rejected(load) - before.rejected, 0) for load, before in pairs),
        served=sum(one.requests for one in served),
        served_answer_tokens=sum(one.answer_tokens for one in served),
        served_seconds=sum(one.seconds for one in served),
    )
    kept = {
        gateway: replace(counters, heard=False) for gateway, counters in previous.gateways.items() if gateway in answers
    }
    fresh = {gateway: _counters(one) for gateway, one in heard.items()}
    return load, PreviousReading(now, kept | fresh)


def _pairs(
    previous: PreviousReading, heard: Mapping[GatewayPod, GatewayLoad], passed: float
) -> Iterator[tuple[GatewayLoad, GatewayCounters]]:
    """Pair every answer with the counters that it is compared with."""
    zero = GatewayCounters(0, WorkCount(), WorkCount())
    for gateway, load in heard.items():
        before = previous.gateways.get(gateway)
        if before is None:
            born_since = previous.at is not None and load.uptime < passed
            yield load, zero if born_since else _counters(load)
        else:
            yield load, zero if _restarted(load, before) else before


def _counters(load: GatewayLoad) -> GatewayCounters:
    return GatewayCounters(load.uptime, load.arrived, load.served, _rejected(load))


def _rejected(load: GatewayLoad) -> int:
    return load.totals.get("rejected_full", 0) + load.totals.get("rejected_late", 0)


def _restarted(load: GatewayLoad, before: GatewayCounters) -> bool:
    if load.uptime < before.uptime:
        return True
    pairs = ((load.arrived, before.arrived), (load.served, before.served))
    return any(new.requests < old.requests or new.answer_tokens < old.answer_tokens for new, old in pairs)


def _since(new: WorkCount, old: WorkCount) -> WorkCount:
    return WorkCount(
        requests=new.requests - old.requests,
        prompt_tokens=max(new.prompt_tokens - old.prompt_tokens, 0),
        answer_tokens=new.answer_tokens - old.answer_tokens,
        seconds=max(new.seconds - old.seconds, 0.0),
    )


def _span(previous: PreviousReading, heard: Mapping[GatewayPod, GatewayLoad], passed: float) -> float:
    known = ((load.uptime, previous.gateways.get(gateway)) for gateway, load in heard.items())
    spans = [uptime - one.uptime for uptime, one in known if one and one.heard and uptime >= one.uptime > 0]
    return min(max(spans, default=passed), LONGEST_SPAN)
