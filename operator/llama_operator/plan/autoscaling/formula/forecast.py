"""How many requests come: levels over windows of several lengths, how uneven they are, and where they go.

A level is an exponential mean with time constant T (about a window of 2 T). Uneven arrivals of variance V (requests
squared per second) make it wrong by

    error(T)^2 = V / (2 T) * (1 + e) / (1 - e),   e = exp(-age / T)

and upwards by more, as sums of few bursts have long tails: z errors and burst * z^2 / 2 / (2 T), the second term of
Bernstein's inequality. So a short window follows quickly and errs much, a long one the other way round. Nobody has to
choose: each window says "at least level - z errors come" and "at most level + z errors". Where two contradict each
other the load has changed, and the shorter one, which sees the newer part, is believed: ``bounds`` goes from the
shortest window to the longest, and each narrows what the shorter ones leave open. A step shows in the shortest window
first, upwards and downwards. ``below`` is the least "at most" of any window. Between what is certain and that lies what
is not known, and there nothing is changed.

For a horizon h, two neighbouring windows also give a line: level(T1) + g * (level(T1) - level(T2)) with
g = (T1 + h) / (T2 - T1), as a mean over T lags T behind a line. Its error follows from the same V (two such means of
one series have the covariance V / (T1 + T2)), so a trend that may be chance says little by itself.

V is the mean of (x1 - x0) * (x1 - x2) over neighbouring buckets x0, x1, x2: for uneven arrivals that is their
variance, while a single step or a slope, which the levels shall follow, leaves it near 0. It counts at least what
arrivals independent of each other have (V = rate), and begins there.

More arrivals never lower ``bounds`` or ``below`` when V is given as it was before the reading.
"""

from dataclasses import dataclass, replace
from math import exp, inf, sqrt

PRIOR = 5.0  # buckets for which arrivals are believed to be independent of each other before that was measured
MEMORY = 60.0  # buckets that V remembers
MOST = 12  # windows at most
REACH = 0.5  # of the horizon: shorter windows say nothing about where the load goes until then


@dataclass(frozen=True)
class ArrivalRates:
    """What is remembered of arrivals, of fixed size. Times in seconds, levels in requests per second."""

    age: float = 0.0
    taus: tuple[float, ...] = ()  # time constants, the shortest first
    levels: tuple[float, ...] = ()  # one per time constant
    open: tuple[float, float] = (0.0, 0.0)  # seconds and requests of the bucket that fills now
    closed: tuple[float, ...] = ()  # rates of the last two full buckets, the latest last
    uneven: float = 0.0  # sum of (x1 - x0) * (x1 - x2) * seconds of a bucket
    buckets: float = 0.0  # how many of those were added, the old ones less


def time_constants(shortest: float, longest: float) -> tuple[float, ...]:
    """Time constants from the shortest window to the longest, each twice the one before; windows in seconds."""
    found = [shortest / 2]
    while found[-1] * 3 < longest / 2 and len(found) < MOST - 1:
        found.append(found[-1] * 2)
    return (*found, longest / 2) if longest > shortest else tuple(found)


def with_arrivals(
    rates: ArrivalRates, *, rate: float, span: float, taus: tuple[float, ...], bucket: float
) -> ArrivalRates:
    """``rate`` requests per second came for ``span`` seconds; a bucket of V is ``bucket`` seconds long."""
    rates = rates if rates.taus == taus else _moved(rates, taus)
    age = rates.age + span
    levels = tuple(
        level + (rate - level) * (1 - exp(-span / tau)) / (1 - exp(-age / tau))
        for level, tau in zip(rates.levels, taus, strict=True)
    )
    seconds, count = rates.open[0] + span, rates.open[1] + rate * span
    grown = replace(rates, age=age, levels=levels, open=(seconds, count))
    return grown if seconds < bucket else _closed(grown)


def with_lower_bound(
    rates: ArrivalRates, *, rate: float, span: float, taus: tuple[float, ...], bucket: float
) -> ArrivalRates:
    """As ``fed`` when the rate is only a lower bound: no level falls, and neither age nor V learns from it."""
    kept = rates if rates.taus == taus else _moved(rates, taus)
    if not kept.age:
        return kept
    seen = with_arrivals(kept, rate=rate, span=span, taus=taus, bucket=bucket)
    return replace(kept, levels=tuple(max(pair) for pair in zip(kept.levels, seen.levels, strict=True)))


def _moved(rates: ArrivalRates, taus: tuple[float, ...]) -> ArrivalRates:
    """Change the windows: each begins with the level of the one nearest to it."""
    if not rates.taus:
        return replace(rates, taus=taus, levels=(0.0,) * len(taus))
    nearest = [min(range(len(rates.taus)), key=lambda i: abs(rates.taus[i] - tau)) for tau in taus]
    return replace(rates, taus=taus, levels=tuple(rates.levels[i] for i in nearest))


def _closed(rates: ArrivalRates) -> ArrivalRates:
    """Close the full bucket: V learns from the one before it."""
    seconds, count = rates.open
    closed = (*rates.closed, count / seconds)
    if len(closed) < 3:
        return replace(rates, open=(0.0, 0.0), closed=closed)
    x0, x1, x2 = closed
    keep = 1 - 1 / MEMORY
    uneven = rates.uneven * keep + (x1 - x0) * (x1 - x2) * seconds
    return replace(rates, open=(0.0, 0.0), closed=(x1, x2), uneven=uneven, buckets=rates.buckets * keep + 1)


def burst(rates: ArrivalRates) -> float:
    """V / rate: 1 for independent arrivals, n when they come n at a time."""
    if not rates.age or rates.levels[-1] <= 0:
        return 1.0
    return max(1.0, (PRIOR + rates.uneven / rates.levels[-1]) / (PRIOR + rates.buckets))


def variance(rates: ArrivalRates) -> float:
    """V, requests squared per second; never 0, as one request more or less is always chance."""
    if not rates.age:
        return 1.0
    return max(rates.levels[-1] * burst(rates), 1 / rates.age)


def _error(tau: float, age: float, v: float) -> float:
    e = exp(-age / tau)
    return sqrt(v / (2 * tau) * (1 + e) / (1 - e))


def bounds(rates: ArrivalRates, *, v: float, burst: float, z: float) -> tuple[float, float]:
    """At least and at most so many come, all windows taken together; requests per second. Needs an age."""
    least, most = 0.0, inf
    for level, tau in zip(rates.levels, rates.taus, strict=True):
        error = z * _error(tau, rates.age, v)
        low, high = level - error - _chance(tau, burst, z), level + error
        least, most = max(least, min(low, most)), min(most, max(high, least))
    return least, most


def below(rates: ArrivalRates, *, v: float, z: float) -> float:
    """No more than this come, some window says; requests per second. Needs an age."""
    return min(level + z * _error(tau, rates.age, v) for level, tau in zip(rates.levels, rates.taus, strict=True))


def _chance(tau: float, burst: float, z: float) -> float:
    """Compute what a burst or two more than usual add to a window; requests per second."""
    return burst * z * z / 2 / (2 * tau)


def ahead(rates: ArrivalRates, *, v: float, burst: float, z: float, horizon: float) -> float:
    """At least this many will come in ``horizon`` seconds if the load goes on as it goes; requests per second."""
    best = 0.0
    for index, (tau, longer) in enumerate(zip(rates.taus, rates.taus[1:], strict=False)):
        if longer < REACH * horizon or rates.age < 2 * longer:
            continue
        g = (tau + horizon) / (longer - tau)
        squared = (1 + g) ** 2 / (2 * tau) + g * g / (2 * longer) - 2 * g * (1 + g) / (tau + longer)
        line = rates.levels[index] + g * (rates.levels[index] - rates.levels[index + 1])
        best = max(best, line - z * sqrt(v * max(0.0, squared)) - (1 + g) * _chance(tau, burst, z))
    return best
