"""Follows, of a family of rules, the one that would have kept the promise for the fewest groups with this load.

Each second of load steps every rule twice: with what the deployment has (what the rule wants now), and with what the
deployment would have had under the rule (what came of it). A rule that has been followed for the time of a start and
SETTLED has what the deployment has: small differences in load make large ones in groups. Twice a minute a rule is
chosen (choice.py). Before MATURE seconds were observed the formula decides, or the rule that was followed before a
restart; with the formula the CAUTIOUS rule as soon as more requests of the deployment were late than may be.

A ``Learner`` is changed in place, by ``observe`` alone, and a reading that it has seen changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np

from llama_operator.plan.autoscaling.inputs import Limits
from llama_operator.plan.autoscaling.learning import stored_record
from llama_operator.plan.autoscaling.learning.choice import Candidates, ChosenRule, choose
from llama_operator.plan.autoscaling.learning.formula import FORMULAS, Formula, FormulaRun
from llama_operator.plan.autoscaling.learning.kept import HOUR, Kept, KeptShare
from llama_operator.plan.autoscaling.learning.outcomes import LateRequests, Outcomes, Second
from llama_operator.plan.autoscaling.learning.record import LAGS, MEMORY, Record
from llama_operator.plan.autoscaling.learning.rules import CAUTIOUS, RULES, ReactiveRule, RuleStates, Vector
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.situation import RuleNeed

MATURE = 600.0  # seconds
EVERY = 30  # seconds between two choices
SHORTEST_BATCH = 120.0  # seconds
SETTLED = 60.0  # seconds
NEW_DELAY = 0.2  # of the time that a start takes: less of a change is none
_SERVICE_FADE = 0.998  # a second
_UNKNOWN_SERVICE = 10.0  # seconds of a slot

#: All that is compared, in the order of the arrays.
FAMILY: tuple[ReactiveRule | Formula, ...] = (*RULES, *FORMULAS)
_FORMULA, _CAUTIOUS = len(RULES), RULES.index(CAUTIOUS)
_FORMULAS = np.array([isinstance(one, Formula) for one in FAMILY])
_FOLLOWS = np.array([isinstance(one, Formula) or not one.floor for one in FAMILY])


@dataclass(frozen=True)
class PromiseTerms:
    """What the record is good for. With other terms another one begins."""

    slots: int
    wait: float  # seconds
    share: float  # of requests that shall not wait longer
    memory: float = MEMORY  # seconds after which a request counts 1/e in the record


@dataclass(frozen=True)
class Following:
    """The rule that is followed, and what all that is known says of it."""

    rule: str  # empty: too little was observed, and none was followed before
    keeps: bool = True  # it is taken to keep the promise
    share: float | None = None  # in time, that it would have had; None: too little was observed
    seconds: float = 0.0  # of load from which that is known
    groups: float = 0.0  # mean of about the last quarter of an hour
    formula_share: float | None = None  # None: it is the formula
    formula_groups: float = 0.0
    more_groups: float | None = None  # that the promise would take; None: it is kept, or nothing that is known keeps it


class Learner:
    """``delay``: seconds that a start takes.

    ``rule``: the one to begin with, as ``Following`` names it. ``record``: of all, as ``stored`` told it.
    """

    def __init__(self, terms: PromiseTerms, *, delay: float, groups: int, rule: str = "", record: str = "") -> None:
        names = [str(one) for one in FAMILY]
        self.terms = terms
        self._key = stored_record.key_of(names, terms)
        self.kept = Kept()
        self._known = rule in names  # a rule was followed before
        self._current = names.index(rule) if self._known else _FORMULA
        self._choice = ChosenRule(self._current, keeps=True)
        self._delay = delay
        self._live = RuleStates(slots=terms.slots, groups=groups)
        self._live_needs = np.full(len(RULES), float(groups))
        self._would = RuleStates(slots=terms.slots, groups=groups)
        self._formulas = [FormulaRun(one, max(1, groups)) for one in FORMULAS]
        first = np.full(len(FAMILY), float(max(1, groups)))
        first[: len(RULES)] = np.maximum(first[: len(RULES)], [one.floor for one in RULES])
        lags = tuple(terms.wait * one for one in LAGS)
        self._outcomes = Outcomes(first, slots=terms.slots, delay=delay, lags=lags)
        self._own = LateRequests(1, lags)
        self.record = Record(_FORMULAS, max(SHORTEST_BATCH, delay + 60.0), terms.memory)
        stored_record.restore(self.record, record, self._key)
        self._served = (0.0, 0.0)  # requests and their seconds; old ones count less
        self._before: Load | None = None
        self._left = Load(known=True)  # counts of less than a second
        self._seen: datetime | None = None
        self._seconds = 0
        self._formula_kept = KeptShare(HOUR)  # as it would have been
        self._changed = 0  # second in which the rule began to be followed

    @property
    def following(self) -> Following:
        """Return what is followed now."""
        record, rule = self.record, str(FAMILY[self._current])
        if record.seconds < MATURE or record.requests < 1:
            return Following(rule if self._known else "")
        shares, groups = 1.0 - record.late_share(), record.present_cost
        dearer, current = self._choice.dearer, self._current
        return Following(
            rule,
            keeps=self._choice.keeps,
            share=float(shares[current]),
            seconds=min(record.seconds, record.memory),
            groups=float(groups[current]),
            formula_share=None if current == _FORMULA else float(shares[_FORMULA]),
            formula_groups=float(groups[_FORMULA]),
            more_groups=None if dearer is None else float(groups[dearer] - groups[current]),
        )

    @property
    def stored(self) -> str:
        """Return the record as a text, for a learner after a restart."""
        return stored_record.to_text(self.record, self._key)

    def limits(self, limits: Limits) -> Limits:
        """Return the limits for the formula: its windows are those of the one that is followed."""
        rule = FAMILY[self._current]
        return rule.limits(limits) if isinstance(rule, Formula) else limits

    @property
    def need(self) -> RuleNeed | None:
        """Return what the rule asks for now; None: the formula decides alone.

        Once enough is known, no more groups are kept with the formula than it would have come to by itself: those of a
        rule that was followed before, or of the CAUTIOUS one, go.
        """
        rule = FAMILY[self._current]
        if isinstance(rule, ReactiveRule):
            return RuleNeed(int(self._live_needs[self._current]), str(rule))
        if self.record.seconds >= MATURE:
            return RuleNeed(self._formulas[self._current - _FORMULA].target, str(rule), only_down=True)
        kept = self.kept.hour.share
        if self._known or kept is None or kept >= self.terms.share:
            return None
        return RuleNeed(int(self._live_needs[_CAUTIOUS]), str(CAUTIOUS), with_formula=True)

    def observe(self, load: Load, *, limits: Limits, delay: float, prefer_cost: bool, at: datetime) -> bool:
        """Take in a reading; True when another rule is followed from now on.

        A reading that is a lower bound is left out: what was not counted cannot be judged.
        """
        if at == self._seen or not load.known:
            return False
        self._seen = at
        self._follow_starts(delay)
        before, current = self._before or load, self._current
        self._before = load
        for part in self._parts(load, before):
            self._step(part[0], part[1], limits)
            if self._seconds % EVERY == 0 and self.record.seconds >= MATURE:
                self._choose(prefer_cost)
        if self._current != current:
            self.kept, self._changed = self.kept.changed(), self._seconds
        return self._current != current

    def _parts(self, load: Load, before: Load) -> Iterator[tuple[Load, Load]]:
        """Cut a reading into seconds, each with the one before; what is over is added to the next reading."""
        whole = _added(self._left, load)
        seconds = int(whole.span + 1e-6)
        if not seconds:
            self._left = whole
            return
        self._left = Load(known=True, span=whole.span - seconds)
        yield from pairwise([before, *(_part(whole, before, number, parts=seconds) for number in range(seconds))])

    def _step(self, before: Load, load: Load, limits: Limits) -> None:
        requests, seconds = self._served
        self._served = requests * _SERVICE_FADE + load.served, seconds * _SERVICE_FADE + load.served_seconds
        service = self._served[1] / self._served[0] if self._served[0] > 1e-6 else _UNKNOWN_SERVICE
        busy = (before.in_flight + load.in_flight) / 2
        second = Second(load.arrived, busy, load.in_flight + load.waiting, max(service, 1e-3), load.rejected)
        self._seconds += 1
        self._live_needs = self._live.step(second.requests)
        late, known = self._outcomes.step(second)
        own, judged = self._own.judge(load.arrived, np.array([float(load.waiting)]))
        settled = self._is_settled
        if settled:
            self._outcomes.is_as_seen(self._current, second)
            for one, seen in zip(late, own, strict=True):
                one[self._current] = seen[0]
        paid = self._outcomes.want(self._wanted(load, limits, settled=settled))
        self.record.add(late, known[0], paid)
        self.kept = self.kept.after(requests=judged[0], late=float(own[0][0]) + load.rejected)
        self._formula_kept = self._formula_kept.after(requests=judged[0], late=float(late[0][_FORMULA]))

    @property
    def _excess(self) -> float:
        """Share of the last hour's requests that were late, and would not have been with the formula.

        Twice as many as the fluid model has are put down to the formula: what it says of overload is inexact.
        """
        hour, formula = self.kept.hour, self._formula_kept
        return max(0.0, hour.late - 2 * formula.late) / max(1.0, hour.requests)

    @property
    def _is_settled(self) -> bool:
        """Whether a reactive rule has been followed for so long that the deployment's groups are its own."""
        return self._current < len(RULES) and self._seconds - self._changed > self._delay + SETTLED

    def _wanted(self, load: Load, limits: Limits, *, settled: bool) -> Vector:
        """Return what each rule wants with what it has made of the load, and one that is ``settled`` with what came."""
        outcomes, reactive = self._outcomes, self._would.step(self._outcomes.requests[: len(RULES)])
        if settled:
            self._would.take_over(self._current, self._live)
            reactive[self._current] = self._live_needs[self._current]
        limits = replace(limits, floor=max(1, limits.floor), ceiling=max(1, limits.ceiling))
        formulas = [
            one.step(
                load, requests=float(outcomes.requests[place]), busy=float(outcomes.busy[place]),
                serving=int(outcomes.serving[place]), limits=limits,
            )
            for place, one in enumerate(self._formulas, _FORMULA)
        ]  # fmt: skip
        wanted: Vector = np.clip(np.array([*reactive, *formulas]), limits.floor, limits.ceiling)
        return wanted

    def _choose(self, prefer_cost: bool) -> None:
        record, allowed = self.record, 1.0 - self.terms.share
        found = Candidates(
            record.avoidable(allowed=allowed), record.proven(), record.risk(allowed=allowed),
            record.cost, record.present_cost, _FORMULAS, _FOLLOWS, _FORMULA, record.seconds,
            self._excess,
        )  # fmt: skip
        self._choice = choose(found, current=self._current, allowed=allowed, prefer_cost=prefer_cost)
        self._current = self._choice.rule

    def _follow_starts(self, delay: float) -> None:
        if abs(delay - self._delay) > NEW_DELAY * self._delay:
            self._delay = delay
            self._outcomes.set_delay(delay)


def _added(left: Load, load: Load) -> Load:
    return replace(
        load,
        span=left.span + load.span,
        arrived=left.arrived + load.arrived,
        rejected=left.rejected + load.rejected,
        served=left.served + load.served,
        served_answer_tokens=left.served_answer_tokens + load.served_answer_tokens,
        served_seconds=left.served_seconds + load.served_seconds,
    )


def _part(whole: Load, before: Load, number: int, *, parts: int) -> Load:
    """Return one of the seconds of a reading: its share of the counts, and what was there on the way to its end."""

    def share(count: int) -> int:
        return count * (number + 1) // parts - count * number // parts

    def between(first: int, last: int) -> int:
        return round(first + (last - first) * (number + 1) / parts)

    return replace(
        whole,
        span=1.0,
        arrived=share(whole.arrived),
        rejected=share(whole.rejected),
        arrived_prompt_tokens=share(whole.arrived_prompt_tokens),
        served=share(whole.served),
        served_answer_tokens=share(whole.served_answer_tokens),
        served_seconds=whole.served_seconds / parts,
        in_flight=between(before.in_flight, whole.in_flight),
        waiting=between(before.waiting, whole.waiting),
    )
