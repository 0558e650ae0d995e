"""Which rule is followed: the formula until its record says otherwise. Follow the leader, with hysteresis.

With the share a that the promise allows to be late (1 - ``target.share``), and what the record says of the formula:

    proven to make more late      of the rules that cost no less than it, the cheapest with a risk of at most a / 3;
                                  where there is none a; where there is none the smallest risk
    more late, partly proven      the same from DOUBT_AFTER seconds on, of those that cost at most CLOSE times as much:
                                  where the promise costs little, a fifth of a is proof enough
    neither                       the cheapest of the formula and of its other forms with a risk of at most a / 10 and
                                  GAIN less cost: little is saved, so the record must be good, and the rule of the
                                  kind that does well with what is not in the record. From TRUST_AFTER seconds on also
                                  of all rules that follow the load, with a risk of at most a / 30. The formula alone
                                  while the deployment itself made a / 2 late in the last hour that the formula would
                                  not have

``prefer: cost`` stays with the formula instead, and tells which rule would keep the promise.

A rule that is followed stays while it is allowed and none is HYSTERESIS cheaper, and one that was cheap enough is left
only when it is no longer cheaper than the formula or its risk is above a. Following the leader has a regret that does
not grow with time while loads stay alike (De Rooij et al. 2014); the hysteresis adds its share of the cost.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llama_operator.plan.autoscaling.learning.rules import Vector

GAIN = 0.03
HYSTERESIS = 0.02
CLOSE = 1.15  # times the formula's cost
DOUBT = 0.2  # of what may be late: so much must be proven, which is more than one episode
DOUBT_AFTER, TRUST_AFTER = 1200.0, 1800.0  # seconds of the record
ALIKE = 0.002  # shares of late requests that differ by less are alike
_ROUNDING = 0.001  # of a cost


@dataclass(frozen=True)
class Candidates:
    """The figures of all rules. ``formula``: its place among them.

    ``formulas``: which are forms of it. ``follows``: which follow the load down, so all but so many groups always.
    """

    late: Vector  # share of the requests, without what no form of the formula could avoid
    proven: Vector  # share that is more than one episode makes
    risk: Vector
    cost: Vector  # groups, mean of about an hour
    present_cost: Vector  # of about a quarter of an hour
    formulas: NDArray[np.bool_]
    follows: NDArray[np.bool_]
    formula: int
    seconds: float  # that were observed
    excess: float = 0.0  # share that the deployment itself made late in the last hour, and the formula would not have


@dataclass(frozen=True)
class ChosenRule:
    """The rule to follow, and whether it is taken to keep the promise."""

    rule: int
    keeps: bool
    dearer: int | None = None  # with ``prefer: cost``: the rule that would keep it


def choose(found: Candidates, *, current: int, allowed: float, prefer_cost: bool) -> ChosenRule:
    """Choose a rule. ``allowed``: share of requests that may be late."""
    formula = found.formula
    if not found.proven[formula] > allowed:
        return ChosenRule(_without_proof(found, current, allowed, prefer_cost=prefer_cost), keeps=True)
    best = _that_keeps(found, current, allowed, most=np.inf)
    if prefer_cost:
        return ChosenRule(formula, keeps=False, dearer=best)
    if best is not None:
        return ChosenRule(best, keeps=True)
    return ChosenRule(_cheapest(found.cost, found.risk <= found.risk.min() + ALIKE, current), keeps=False)


def _without_proof(found: Candidates, current: int, allowed: float, *, prefer_cost: bool) -> int:
    doubted = bool(found.late[found.formula] > allowed and found.proven[found.formula] > DOUBT * allowed)
    if doubted and found.seconds >= DOUBT_AFTER and not prefer_cost:
        better = _that_keeps(found, current, allowed, most=CLOSE)
        if better is not None:
            return better
    return _while_the_formula_holds(found, current, allowed, others=not doubted and found.seconds >= TRUST_AFTER)


def _that_keeps(found: Candidates, current: int, allowed: float, *, most: float) -> int | None:
    """Return the cheapest rule that keeps the promise, for no less than the formula and ``most`` times its cost."""
    cost = found.cost / found.cost[found.formula]
    for limit in (allowed / 3, allowed):
        fit = (found.risk <= limit) & (cost >= 1 - _ROUNDING) & (cost <= most)
        if fit.any():
            return _cheapest(found.cost, fit, current)
    return None


def _while_the_formula_holds(found: Candidates, current: int, allowed: float, *, others: bool) -> int:
    """Return the cheapest of the formula and its forms, and of the ``others`` that are cheaper over an hour as well."""
    if found.excess > allowed / 2:
        return found.formula
    cost, formula = found.present_cost, found.present_cost[found.formula]
    trusted = found.formulas | (others & found.follows)
    least = min(found.cost[found.formula], found.cost[current])
    cheap = (found.risk <= allowed / 30) & (found.cost <= (1 - GAIN) * least) & trusted
    fit = ((found.risk <= allowed / 10) & found.formulas | cheap) & (cost <= (1 - GAIN) * formula)
    fit[found.formula] = True
    if trusted[current] and found.risk[current] <= allowed and cost[current] <= formula:
        fit[current] = True
    return _cheapest(cost, fit, current)


def _cheapest(cost: Vector, fit: NDArray[np.bool_], current: int) -> int:
    best = int(np.where(fit, cost, np.inf).argmin())
    near = fit[current] and cost[current] <= cost[best] * (1 + HYSTERESIS)
    return current if near else best
