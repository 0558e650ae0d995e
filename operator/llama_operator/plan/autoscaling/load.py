"""What all gateways of a deployment have to do, as one reading; merged from what each of them says.

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
from dataclasses import dataclass, field
from datetime import datetime

from llama_serving.config.gateway import GatewayLoad, WorkCount

LONGEST_SPAN = 60.0  # seconds


@dataclass(frozen=True)
class Load:
    """One reading. ``span`` is the time since the reading before, 0 at the first: then all differences are 0."""

    known: bool  # False: somebody did not answer, so every number is a lower bound
    silent: tuple[str, ...] = ()  # gateway pods that did not answer
    span: float = 0.0  # seconds
    waiting: int = 0  # requests
    oldest_wait: float = 0.0  # seconds
    in_flight: int = 0  # requests on groups
    waiting_prompt_tokens: int = 0
    waiting_answer_tokens: int = 0  # expected
    arrived: int = 0  # requests within span
    arrived_prompt_tokens: int = 0
    arrived_answer_tokens: int = 0  # asked
    served: int = 0  # requests that ended within span, answered
    served_prompt_tokens: int = 0
    served_answer_tokens: int = 0  # produced
    served_seconds: float = 0.0  # that those spent on groups, added up
    engine_waiting: int = 0  # requests that engines have accepted and not begun


@dataclass(frozen=True, order=True)
class Gateway:
    """A gateway pod; another one of the same name has another uid."""

    name: str
    uid: str = ""


@dataclass(frozen=True)
class Mark:
    """Where a gateway's counts stood when it was last heard."""

    uptime: float
    arrived: WorkCount
    served: WorkCount
    heard: bool = True  # at the last reading; False: before it


@dataclass(frozen=True)
class Marks:
    """What a reading leaves to the next. ``at`` None: there was none."""

    at: datetime | None = None
    gateways: Mapping[Gateway, Mark] = field(default_factory=dict)


def merge(marks: Marks, heard: Mapping[Gateway, GatewayLoad | None], now: datetime) -> tuple[Load, Marks]:
    """One reading of all gateways that are there, None for those that did not answer, and the marks after it.

    Gateways that are not in ``heard`` are gone, and forgotten.
    """
    answers = {gateway: load for gateway, load in heard.items() if load is not None}
    passed = 0.0 if marks.at is None else min(max((now - marks.at).total_seconds(), 0.0), LONGEST_SPAN)
    pairs = tuple(_pairs(marks, answers, passed))
    arrived = [_since(load.arrived, before.arrived) for load, before in pairs]
    served = [_since(load.served, before.served) for load, before in pairs]
    silent = tuple(sorted(gateway.name for gateway, load in heard.items() if load is None))
    load = Load(
        known=not silent and bool(answers),
        silent=silent,
        span=_span(marks, answers, passed),
        waiting=sum(one.waiting for one in answers.values()),
        oldest_wait=max((one.oldest_wait for one in answers.values()), default=0.0),
        in_flight=sum(one.in_flight for one in answers.values()),
        waiting_prompt_tokens=sum(one.waits.prompt_tokens for one in answers.values()),
        waiting_answer_tokens=sum(one.waits.answer_tokens for one in answers.values()),
        arrived=sum(one.requests for one in arrived),
        arrived_prompt_tokens=sum(one.prompt_tokens for one in arrived),
        arrived_answer_tokens=sum(one.answer_tokens for one in arrived),
        served=sum(one.requests for one in served),
        served_prompt_tokens=sum(one.prompt_tokens for one in served),
        served_answer_tokens=sum(one.answer_tokens for one in served),
        served_seconds=sum(one.seconds for one in served),
    )
    kept = {
        gateway: Mark(mark.uptime, mark.arrived, mark.served, heard=False)
        for gateway, mark in marks.gateways.items()
        if gateway in heard
    }
    fresh = {gateway: Mark(one.uptime, one.arrived, one.served) for gateway, one in answers.items()}
    return load, Marks(now, kept | fresh)


def _pairs(marks: Marks, answers: Mapping[Gateway, GatewayLoad], passed: float) -> Iterator[tuple[GatewayLoad, Mark]]:
    """Every answer with the mark that it is compared with."""
    for gateway, load in answers.items():
        before = marks.gateways.get(gateway)
        if before is None:
            born_since = marks.at is not None and load.uptime < passed
            yield (
                load,
                Mark(0, WorkCount(), WorkCount()) if born_since else Mark(load.uptime, load.arrived, load.served),
            )
        else:
            yield load, Mark(0, WorkCount(), WorkCount()) if _restarted(load, before) else before


def _restarted(load: GatewayLoad, before: Mark) -> bool:
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


def _span(marks: Marks, answers: Mapping[Gateway, GatewayLoad], passed: float) -> float:
    known = ((load.uptime, marks.gateways.get(gateway)) for gateway, load in answers.items())
    spans = [uptime - mark.uptime for uptime, mark in known if mark and mark.heard and uptime >= mark.uptime > 0]
    return min(max(spans, default=passed), LONGEST_SPAN)
