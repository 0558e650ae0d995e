"""The promise of ``target.waitSeconds`` in the status: the rule that looks after it, and what share was in time.

It is written when the rule changes, and at most every EVERY otherwise, if a share has become another one.
"""

from datetime import datetime, timedelta

from llama_operator.api import AutoscalingSpec, AutoscalingStatus, LlamaDeploymentSpec, PromiseStatus
from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.learning.kept import Kept
from llama_operator.plan.autoscaling.learning.learner import Learner, PromiseTerms
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.sentences import autoscaling as sentences

EVERY = timedelta(minutes=5)


def learns(auto: AutoscalingSpec) -> bool:
    """Return whether a rule is learnt: not where somebody has set how the formula shall count."""
    windows = auto.windows
    told = (windows.stable_seconds, windows.panic_seconds, windows.cooldown_seconds, auto.target.in_flight_per_group)
    return auto.rule == "learned" and all(one is None for one in told)


def learner_after(
    learner: Learner | None, load: Load, *,
    auto: AutoscalingSpec, status: AutoscalingStatus, limits: Limits, delay: float, now: datetime,
) -> Learner | None:  # fmt: skip
    """Take in a reading; None where nothing is learnt. ``delay``: seconds that a start takes.

    A new one begins with the rule that the status names.
    """
    if not learns(auto):
        return None
    terms = PromiseTerms(limits.in_group, limits.wait, auto.target.share, auto.memory_seconds)
    if learner is None or learner.terms != terms:
        before = status.promise or PromiseStatus()
        learner = Learner(terms, delay=delay, groups=status.target, rule=before.rule, record=before.record)
    learner.observe(load, limits=limits, delay=delay, prefer_cost=auto.target.prefer == "cost", at=now)
    return learner


def promise_status(
    before: PromiseStatus | None, learner: Learner | None, spec: LlamaDeploymentSpec, *, start: float, moment: datetime
) -> PromiseStatus | None:
    """Write the promise's part of the status. ``start``: seconds that a start takes."""
    if learner is None:
        return None
    known, following = before or PromiseStatus(), learner.following
    another = bool(following.rule) and following.rule != known.rule
    if not another and known.at is not None and abs(moment - known.at) < EVERY:
        return known
    shares = _shares(learner.kept)
    if not another and before is not None and shares == _written(known):
        return known
    gpus = spec.sharding.pipeline * spec.sharding.tensor
    return PromiseStatus(
        rule=following.rule or known.rule,
        since=moment if another else known.since,
        message=promise_message(learner, gpus=gpus, start=start) or known.message,
        share_of_hour=shares[0], share_of_day=shares[1], share_since_change=shares[2],
        record=learner.stored,
        at=moment.replace(second=0),
    )  # fmt: skip


def _shares(kept: Kept) -> tuple[float | None, ...]:
    found = (one.share for one in (kept.hour, kept.day, kept.since_change))
    return tuple(None if one is None else round(one, 3) for one in found)


def _written(status: PromiseStatus) -> tuple[float | None, ...]:
    return status.share_of_hour, status.share_of_day, status.share_since_change


def promise_message(learner: Learner, *, gpus: int, start: float) -> str:
    """Say what the rule would have done with the load so far; empty as long as too little was observed.

    ``gpus``: devices of a group. ``start``: seconds that a start takes.
    """
    following, terms = learner.following, learner.terms
    if following.share is None:
        return ""
    said = sentences.rule_followed(
        following.rule, seconds=following.seconds, share=following.share, groups=following.groups,
        formula_share=following.formula_share, formula_groups=following.formula_groups,
    )  # fmt: skip
    if following.keeps:
        return said
    if following.more_groups is None:
        return sentences.promise_beyond_reach(said, share=terms.share, wait=terms.wait, start=start)
    return sentences.promise_costs(
        said, share=terms.share, wait=terms.wait, more=following.more_groups, gpus=gpus, start=start
    )
