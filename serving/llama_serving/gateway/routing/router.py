"""Which request goes to which group, and when.

Rule: least outstanding among the groups that are ready, not ejected, below their limit and not already failed by this
request; among equals the one left alone longest. Who finds none waits in order of arrival, at most ``waiting`` of
them and each at most ``wait`` seconds in all. Whenever a slot may have become free, ``_grant`` hands out all free
slots, so at rest a free slot means that no waiting request may use it: a new request can take it without overtaking.

Methods that may place waiting requests return those that they placed; the caller wakes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.completion_rate import CompletionRate
from llama_serving.gateway.routing.ejection import Health
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import Fault
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.routing.wait_queue import WaitQueue


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of requests, and seconds."""

    in_flight: int
    waiting: int
    wait: float
    retries: int
    ejection: float


@dataclass(frozen=True, slots=True)
class QueueFull:
    """The queue is full; ``retry_after`` in whole seconds."""

    waiting: int
    retry_after: int


class Router:
    """The state; not safe for threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.groups: dict[str, Backend] = {}
        self.line = WaitQueue()
        self._ends = CompletionRate()
        self._seq = 0
        self._oldest_proof = 0  # of a group that is listed anew
        self._grants = 0
        self._no_work = 0  # requests on groups that are no work

    def update(self, targets: Iterable[Endpoint], now: float) -> list[Ticket]:
        """Take over what discovery knows: all targets, not a difference."""
        seen = {target.key: target for target in targets}
        for key, target in seen.items():
            self._take_over(key, target)
        for key in [k for k in self.groups if k not in seen]:
            self.groups[key].gone = True
            self._forget_if_gone(self.groups[key])
        return self._grant(now)

    def admit(self, now: float, size: RequestSize | None = UNKNOWN) -> Ticket | QueueFull:
        """Take in a new request: placed at once, or waiting, or refused."""
        self._seq += 1
        ticket = Ticket(seq=self._seq, arrived=now, size=size)
        group = self._pick(ticket)
        if group is not None:
            self._place(ticket, group, now)
        elif len(self.line) < self.limits.waiting:
            ticket.waiting_since = now
            self.line.append(ticket)
        else:
            return QueueFull(len(self.line), self._ends.retry_after(len(self.line), now))
        return ticket

    def answered(self, ticket: Ticket) -> None:
        """Note that the ticket's group has answered: any head that is not a failure of the group."""
        if ticket.group is not None:
            ticket.group.health.answered(ticket.epoch)

    def may_repeat(self, ticket: Ticket, fault: Fault, now: float) -> bool:
        """Note a failed attempt and say whether the request is tried again; if so ``put_back`` must follow."""
        group = ticket.group
        if group is None:
            raise ValueError("a request without a group cannot have failed there")
        if fault.is_groups:
            group.health.failed(epoch=ticket.epoch, hard=fault.is_hard, now=now)
        ticket.note_fault(group, fault)
        return ticket.tries.may_repeat(fault, self.limits.retries)

    def put_back(self, ticket: Ticket, now: float) -> list[Ticket]:
        """Take a request back from its group into the line, at the place of its arrival."""
        self._release(ticket, now)
        ticket.waiting_since = now
        self.line.put_back(ticket)
        return self._grant(now)

    def leave(self, ticket: Ticket, now: float) -> list[Ticket]:
        """End a request, wherever it is. A second call does nothing."""
        if ticket.waiting_since is not None:
            self._stop_waiting(ticket, now)
            return []
        if ticket.group is None:
            return []
        self._release(ticket, now)
        self._ends.note(now)
        return self._grant(now)

    def can_move(self, ticket: Ticket) -> bool:
        """Say whether a request is on a group that is to be left, and another with the same weights can take it."""
        group = ticket.group
        if group is None or not group.target.moving:
            return False
        weights = group.target.weights
        others = (other for other in self.groups.values() if other is not group and other.is_routable)
        return weights != "" and any(other.target.weights == weights for other in others)

    def deadline(self, ticket: Ticket) -> float:
        """Return when a waiting request has waited long enough; time spent on a group does not count."""
        since = ticket.arrived if ticket.waiting_since is None else ticket.waiting_since
        return since + self.limits.wait - ticket.waited

    def due_probes(self, now: float) -> list[tuple[Backend, int]]:
        """Start the probes that are due: each group with the token that its result must carry."""
        due = [group for at, group in self._wanted_probes() if at <= now]
        return [(group, group.health.start_probe()) for group in due]

    def next_probe(self) -> float | None:
        """Return when the next probe is due; None when none is."""
        return min((at for at, _ in self._wanted_probes()), default=None)

    def probed(self, group: Backend, *, token: int, good: bool, now: float) -> list[Ticket]:
        """Note the result of a probe that ``due_probes`` started."""
        group.health.probed(token=token, good=good, now=now)
        return self._grant(now)

    def in_flight(self) -> int:
        """Return the number of requests on all groups that are work for them."""
        return sum(group.in_flight for group in self.groups.values()) - self._no_work

    def oldest_wait(self, now: float) -> float:
        """Return the seconds for which the longest-waiting request has waited; 0 when none waits."""
        since = self.line.oldest_since()
        return 0.0 if since is None else now - since

    def why_waiting(self) -> str:
        """Return a clause with numbers that says why a request does not get a group."""
        known = [group for group in self.groups.values() if not group.gone]
        ready = [group for group in known if group.target.ready]
        ejected = sum(group.health.ejected for group in ready)
        busy = sum(group.in_flight for group in ready)
        return (
            f"{len(known)} groups known, {len(ready)} ready, {ejected} of those ejected after failures, "
            f"{busy} of {self.limits.in_flight * len(ready)} slots in use, {len(self.line)} requests waiting"
        )

    def _take_over(self, key: str, target: Endpoint) -> None:
        group = self.groups.get(key)
        if group is None:
            self.groups[key] = Backend(target, Health(self.limits.ejection, proof=self._oldest_proof))
            return
        was_ready = group.target.ready and not group.gone
        group.target = target
        group.gone = False
        if target.ready and not was_ready:
            group.health.became_ready()

    def _wanted_probes(self) -> list[tuple[float, Backend]]:
        # A group that is not ready gets no requests anyway, and starts anew when it becomes ready.
        groups = (group for group in self.groups.values() if group.target.ready and not group.gone)
        return [(group.health.probe_at, group) for group in groups if group.health.probe_at is not None]

    def _forget_if_gone(self, group: Backend) -> None:
        if group.gone and group.in_flight == 0:
            # Should it be listed again, requests that failed at it must not take it for what they failed at.
            self._oldest_proof = max(self._oldest_proof, group.health.proof + 1)
            self.groups.pop(group.key, None)

    def _pick(self, ticket: Ticket) -> Backend | None:
        limit = self.limits.in_flight
        best: Backend | None = None
        for group in self.groups.values():
            if group.in_flight >= limit or not group.is_routable or not ticket.may_use(group):
                continue
            if best is None or (group.in_flight, group.last_grant) < (best.in_flight, best.last_grant):
                best = group
        return best

    def _grant(self, now: float) -> list[Ticket]:
        granted: list[Ticket] = []
        while True:
            for ticket in self.line.candidates():
                group = self._pick(ticket)
                if group is not None:
                    self._stop_waiting(ticket, now)
                    self._place(ticket, group, now)
                    granted.append(ticket)
                    break
            else:
                return granted

    def _place(self, ticket: Ticket, group: Backend, now: float) -> None:
        self._grants += 1
        self._no_work += ticket.size is None
        group.last_grant = self._grants
        group.in_flight += 1
        ticket.group = group
        ticket.epoch = group.health.epoch
        ticket.placed_at = now

    def _release(self, ticket: Ticket, now: float) -> None:
        group = ticket.group
        if group is None:
            raise ValueError("a request without a group cannot be released")
        ticket.group = None
        ticket.used += now - ticket.placed_at
        self._no_work -= ticket.size is None
        group.in_flight -= 1
        self._forget_if_gone(group)

    def _stop_waiting(self, ticket: Ticket, now: float) -> None:
        if ticket.waiting_since is None:
            raise ValueError("the request does not wait")
        self.line.remove(ticket)
        ticket.waited += now - ticket.waiting_since
        ticket.waiting_since = None
