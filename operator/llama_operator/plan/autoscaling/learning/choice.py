"""Which rule is followed: the formula until its record says otherwise. Follow the leader, with hysteresis.

With the share a that the promise allows to be late (1 - ``target.share``):

    formula not proven to fail   the cheapest of the formula and of its other forms with a risk of at most a / 10 and
                                 GAIN less cost: little is saved, so the record must be good, and the rule of the
                                 kind that does well with what is not in the record
    formula proven to fail       of the rules that cost no less than it, the cheapest with a risk of at most a / 3;
                                 where there is none a; where there is none the smallest risk

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
ALIKE = 0.002  # shares of late requests that differ by less are alike
_ROUNDING = 0.001  # of a cost


@dataclass(frozen=True)
class Candidates:
    """The figures of all rules. ``formula``: its place among them; ``formulas``: which are forms of it."""

    risk: Vector
    proven: Vector
    cost: Vector  # groups, mean of about an hour
    present_cost: Vector  # of about a quarter of an hour
    formulas: NDArray[np.bool_]
    formula: int


@dataclass(frozen=True)
class ChosenRule:
    """The rule to follow, and whether it is taken to keep the promise."""

    rule: int
    keeps: bool
    dearer: int | None = None  # with ``prefer: cost``: the rule that would keep it


def choose(found: Candidates, *, current: int, allowed: float, prefer_cost: bool) -> ChosenRule:
    """Choose a rule. ``allowed``: share of requests that may be late."""
    fails = bool(found.proven[found.formula] > allowed)
    if not fails:
        return ChosenRule(_while_the_formula_holds(found, current, allowed), keeps=True)
    dear = found.cost >= found.cost[found.formula] * (1 - _ROUNDING)
    for limit in (allowed / 3, allowed):
        fit = (found.risk <= limit) & dear
        if fit.any():
            best = _cheapest(found.cost, fit, current)
            return ChosenRule(found.formula, keeps=False, dearer=best) if prefer_cost else ChosenRule(best, keeps=True)
    if prefer_cost:
        return ChosenRule(found.formula, keeps=False)
    return ChosenRule(_cheapest(found.cost, found.risk <= found.risk.min() + ALIKE, current), keeps=False)


def _while_the_formula_holds(found: Candidates, current: int, allowed: float) -> int:
    cost, formula = found.present_cost, found.present_cost[found.formula]
    fit = (found.risk <= allowed / 10) & (cost <= (1 - GAIN) * formula) & found.formulas
    fit[found.formula] = True
    if found.formulas[current] and found.risk[current] <= allowed and cost[current] <= formula:
        fit[current] = True
    return _cheapest(cost, fit, current)


def _cheapest(cost: Vector, fit: NDArray[np.bool_], current: int) -> int:
    best = int(np.where(fit, cost, np.inf).argmin())
    near = fit[current] and cost[current] <= cost[best] * (1 + HYSTERESIS)
    return current if near else best
