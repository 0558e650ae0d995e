"""What the gateways count during a rollout: marks at its begin, differences later, and the judgement of a canary.

A gateway's counters begin at 0 when it starts: one that is smaller than its mark has started anew and counts whole.
The 99th percentile of the time to the first byte is the upper bound of the class (FIRST_BYTE_BOUNDS) that it falls
into, so it is known to a factor of 1.1 to 2; a canary is judged by it only from FEWEST answers of either weights on.
"""

from collections.abc import Sequence

from llama_operator.api.v1alpha1.rollout import CanarySpec
from llama_operator.api.v1alpha1.status import CounterBaseline, CountsStatus
from llama_operator.observe.deployment import Snapshot
from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts, GatewayLoad

FEWEST = 20
_TOTALS = ("finished", "retried", "continued", "broken")


def counter_baselines(world: Snapshot, old: str, new: str) -> tuple[CounterBaseline, ...]:
    """Present counters of all gateways that could be asked; ``old`` and ``new`` are ids of weights."""
    heard = ((name, load) for name, load in sorted(world.loads.items()) if load)
    return tuple(_mark(name, load, old, new) for name, load in heard)


def counted(world: Snapshot, before: Sequence[CounterBaseline], old: str, new: str) -> CountsStatus:
    """Requests since the marks."""
    totals, served_old, served_new = _since(world, before, old, new)
    return CountsStatus(
        finished=totals[0],
        retried=totals[1],
        continued=totals[2],
        broken=totals[3],
        served_by_old=served_old[0],
        served_by_new=served_new[0],
    )


def canary_fault(world: Snapshot, before: Sequence[CounterBaseline], canary: CanarySpec, old: str, new: str) -> str:
    """Why the canary does not pass; empty when there is nothing against it."""
    _, of_old, of_new = _since(world, before, old, new)
    answers = of_new[0] + of_new[1]
    if answers and of_new[1] / answers > canary.max_error_rate:
        return (
            f"{of_new[1]} of {answers} requests failed on {new}, {of_new[1] / answers:.1%};"
            f" spec.rollout.canary.maxErrorRate allows {canary.max_error_rate:.1%}"
        )
    slow, usual = percentile(of_new[2:]), percentile(of_old[2:])
    if slow is not None and usual is not None and slow > usual * canary.max_first_byte_ratio:
        return (
            f"the first byte (99th percentile) took up to {slow:g} s on {new} and {usual:g} s on {old},"
            f" {slow / usual:.1f} times as long;"
            f" spec.rollout.canary.maxFirstByteRatio allows {canary.max_first_byte_ratio:g}"
        )
    return ""


def percentile(classes: Sequence[int], share: float = 0.99) -> float | None:
    """Upper bound in seconds of the class that holds this share of the answers; None with fewer than FEWEST."""
    total = sum(classes)
    if total < FEWEST:
        return None
    reached = 0
    for count, bound in zip(classes, (*FIRST_BYTE_BOUNDS, FIRST_BYTE_BOUNDS[-1] * 2), strict=True):
        reached += count
        if reached >= share * total:
            return bound
    return None


def _mark(name: str, load: GatewayLoad, old: str, new: str) -> CounterBaseline:
    return CounterBaseline(
        gateway=name,
        totals=tuple(load.totals.get(what, 0) for what in _TOTALS),
        old=_answers(load.by_weights.get(old)),
        new=_answers(load.by_weights.get(new)),
    )


def _answers(counts: AnswerCounts | None) -> tuple[int, ...]:
    found = counts or AnswerCounts()
    return (found.finished, found.failed, *found.first_byte)


def _since(
    world: Snapshot, before: Sequence[CounterBaseline], old: str, new: str
) -> tuple[list[int], list[int], list[int]]:
    known = {mark.gateway: mark for mark in before}
    now = counter_baselines(world, old, new)
    differences = [_difference(mark, known.get(mark.gateway)) for mark in now]
    empty = CounterBaseline(gateway="", totals=(0,) * len(_TOTALS), old=_answers(None), new=_answers(None))
    sums = [empty, *differences]
    return (
        [sum(column) for column in zip(*(one.totals for one in sums), strict=True)],
        [sum(column) for column in zip(*(one.old for one in sums), strict=True)],
        [sum(column) for column in zip(*(one.new for one in sums), strict=True)],
    )


def _difference(now: CounterBaseline, then: CounterBaseline | None) -> CounterBaseline:
    if then is None or _restarted(now, then):
        return now
    return now.model_copy(
        update={
            field: tuple(a - b for a, b in zip(getattr(now, field), getattr(then, field), strict=True))
            for field in ("totals", "old", "new")
        }
    )


def _restarted(now: CounterBaseline, then: CounterBaseline) -> bool:
    pairs = ((getattr(now, field), getattr(then, field)) for field in ("totals", "old", "new"))
    return any(len(a) != len(b) or any(x < y for x, y in zip(a, b, strict=True)) for a, b in pairs)
