"""The load of a deployment and what was decided, one line of CSV a second: written by the operator, read by replay.

A recording has no single requests, so a replay spreads the arrivals of a second evenly over it and gives each the mean
prompt of that second and the mean answer of the requests that ended about then.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load


@dataclass(frozen=True)
class Reading:
    """One reading and the decision that followed it; the names are the columns. Counts are of the time since before."""

    time: float  # seconds since 1970, UTC
    arrived: int
    arrived_prompt_tokens: int
    served: int
    served_answer_tokens: int
    served_seconds: float
    in_flight: int
    waiting: int
    oldest_wait: float  # seconds
    serving: int
    starting: int
    target: int


HEADER = ",".join(one.name for one in fields(Reading))
_TYPES = tuple(one.type for one in fields(Reading))


def reading_of(load: Load, groups: GroupCounts, *, target: int, time: float) -> Reading:
    """Make the reading that is recorded for one decision."""
    return Reading(
        time=round(time, 3),
        arrived=load.arrived,
        arrived_prompt_tokens=load.arrived_prompt_tokens,
        served=load.served,
        served_answer_tokens=load.served_answer_tokens,
        served_seconds=round(load.served_seconds, 3),
        in_flight=load.in_flight,
        waiting=load.waiting,
        oldest_wait=round(load.oldest_wait, 3),
        serving=groups.serving,
        starting=len(groups.starting),
        target=target,
    )


def as_csv(readings: Iterable[Reading]) -> str:
    """Write a whole recording, with its header."""
    return "".join(f"{text}\n" for text in (HEADER, *map(csv_line, readings)))


def csv_line(one: Reading) -> str:
    """Write one line of the CSV, without its end."""
    return ",".join(str(value) for value in astuple(one))


def parse_line(text: str) -> Reading:
    """Read one line. Raises ValueError with what is wrong with it."""
    cells = text.split(",")
    if len(cells) != len(_TYPES):
        raise ValueError(f"{len(cells)} columns where {len(_TYPES)} belong: {HEADER}")
    values: dict[str, float | int] = {}
    for one, cell in zip(fields(Reading), cells, strict=True):
        try:
            values[one.name] = int(cell) if one.type is int else float(cell)
        except ValueError:
            raise ValueError(f"{one.name} is {cell!r} and must be a number") from None
        if not 0 <= values[one.name] < float("inf"):
            raise ValueError(f"{one.name} is {cell} and must be 0 or more")
    return Reading(**values)  # type: ignore[arg-type]
