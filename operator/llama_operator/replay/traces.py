"""What is replayed: requests with their arrival and size, from a file or made up.

Three kinds of files are told apart by their first line: the Azure trace (``TIMESTAMP,ContextTokens,GeneratedTokens``),
a plain one (``arrival,prompt,answer``; seconds and tokens) and a recording of a deployment (``plan/recording.py``).
Made-up traces are named by what they are: ``gamma:RATE,CV,SECONDS,SEED``, ``step:LOW,HIGH,SECONDS,SEED`` and
``day:NIGHT,PEAK,SECONDS,SEED``.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from typing import NamedTuple

from llama_operator.plan.autoscaling import recording

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
PLAIN = "arrival,prompt,answer"
#: Means of the Azure conversation trace of 2023; made-up requests are drawn around them.
PROMPT, ANSWER = 1155.0, 211.0
_DAY = 86_400.0  # seconds


class BadTraceError(Exception):
    """The trace cannot be read; the text names file, line and what belongs there."""


class Request(NamedTuple):
    """One request. ``arrival`` in seconds since the trace began."""

    arrival: float
    prompt: int  # tokens
    answer: int  # tokens


@dataclass(frozen=True)
class Trace:
    """Requests in the order of their arrival, and for a recording what was decided then."""

    name: str
    requests: tuple[Request, ...]
    seconds: float  # length
    recorded: tuple[recording.Reading, ...] = ()

    def half(self, second: bool) -> "Trace":
        """Its first or second half in time, beginning at 0."""
        middle = self.seconds / 2
        part = self.part(middle, self.seconds) if second else self.part(0.0, middle)
        return replace(part, name=f"{self.name}, {'second' if second else 'first'} half")

    def part(self, begin: float, end: float) -> "Trace":
        """Cut out what arrived and was decided from ``begin`` on and before ``end``, in seconds; it begins at 0."""
        requests = (one for one in self.requests if begin <= one.arrival < end)
        recorded = (one for one in self.recorded if begin <= one.time < end)
        return replace(
            self,
            requests=tuple(one._replace(arrival=one.arrival - begin) for one in requests),
            seconds=end - begin,
            recorded=tuple(replace(one, time=one.time - begin) for one in recorded),
        )


def load(text: str) -> Trace:
    """Make the trace that is named: a made-up one, else a file."""
    kind, _, rest = text.partition(":")
    if kind in MADE_UP:
        return _made_up(text, kind, rest)
    return read(Path(text))


def read(path: Path) -> Trace:
    """Read the trace in a file."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTraceError(f"{path}: cannot be read: {error}") from error
    header = lines[0].strip() if lines else ""
    if header == recording.HEADER:
        return _recorded(path, lines)
    parsers: dict[str, Callable[[list[str]], Request]] = {AZURE: _azure, PLAIN: _plain}
    if header not in parsers:
        known = "; ".join([*parsers, recording.HEADER])
        raise BadTraceError(f"{path}, line 1: it is {header[:80]!r}; one of these must stand there: {known}")
    rows = list(_rows(path, lines, parse=parsers[header], header=header))
    if not rows:
        raise BadTraceError(f"{path}: it has no requests; lines of {header} belong below the first line")
    rows.sort()
    begin = rows[0].arrival if header == AZURE else 0.0
    moved = tuple(one._replace(arrival=one.arrival - begin) for one in rows)
    return Trace(path.name, moved, moved[-1].arrival + 1.0)


def _rows(path: Path, lines: list[str], *, parse: Callable[[list[str]], Request], header: str) -> Iterator[Request]:
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = line.split(",")
        try:
            if len(cells) != 3:
                raise ValueError(f"{len(cells)} columns instead of 3")
            request = parse(cells)
            if request.prompt < 0 or request.answer < 0 or not 0 <= request.arrival < float("inf"):
                raise ValueError("times and tokens must be 0 or more")
        except ValueError as error:
            raise BadTraceError(f"{path}, line {number}: {error}; expected {header}, it is {line[:80]!r}") from None
        yield request


def _azure(cells: list[str]) -> Request:
    # Seven digits of a second; Python reads six.
    moment = datetime.fromisoformat(cells[0][:26]).replace(tzinfo=UTC)
    return Request(moment.timestamp(), int(cells[1]), int(cells[2]))


def _plain(cells: list[str]) -> Request:
    return Request(float(cells[0]), int(cells[1]), int(cells[2]))


def _recorded(path: Path, lines: list[str]) -> Trace:
    samples: list[recording.Reading] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            samples.append(recording.parse_line(line))
            if len(samples) > 1 and samples[-1].time < samples[-2].time:
                raise ValueError("its time is before that of the line above")
        except ValueError as error:
            raise BadTraceError(f"{path}, line {number}: {error}") from None
    if not samples:
        raise BadTraceError(f"{path}: it has no readings below the first line")
    begin = samples[0].time
    moved = tuple(replace(one, time=one.time - begin) for one in samples)
    return Trace(path.name, tuple(_spread(moved)), moved[-1].time + 1.0, moved)


def _spread(samples: tuple[recording.Reading, ...]) -> Iterator[Request]:
    served = sum(one.served for one in samples)
    mean = sum(one.served_answer_tokens for one in samples) / served if served else ANSWER
    before = samples[0].time
    for one in samples:
        answer = one.served_answer_tokens / one.served if one.served else mean
        for number in range(one.arrived):
            arrival = before + (one.time - before) * number / one.arrived
            yield Request(arrival, round(one.arrived_prompt_tokens / one.arrived), round(answer))
        before = one.time


def gamma(rate: float, cv: float, *, seconds: float, seed: int) -> Iterator[Request]:
    """Gaps between arrivals are Gamma distributed: shape 1/cv^2, mean 1/rate. CV 1 is a Poisson process."""
    draw = random.Random(seed)
    shape = 1.0 / cv**2
    now = draw.gammavariate(shape, 1.0 / rate / shape)
    while now < seconds:
        yield _sized(draw, now)
        now += draw.gammavariate(shape, 1.0 / rate / shape)


def step(low: float, high: float, *, seconds: float, seed: int) -> Iterator[Request]:
    """Poisson arrivals: a quarter of the time at the low rate, half at the high one, a quarter at the low one again."""

    def rate(now: float) -> float:
        return high if seconds / 4 <= now < seconds * 3 / 4 else low

    return _thinned(rate, most=max(low, high), seconds=seconds, seed=seed)


def day(night: float, peak: float, *, seconds: float, seed: int) -> Iterator[Request]:
    """Poisson arrivals, day after day: peaks at 10:30 and at 16:00, some hours wide, and a night between them."""

    def rate(now: float) -> float:
        hour = now % _DAY / 3600
        shape = max(exp(-(((hour - at) / width) ** 2)) for at, width in ((10.5, 2.0), (16.0, 2.5)))
        return night + (peak - night) * shape

    return _thinned(rate, most=max(night, peak), seconds=seconds, seed=seed)


def _thinned(rate: Callable[[float], float], *, most: float, seconds: float, seed: int) -> Iterator[Request]:
    """Leave out some of the arrivals at the highest rate (thinning, Lewis and Shedler 1979)."""
    draw = random.Random(seed)
    now = draw.expovariate(most)
    while now < seconds:
        if draw.random() * most < rate(now):
            yield _sized(draw, now)
        now += draw.expovariate(most)


def _sized(draw: random.Random, now: float) -> Request:
    # Gamma with CV 1.0 for prompts and 0.8 for answers, about as in the Azure trace (0.96 and 0.77).
    prompt = 1 + int(draw.gammavariate(1.0, PROMPT))
    return Request(now, prompt, 1 + int(draw.gammavariate(1.5625, ANSWER / 1.5625)))


MADE_UP: dict[str, tuple[Callable[..., Iterator[Request]], str]] = {
    "gamma": (gamma, "gamma:RATE,CV,SECONDS,SEED"),
    "step": (step, "step:LOW,HIGH,SECONDS,SEED"),
    "day": (day, "day:NIGHT,PEAK,SECONDS,SEED"),
}


def _made_up(text: str, kind: str, rest: str) -> Trace:
    make, expected = MADE_UP[kind]
    try:
        first, second, seconds, seed = rest.split(",")
        numbers = float(first), float(second), float(seconds)
        if not all(0 < number < float("inf") for number in numbers):
            raise ValueError
        requests = tuple(make(*numbers[:2], seconds=numbers[2], seed=int(seed)))
    except ValueError:
        raise BadTraceError(f"{text}: expected {expected}, numbers above 0 and a whole number as seed") from None
    if not requests:
        raise BadTraceError(f"{text}: no request falls into {seconds} s; a higher rate or more seconds are needed")
    return Trace(text, requests, numbers[2])
