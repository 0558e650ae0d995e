"""A lower bound: fewer group-seconds no policy can use, whatever it knows, with so many of the waits within the limit.

Cut the trace into windows of D seconds. A request that arrives at ``a``, runs ``s`` and begins within [a, a + limit]
is on a slot inside the window [u, v) for at least ``min(s, v - u, a + s - u, v - a - limit)`` seconds, or 0 if that
is less. The queue is first in, first out, so a late request begins no later than the next one that is in time, and of
the next m + 1 one is, if m may be late: it has the limit ``a[i + m + 1] + limit - a[i]``, and the last m + 1 have
none. With E[k] the sum over all requests, some of them late, the mean number n[k] of groups that serve in window k is
at least q[k] = E[k] / slots / D. Each group that begins to serve after the first moment was made ``delay`` seconds
before, and means over windows rise in sum no more than the number itself does. So what a policy pays is at least the
value of

    minimise sum D n[k] + delay sum over k > 0 of max(0, n[k] - n[k-1])   with n[k] >= q[k]

(any number may serve at the beginning). Its dual is to choose 0 <= z[k] <= delay with z[k+1] <= z[k] + D and
z[0] = z[K] = 0; then each request is worth
sum over k of (1 + (z[k] - z[k+1]) / D) x its seconds in window k / slots, and

    bound(z) = worth of all requests in time - what m of them are worth less when late, at most

Every such z gives a valid bound. A good one is found by letting z and the choice of late requests answer each other's
mean so far (fictitious play, which tends to the best), for several window lengths; the largest is taken. It counts
fractions of groups and spreads work freely inside a window, so the true optimum is somewhat above it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

from llama_operator.replay.parameters import Parameters
from llama_operator.replay.traces import Request, Trace

_WINDOWS = (15.0, 45.0, 300.0, 900.0)  # seconds
_ROUNDS = 8


def bound(trace: Trace, parameters: Parameters, *, share: float = 0.99) -> float:
    """Group-seconds that at least are needed for this share of waits within the limit."""
    late = math.floor((1.0 - share) * len(trace.requests) + 1e-9)
    return max(_Bound.of(trace, parameters, length=one, late=late).value() for one in _WINDOWS)


#: Of a request: its first window, and its least slot-seconds in that and in each that follows.
_Parts = tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class _Bound:
    """One cut into windows; ``tardy`` is the same as ``prompt`` for when the request is one of the late ones."""

    prompt: tuple[_Parts, ...]
    tardy: tuple[_Parts, ...]
    late: int
    windows: int
    length: float
    delay: float
    slots: int

    @classmethod
    def of(cls, trace: Trace, parameters: Parameters, *, length: float, late: int) -> "_Bound":
        windows = max(1, round(trace.seconds / length))
        length = trace.seconds / windows

        def cut(limits: Iterable[float]) -> tuple[_Parts, ...]:
            pairs = zip(trace.requests, limits, strict=False)
            return tuple(
                _parts(one, parameters.seconds(one), limit=limit, length=length, windows=windows)
                for one, limit in pairs
            )

        return cls(
            prompt=cut(repeat(parameters.wait)),
            tardy=cut(_patience(trace.requests, parameters.wait, late)),
            late=late,
            windows=windows,
            length=length,
            delay=parameters.startDelay * (1.0 - parameters.startSpread),
            slots=parameters.slots,
        )

    def value(self) -> float:
        """Compute the best of the bounds that the rounds came by."""
        tardiness = [0.0] * len(self.prompt)  # mean so far of "is one of the late"
        prices = [0.0] * (self.windows + 1)  # mean so far of z
        best = 0.0
        for number in range(1, _ROUNDS + 1):
            answer = self._prices(self._needs(tardiness))
            prices = [old + (new - old) / number for old, new in zip(prices, answer, strict=True)]
            value, chosen = self._bound(prices)
            best = max(best, value)
            tardiness = [old + ((index in chosen) - old) / number for index, old in enumerate(tardiness)]
        return best

    def _bound(self, prices: Sequence[float]) -> tuple[float, set[int]]:
        """Compute the bound that these prices give, and the requests whose lateness saves most."""
        in_time, when_late = self._worth(self.prompt, prices), self._worth(self.tardy, prices)
        saved = [one - other for one, other in zip(in_time, when_late, strict=True)]
        chosen = sorted(range(len(saved)), key=saved.__getitem__, reverse=True)[: self.late]
        value = sum(in_time) - sum(saved[index] for index in chosen)
        return value, set(chosen)

    def _needs(self, tardiness: Sequence[float]) -> list[float]:
        needs = [0.0] * self.windows
        scale = self.slots * self.length
        for late, prompt, tardy in zip(tardiness, self.prompt, self.tardy, strict=True):
            for weight, (first, parts) in ((1.0 - late, prompt), (late, tardy)):
                for window, seconds in enumerate(parts if weight else (), first):
                    needs[window] += weight * seconds / scale
        return needs

    def _worth(self, requests: Sequence[_Parts], prices: Sequence[float]) -> list[float]:
        each = [
            (1.0 + (prices[window] - prices[window + 1]) / self.length) / self.slots for window in range(self.windows)
        ]
        return [sum(each[window] * one for window, one in enumerate(parts, first)) for first, parts in requests]

    def _prices(self, needs: Sequence[float]) -> list[float]:
        """Find the z that is best for these needs: largest sum of z[k] (q[k] - q[k-1]), by dynamic programming.

        Corners of what is allowed have z at 0 or delay, or a whole number of windows away from one of them.
        """
        count = math.ceil(self.delay / self.length)
        steps = [self.length * number for number in range(count)]
        grid = sorted({*steps, *(max(0.0, self.delay - one) for one in steps), 0.0, self.delay})
        best = [0.0 if one == 0.0 else -math.inf for one in grid]
        chosen: list[list[int]] = []
        for window in range(1, self.windows):
            rise = needs[window] - needs[window - 1]
            before = self._reachable(grid, best)
            chosen.append(before)
            best = [best[before[index]] + rise * one for index, one in enumerate(grid)]
        at = max(range(len(grid)), key=lambda index: best[index])
        path = [at]
        for before in reversed(chosen):
            at = before[at]
            path.append(at)
        return [*(grid[index] for index in reversed(path)), 0.0]

    def _reachable(self, grid: Sequence[float], best: Sequence[float]) -> list[int]:
        """Find for each value of z the best one that may stand before it: any that is at least it less a window."""
        found: list[int] = []
        top = len(grid)
        leader = top - 1
        for value in reversed(grid):
            while top > 0 and grid[top - 1] >= value - self.length - 1e-9:
                top -= 1
                leader = top if best[top] > best[leader] else leader
            found.append(leader)
        return found[::-1]


def _patience(requests: Sequence[Request], limit: float, late: int) -> Iterator[float]:
    """Compute how long each request can wait if it is one of the late."""
    for index, request in enumerate(requests):
        following = index + late + 1
        yield requests[following].arrival + limit - request.arrival if following < len(requests) else math.inf


def _parts(request: Request, seconds: float, *, limit: float, length: float, windows: int) -> _Parts:
    begin, end = request.arrival, request.arrival + seconds
    latest = request.arrival + limit
    first = min(windows - 1, int(begin / length))
    last = min(windows - 1, int((end + limit) / length)) if limit < math.inf else first
    parts = tuple(
        max(0.0, min(seconds, length, end - window * length, (window + 1) * length - latest))
        for window in range(first, last + 1)
    )
    return first, parts
