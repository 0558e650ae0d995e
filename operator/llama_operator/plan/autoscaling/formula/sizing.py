"""How many groups a load needs so that few requests wait longer than they may, and how many a queue needs.

``late_share`` is the share of requests that wait longer than W on C slots. Work of rho slots arrives on average, a
request takes S seconds of a slot, and arrivals are ``burst`` times as uneven as independent ones. Once all slots are
taken the queue behaves like a Brownian motion that drifts down by C - rho and varies by S * rho * (burst + 1) a
second (Kingman 1962; the 1 is the requests' own variety), so it exceeds C * W with probability

    exp(-2 * (C - rho) * C * W / (S * rho * (burst + 1)))

and all slots are taken with probability 1 / (1 + b * Phi(b) / phi(b)), b = (C - rho) / sqrt(rho * (1 + burst) / 2)
(Halfin and Whitt 1981, with the variance of uneven arrivals). Requests that come ``burst`` at a time meet each other,
not that average: so its ``burst``-th root is taken.

``groups_to_catch``: where a start takes no longer than a request may wait, a burst need not find its slots: it is
enough that a queue that is half as long as it may be does not become too long until the groups ordered then serve, h
seconds and a reading later. In that time the work grows by no more than

    (rho - C) * h + z * sqrt(S * rho * (burst + 1) * h) + z^2 / 3 * S * burst

(Bernstein's inequality, bursts being its largest summands), which must not be more than C * W / 2.

``groups_for_queue``: a group ordered now serves after the horizon h. Until then the waiting work B (slot-seconds)
grows by the load and shrinks by the groups that serve or will serve by then, each from the moment it is expected. If
what is left makes requests wait longer than W, there must be enough groups to do it within D:

    groups = (rho + B(h) / D) / slots

Who waits then is late whatever is done; D says for how long others follow. Where starts are quick one group more is
ordered as soon as half of W is left, if none is starting. That is a number of groups, not of new ones, and B(h) has in
it what is starting: nothing is ordered twice.
"""

from math import ceil, erf, exp, pi, sqrt

CATCH = 1.5  # errors that a queue may grow by until the groups ordered for it serve
READING = 1.0  # seconds between two readings


def late_share(slots: float, *, rho: float, burst: float, service: float, wait: float) -> float:
    """Share of requests that wait longer than ``wait`` seconds; 1 when the work is more than the slots."""
    if rho <= 0:
        return 0.0
    spare = slots - rho
    if spare <= 0:
        return 1.0
    b = spare / sqrt(rho * (1 + burst) / 2)
    density = exp(-b * b / 2) / sqrt(2 * pi)
    taken = density / (density + b * (1 + erf(b / sqrt(2))) / 2)
    return float(taken ** (1 / burst) * exp(-2 * spare * slots * wait / (service * rho * (burst + 1))))


def groups_for(rho: float, *, burst: float, service: float, wait: float, slots: float, share: float, most: int) -> int:
    """Fewest groups of ``slots`` by which no more than ``share`` of the requests wait too long; ``most`` at most."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if late_share(middle * slots, rho=rho, burst=burst, service=service, wait=wait) <= share:
            high = middle
        else:
            low = middle + 1
    return low


def groups_to_catch(
    rho: float, *, burst: float, service: float, wait: float, horizon: float, slots: float, most: int
) -> int:
    """Fewest groups that leave time for more when a queue begins; ``most`` at most."""
    time = horizon + READING
    grown = rho * time + CATCH * sqrt(service * rho * (burst + 1) * time) + CATCH**2 / 3 * service * burst
    return min(most, ceil(max(rho, grown / (time + wait / 2)) / slots))


def backlog_at(horizon: float, *, work: float, rho: float, slots: float, serving: int, due: tuple[float, ...]) -> float:
    """Slot-seconds that will wait in ``horizon`` seconds; ``due``: seconds until each starting group serves."""
    capacity, past = serving * slots, 0.0
    for moment in sorted(min(max(0.0, seconds), horizon) for seconds in due):
        work = max(0.0, work + (rho - capacity) * (moment - past))
        past, capacity = moment, capacity + slots
    return max(0.0, work + (rho - capacity) * (horizon - past))


def groups_for_queue(
    work: float, *, rho: float, slots: float, serving: int, due: tuple[float, ...], horizon: float, wait: float,
    within: float,
) -> int:  # fmt: skip
    """Count the groups that the waiting ``work`` (slot-seconds) needs, starting ones included; 0: no more are needed.

    What is left in ``horizon`` seconds shall be done ``within`` so many more.
    """
    if work <= 0:
        return 0
    left = backlog_at(horizon, work=work, rho=rho, slots=slots, serving=serving, due=due)
    there = serving + sum(seconds < horizon for seconds in due)
    if left > wait * there * slots:
        return ceil((rho + left / within) / slots)
    begins = horizon <= wait and not due and left > wait * there * slots / 2
    return there + 1 if begins else 0
