"""What the gateways count during a rollout: baselines at its start, differences later, and the verdict on a canary.

A gateway's counters begin at 0 when it starts: one that is smaller than its baseline has started anew and counts whole.
The 99th percentile of the time to the first byte is the upper bound of the class (FIRST_BYTE_BOUNDS) that it falls
into, so it is known to a factor of 1.1 to 2; a canary is judged by it only from FEWEST answers of either weights on.
"""

from collections.abc import Sequence
from typing import NamedTuple

from llama_operator.api.v1alpha1.rollout import CanarySpec
from llama_operator.api.v1alpha1.status import CounterBaseline, CountsStatus, RolloutStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.rollout.progress import changing_ordinals, updated_ordinals
from llama_operator.plan.sentences import rollout as sentences
from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, AnswerCounts, GatewayLoad
from llama_serving.config.reasons import Reason

FEWEST = 20
_TOTALS = ("finished", "retried", "continued", "broken")
_COUNTED = ("totals", "old", "new")


class WeightsPair(NamedTuple):
    """Ids of the weights that are compared."""

    old: str
    new: str


def watch_canary(
    rollout: RolloutStatus, pair: WeightsPair, desired: GroupTemplate, *, state: PlanState
) -> RolloutStatus:
    """Start to watch the canary when its groups are updated, and pass it when its time is over."""
    canary = state.spec.rollout.canary
    if not canary.groups or rollout.canary == "passed":
        return rollout
    may = changing_ordinals(rollout, state)
    if len(updated_ordinals(state, desired, may)) < len(may):
        return rollout
    if rollout.canary == "" or rollout.canary_since is None:
        baselines = counter_baselines(state.snapshot, pair)
        since = state.now.replace(microsecond=0)
        return rollout.model_copy(
            update={"canary": "watching", "canary_since": since, "canary_counter_baselines": baselines}
        )
    if (state.now - rollout.canary_since).total_seconds() < canary.seconds:
        return rollout
    return rollout.model_copy(update={"canary": "passed", "canary_counter_baselines": ()})


def canary_failure(rollout: RolloutStatus, pair: WeightsPair, state: PlanState) -> Explanation | None:
    """Return why the canary failed; None while nothing speaks against it, or it is not watched."""
    if rollout.canary != "watching":
        return None
    difference = counted_since(state.snapshot, rollout.canary_counter_baselines, pair)
    fault = canary_fault(difference, state.spec.rollout.canary, pair)
    text = sentences.canary_failed(pair.new, why=fault)
    return Explanation(Reason.CANARY_FAILED, text) if fault else None


def canary_fault(counted: CounterBaseline, canary: CanarySpec, pair: WeightsPair) -> str:
    """Say why the canary does not pass, by the counts since its start; empty when nothing speaks against it."""
    answers = counted.new[0] + counted.new[1]
    if answers and counted.new[1] / answers > canary.max_error_rate:
        limit = canary.max_error_rate
        return sentences.too_many_errors(pair.new, failed=counted.new[1], answers=answers, limit=limit)
    slow, usual = percentile(counted.new[2:]), percentile(counted.old[2:])
    if slow is not None and usual is not None and slow > usual * canary.max_first_byte_ratio:
        return sentences.first_byte_late(
            new=pair.new, old=pair.old, seconds=slow, usual=usual, limit=canary.max_first_byte_ratio
        )
    return ""


def counter_baselines(snapshot: Snapshot, pair: WeightsPair) -> tuple[CounterBaseline, ...]:
    """Return the present counters of all gateways that could be asked."""
    heard = ((name, load) for name, load in sorted(snapshot.loads.items()) if load)
    return tuple(_baseline(name, load, pair) for name, load in heard)


def count_requests(snapshot: Snapshot, before: Sequence[CounterBaseline], pair: WeightsPair) -> CountsStatus:
    """Count the requests since the baselines."""
    counted = counted_since(snapshot, before, pair)
    return CountsStatus(
        finished=counted.totals[0],
        retried=counted.totals[1],
        continued=counted.totals[2],
        broken=counted.totals[3],
        served_by_old=counted.old[0],
        served_by_new=counted.new[0],
    )


def percentile(classes: Sequence[int], share: float = 0.99) -> float | None:
    """Return the upper bound in seconds of the class with this share of the answers; None below FEWEST."""
    total = sum(classes)
    if total < FEWEST:
        return None
    reached = 0
    for count, bound in zip(classes, (*FIRST_BYTE_BOUNDS, FIRST_BYTE_BOUNDS[-1] * 2), strict=True):
        reached += count
        if reached >= share * total:
            return bound
    return None


def _baseline(name: str, load: GatewayLoad, pair: WeightsPair) -> CounterBaseline:
    return CounterBaseline(
        gateway=name,
        totals=tuple(load.totals.get(what, 0) for what in _TOTALS),
        old=_answers(load.by_weights.get(pair.old)),
        new=_answers(load.by_weights.get(pair.new)),
    )


def _answers(counts: AnswerCounts | None) -> tuple[int, ...]:
    found = counts or AnswerCounts()
    return (found.finished, found.failed, *found.first_byte)


def counted_since(snapshot: Snapshot, before: Sequence[CounterBaseline], pair: WeightsPair) -> CounterBaseline:
    """Add up over all gateways what was counted since the baselines."""
    known = {baseline.gateway: baseline for baseline in before}
    differences = [_difference(now, known.get(now.gateway)) for now in counter_baselines(snapshot, pair)]
    empty = CounterBaseline(gateway="", totals=(0,) * len(_TOTALS), old=_answers(None), new=_answers(None))
    parts = [empty, *differences]
    return empty.model_copy(update={field: _column_sums([getattr(one, field) for one in parts]) for field in _COUNTED})


def _column_sums(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*rows, strict=True))


def _difference(now: CounterBaseline, then: CounterBaseline | None) -> CounterBaseline:
    if then is None or _restarted(now, then):
        return now
    return now.model_copy(
        update={
            field: tuple(a - b for a, b in zip(getattr(now, field), getattr(then, field), strict=True))
            for field in _COUNTED
        }
    )


def _restarted(now: CounterBaseline, then: CounterBaseline) -> bool:
    pairs = ((getattr(now, field), getattr(then, field)) for field in _COUNTED)
    return any(len(a) != len(b) or any(x < y for x, y in zip(a, b, strict=True)) for a, b in pairs)
