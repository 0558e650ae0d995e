"""A gateway's queue and its groups in virtual time, event by event.

A request waits in one queue, first in first out, until a group that serves has a free slot; it goes to the one with the
fewest requests. It runs for prompt/prefill + answer x perToken seconds, times 1 + slowdown x (others in the batch) /
(slots - 1). A new group serves after its start delay. A group that is given up drains: it gets nothing more, ends what
it has, and could serve again. Of what shall go, starting groups go first, the youngest first; of what shall come,
draining ones return to rotation first: as the operator does it, for every policy. GPU-seconds count from a group's
creation to its end, or to the trace's. After the trace nothing is decided; what still waits is served by what is there.
Nothing of a warm-up is counted: neither requests that arrive, nor seconds that pass, nor targets that are set in it.
"""

import heapq
import math
import random
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.policy import Policy, Seen
from llama_operator.replay.traces import Request, Trace

_TICK = 1.0  # seconds between two readings
_ENDED, _READY = 0, 1


@dataclass(slots=True)
class _Group:
    made: float
    number: int
    serving: bool = False
    draining: bool = False
    gone: bool = False
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One second of a run, for plots and recordings."""

    time: float
    arrived: int
    in_flight: int
    waiting: int
    oldest_wait: float
    serving: int
    starting: int
    leaving: int
    target: int


@dataclass(frozen=True)
class Run:
    """What came of it behind the warm-up. ``waits``: one a request, in the order of arrival; inf: never served."""

    waits: tuple[float, ...]
    group_seconds: float
    targets: tuple[int, ...]  # one a second; the first is that with which the warm-up ends
    points: tuple[Point, ...] = ()  # those of the warm-up, too


@dataclass(slots=True)
class _Counts:
    """Of one second."""

    arrived: int = 0
    arrived_prompt: int = 0
    served: int = 0
    served_answer: int = 0
    served_seconds: float = 0.0
    starts: list[float] = field(default_factory=list)


def first_groups(trace: Trace, parameters: Parameters) -> int:
    """Count the groups with which a run begins: enough for the first five minutes at 80 % of the slots."""
    span = min(300.0, trace.seconds)
    work = sum(parameters.seconds(one) for one in trace.requests if one.arrival < span)
    wanted = math.ceil(work / span / parameters.slots / 0.8)
    return max(parameters.minReplicas, 1, min(wanted, parameters.maxReplicas))


def simulate(
    trace: Trace, parameters: Parameters, policy: Policy, *,
    initial: int, seed: int = 0, keep: bool = False, warmup: float = 0.0,
) -> Run:  # fmt: skip
    """Replay the trace under a policy that begins with ``initial`` serving groups; ``keep`` keeps the points.

    The policy sees the first ``warmup`` seconds as it sees all others, and is judged by what follows.
    """
    return _Simulation(trace, parameters, policy, initial=initial, seed=seed, keep=keep, warmup=warmup).run()


class _Simulation:
    def __init__(
        self, trace: Trace, parameters: Parameters, policy: Policy, *,
        initial: int, seed: int, keep: bool, warmup: float,
    ) -> None:  # fmt: skip
        self.trace, self.parameters, self.policy, self.keep = trace, parameters, policy, keep
        self.warmup = warmup
        self.draw = random.Random(seed)
        self.groups: list[_Group] = [_Group(0.0, number, serving=True) for number in range(initial)]
        self.made = initial
        self.target = initial
        self.events: list[tuple[float, int, int, _Group, Request | None]] = []
        self.counter = 0
        self.queue: deque[tuple[int, Request]] = deque()
        self.waits: list[float] = [math.inf] * len(trace.requests)
        self.in_flight = 0
        self.now = 0.0
        self.area = 0.0  # of requests in flight and waiting, since the last reading
        self.cost = 0.0
        self.counts = _Counts()
        self.decided = -math.inf
        self.targets: list[int] = []
        self.points: list[Point] = []
        self.answers = (0, 0)  # tokens and requests served so far: what a waiting one is expected to get

    def run(self) -> Run:
        requests, end = self.trace.requests, self.trace.seconds
        following = 0
        tick = _TICK
        while following < len(requests) or tick <= end:
            arrival = requests[following].arrival if following < len(requests) else math.inf
            limit = min(arrival, tick)
            if self.events and self.events[0][0] <= limit:
                self._event()
            elif arrival < tick:
                self._advance(arrival)
                self._arrive(following, requests[following])
                following += 1
            else:
                self._advance(tick)
                self._reading()
                tick += _TICK
        while self.events and self.events[0][0] <= end:  # a trace may end between two readings
            self._event()
        self._finish(end)
        judged = bisect_left(requests, self.warmup, key=lambda one: one.arrival)
        return Run(tuple(self.waits[judged:]), self.cost, tuple(self.targets), tuple(self.points))

    def _finish(self, end: float) -> None:
        for group in self.groups:
            self.cost += self._judged_seconds(group, end)
        self.groups = [group for group in self.groups if not group.draining]
        while self.events and (self.queue or self.in_flight):
            self._event()

    def _advance(self, now: float) -> None:
        self.area += (self.in_flight + len(self.queue)) * (now - self.now)
        self.now = now

    def _event(self) -> None:
        time, kind, _, group, request = heapq.heappop(self.events)
        if kind == _READY:
            if not group.gone:
                self._advance(time)
                self._ready(group)
            return
        self._advance(time)
        assert request is not None
        self._end(group, request)

    def _ready(self, group: _Group) -> None:
        group.serving = True
        self.counts.starts.append(self.now - group.made)
        self._dispatch()

    def _arrive(self, index: int, request: Request) -> None:
        counts = self.counts
        counts.arrived += 1
        counts.arrived_prompt += request.prompt
        self.queue.append((index, request))
        self._dispatch()

    def _dispatch(self) -> None:
        slots = self.parameters.slots
        while self.queue:
            best = None
            least = slots
            for group in self.groups:
                if group.in_flight < least and group.serving and not group.draining:
                    best, least = group, group.in_flight
            if best is None:
                return
            index, request = self.queue.popleft()
            self.waits[index] = self.now - request.arrival
            self._begin(best, request)

    def _begin(self, group: _Group, request: Request) -> None:
        parameters = self.parameters
        seconds = parameters.seconds(request)
        if parameters.slowdown and parameters.slots > 1:
            seconds *= 1.0 + parameters.slowdown * group.in_flight / (parameters.slots - 1)
        group.in_flight += 1
        self.in_flight += 1
        # What it took is known when it ends; kept in the event as the request's arrival, now its begin.
        self._push(self.now + seconds, _ENDED, group=group, request=request._replace(arrival=self.now))

    def _push(self, time: float, kind: int, *, group: _Group, request: Request | None = None) -> None:
        self.counter += 1
        heapq.heappush(self.events, (time, kind, self.counter, group, request))

    def _end(self, group: _Group, request: Request) -> None:
        counts = self.counts
        counts.served += 1
        counts.served_answer += request.answer
        counts.served_seconds += self.now - request.arrival
        self.answers = (self.answers[0] + request.answer, self.answers[1] + 1)
        group.in_flight -= 1
        self.in_flight -= 1
        if not group.draining:
            self._dispatch()
        elif not group.in_flight:
            self._remove(group)

    def _remove(self, group: _Group) -> None:
        if group in self.groups:
            group.gone = True
            self.groups.remove(group)
            self.cost += self._judged_seconds(group, self.now)

    def _judged_seconds(self, group: _Group, end: float) -> float:
        """Count the seconds that a group was there behind the warm-up."""
        return max(0.0, end - max(group.made, self.warmup))

    def _reading(self) -> None:
        seen = self._seen()
        self.policy.watch(seen)
        if self.now - self.decided >= self.policy.interval - 1e-9:
            self.decided = self.now
            self._scale(self.policy.decide(seen))
        if self.now >= self.warmup:
            self.targets.append(self.target)
        if self.keep:
            self._point(seen)
        self.counts = _Counts()
        self.area = 0.0

    def _seen(self) -> Seen:
        counts = self.counts
        waiting = len(self.queue)
        tokens, served = self.answers
        load = Load(
            known=True,
            span=_TICK,
            waiting=waiting,
            oldest_wait=self.now - self.queue[0][1].arrival if waiting else 0.0,
            in_flight=self.in_flight,
            waiting_answer_tokens=round(waiting * tokens / served) if served else 0,
            arrived=counts.arrived,
            arrived_prompt_tokens=counts.arrived_prompt,
            served=counts.served,
            served_answer_tokens=counts.served_answer,
            served_seconds=counts.served_seconds,
        )
        return Seen(self.now, load, self._states(), self.target, self.area / _TICK, tuple(counts.starts))

    def _states(self) -> GroupCounts:
        serving = leaving = 0
        starting: list[float] = []
        for group in self.groups:
            if group.draining:
                leaving += 1
            elif group.serving:
                serving += 1
            else:
                starting.append(self.now - group.made)
        return GroupCounts(serving=serving, starting=tuple(starting), leaving=leaving)

    def _point(self, seen: Seen) -> None:
        load, groups = seen.load, seen.groups
        self.points.append(
            Point(
                time=self.now,
                arrived=load.arrived,
                in_flight=load.in_flight,
                waiting=load.waiting,
                oldest_wait=load.oldest_wait,
                serving=groups.serving,
                starting=len(groups.starting),
                leaving=groups.leaving,
                target=self.target,
            )
        )

    def _scale(self, target: int) -> None:
        self.target = target
        staying = [group for group in self.groups if not group.draining]
        for group in sorted(staying, key=lambda one: (one.serving, -one.number))[: max(0, len(staying) - target)]:
            group.draining = True
            if not group.in_flight:
                self._remove(group)
        missing = target - len(staying)
        for group in [one for one in self.groups if one.draining][: max(0, missing)] if missing > 0 else []:
            group.draining = False
            missing -= 1
        for _ in range(missing):
            self._make()
        self._dispatch()

    def _make(self) -> None:
        parameters = self.parameters
        group = _Group(self.now, self.made)
        self.made += 1
        self.groups.append(group)
        spread = parameters.startSpread
        delay = parameters.startDelay * (self.draw.uniform(1 - spread, 1 + spread) if spread else 1.0)
        self._push(self.now + delay, _READY, group=group)
