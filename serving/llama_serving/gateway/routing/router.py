"""Which request goes to which backend, and when.

Rule: least outstanding among the backends that are ready, not ejected, below their limit, have the request's adapter
and have not failed this request; among equals the one that was granted least recently. A request that finds none waits
in order of arrival; at most ``max_queue_length`` wait, each at most ``queue_timeout`` seconds in all. With
``shed_after`` a request is rejected at once that is likely to wait longer than that (slot_time.py); none is while no
group is ready. Whenever a slot
may have become free, ``_grant`` hands out all free slots. So at rest a free slot means that no waiting request may use
it, and a new request can take it without overtaking.

Clients share the queue fairly (fair/flow.py); one of them, or none that is known, keeps the order of arrival. When
the queue is full, the newest request of the client with the most waiting is dropped for one of a client with fewer.

Requests for adapters that no backend has may take at most half of the queue while others are served: the other half is
for requests that wait for a slot.

Methods that may place waiting requests return those that they placed, and those that will be placed nowhere because
they are themselves the cause of their failures (blame.py); the caller wakes them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from llama_serving.gateway.routing.adapter_demand import AdapterDemand
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.blame import Blame
from llama_serving.gateway.routing.completion_rate import MAX_RETRY_AFTER, CompletionRate
from llama_serving.gateway.routing.ejection import Health
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.expected_start import ExpectedStart
from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.slot_time import SlotTime
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.routing.wait_queue import WaitQueue

#: Seconds for which an engine is not asked again for an adapter that it said it has not, without news of discovery.
ABSENT_PAUSE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of requests, and seconds; ``max_in_flight`` per backend."""

    max_in_flight: int
    max_queue_length: int
    queue_timeout: float
    max_retries: int
    ejection: float
    shed_after: float | None = None


@dataclass(frozen=True, slots=True)
class QueueFull:
    """A rejection: ``waiting`` requests fill the queue; ``retry_after`` in whole seconds.

    ``dropped``: it had waited, and made room for another client. ``expected_wait``: seconds that it would have waited,
    where that is why it is rejected, and ``allowed`` those that it might have.
    """

    waiting: int
    retry_after: int
    dropped: bool = False
    expected_wait: float | None = None
    allowed: float = 0.0


class Router:
    """Backends, the queue and the rule above; not safe for threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.backends: dict[str, Backend] = {}
        self._blame = Blame(self.backends)
        self.queue = WaitQueue()
        self.expected_start = ExpectedStart()
        self.demand = AdapterDemand()
        self.dropped: list[tuple[Ticket, QueueFull]] = []  # since the caller looked last
        self._everybody = Flow()
        self._completions = CompletionRate()
        self._slot_time = SlotTime()
        self._seq = 0
        self._first_proof = 0  # of a backend that discovery names again
        self._grants = 0
        self._no_work = 0  # requests on backends that are no work

    def update(self, endpoints: Iterable[Endpoint], now: float) -> list[Ticket]:
        """Replace the known endpoints by ``endpoints``: all of them, not a difference."""
        seen = {endpoint.key: endpoint for endpoint in endpoints}
        for key, endpoint in seen.items():
            self._take_over(key, endpoint)
        for key in [k for k in self.backends if k not in seen]:
            self.backends[key].gone = True
            self._forget_if_gone(self.backends[key])
        self._blame.pardon()
        return self._grant(now)

    def admit(
        self, now: float, size: RequestSize | None = UNKNOWN, *, adapter: str | None = None, flow: Flow | None = None
    ) -> Ticket | QueueFull:
        """Accept a new request: place it at once or queue it; return QueueFull when it is rejected.

        ``flow``: the client whose it is; None: of all that are not told apart. Requests of others that lost their place
        for it are in ``dropped``.
        """
        self._seq += 1
        ticket = Ticket(seq=self._seq, arrived=now, flow=flow or self._everybody, size=size, adapter=adapter)
        self.demand.arrived(ticket, now)
        backend = self._pick(ticket)
        if backend is None:
            if late := self._too_late(ticket):
                return late
            if not self._may_wait(ticket, now):
                return self._full(now)
        self.queue.join(ticket)
        if backend is not None:
            self._place(ticket, backend, now)
        else:
            ticket.waiting_since = now
            self.queue.append(ticket)
        return ticket

    def settle(self, ticket: Ticket, tokens: int) -> None:
        """Charge the ticket's client for the tokens that it took in the end."""
        self.queue.settle(ticket, tokens)

    def retry_after(self, now: float) -> int:
        """Return the whole seconds after which a client may ask again: by the start where no group is ready."""
        if any(backend.endpoint.ready and not backend.gone for backend in self.backends.values()):
            return self._completions.retry_after(len(self.queue), now)
        return self.expected_start.retry_after(now)

    def answered(self, ticket: Ticket, now: float, *, good: bool = True) -> list[Ticket]:
        """Record the beginning of an answer for the client; ``good``: it is no error."""
        backend = ticket.backend
        if backend is None:
            return []
        backend.health.heard(ticket.epoch)
        if good and ticket.generates:
            backend.health.worked(ticket.epoch, now)
        if good and not ticket.tries.answer_begun:
            self._blame.settle(ticket, now)
        return self._causes()

    def completed(self, ticket: Ticket, now: float) -> None:
        """Record that a good answer has come to its end."""
        if ticket.backend is not None and ticket.generates:
            ticket.backend.health.answered(ticket.epoch)
        self._blame.settle(ticket, now)

    def doubt(self, ticket: Ticket, now: float) -> None:
        """Record that an answer broke off which nobody can continue."""
        if ticket.backend is not None:
            ticket.backend.health.doubt(epoch=ticket.epoch, now=now)

    def may_retry(self, ticket: Ticket, fault: AttemptFault, now: float) -> bool:
        """Record a failed attempt; return whether the request is retried, then ``requeue`` must follow."""
        backend = ticket.backend
        if backend is None:
            raise ValueError("a request without a backend cannot have failed there")
        if fault.kind is FaultKind.ADAPTER_ABSENT and ticket.adapter is not None:
            backend.absent[ticket.adapter] = now + ABSENT_PAUSE
            ticket.last_fault = f"group {backend.endpoint.name} {fault.detail}"
            return True
        self._blame.failed(ticket, fault, now)
        ticket.note_fault(backend, fault)
        may_wait = not self._blame.is_on(ticket) and self._may_wait_again(ticket, fault)
        retry = may_wait and ticket.tries.may_retry(fault, self.limits.max_retries)
        if not retry:
            ticket.charges.drop()
        return retry

    def requeue(self, ticket: Ticket, now: float) -> list[Ticket]:
        """Queue a placed request again, in order of its arrival; its backend gets the slot back."""
        self._release(ticket, now)
        ticket.waiting_since = now
        self.queue.requeue(ticket)
        return self._grant(now)

    def finish(self, ticket: Ticket, now: float) -> list[Ticket]:
        """Finish a request, queued or placed. A second call does nothing."""
        if ticket.is_queued:
            self._stop_waiting(ticket, now)
            self._end(ticket, now)
            return []
        if ticket.backend is None:
            return []
        self._release(ticket, now)
        self._end(ticket, now)
        self._completions.note(now)
        if ticket.generates:
            self._slot_time.note(ticket.used)
        return self._grant(now)

    def can_move(self, ticket: Ticket) -> bool:
        """Return whether a request's backend is to lose its streams, and another one with its weights can take them."""
        backend = ticket.backend
        if backend is None or not backend.endpoint.moving:
            return False
        weights = backend.endpoint.weights
        others = (other for other in self.backends.values() if other is not backend and other.is_routable)
        return weights != "" and any(o.endpoint.weights == weights and ticket.finds_adapter(o) for o in others)

    def deadline(self, ticket: Ticket) -> float:
        """Return when a waiting request times out; time spent on a backend does not count."""
        since = ticket.arrived if ticket.waiting_since is None else ticket.waiting_since
        return since + self.limits.queue_timeout - ticket.waited

    def due_probes(self, now: float) -> list[tuple[Backend, int]]:
        """Start the probes that are due; return each backend with the token that the result must carry."""
        due = [backend for at, backend in self._wanted_probes() if at <= now]
        return [(backend, backend.health.start_probe()) for backend in due]

    def next_probe(self) -> float | None:
        """Return when the next probe is due; None when none is."""
        return min((at for at, _ in self._wanted_probes()), default=None)

    def probed(self, backend: Backend, *, token: int, good: bool | None, now: float) -> list[Ticket]:
        """Record the result of a probe that ``due_probes`` started; None where the probe could not be made."""
        backend.health.probed(token=token, good=good, now=now)
        self._blame.pardon()
        return self._grant(now)

    def next_recheck(self) -> float | None:
        """Return when a backend may next be asked again for an adapter that it said it has not; None: never."""
        return min((at for backend in self.backends.values() for at in backend.absent.values()), default=None)

    def recheck(self, now: float) -> list[Ticket]:
        """Let the backends be asked again whose time has come."""
        for backend in self.backends.values():
            for name in [name for name, at in backend.absent.items() if at <= now]:
                del backend.absent[name]
        return self._grant(now)

    def in_flight(self) -> int:
        """Return the number of requests on all backends that are work for them."""
        return sum(backend.in_flight for backend in self.backends.values()) - self._no_work

    def oldest_wait(self, now: float) -> float:
        """Return the seconds for which the longest-waiting request has waited; 0 when none waits."""
        since = self.queue.oldest_since()
        return 0.0 if since is None else now - since

    def why_waiting(self, adapter: str | None = None) -> str:
        """Return a clause with numbers that says why a request gets no group; ``adapter``: that it is for."""
        known = [backend for backend in self.backends.values() if not backend.gone]
        ready = [backend for backend in known if backend.endpoint.ready]
        ejected = sum(backend.health.ejected for backend in ready)
        busy = sum(backend.in_flight for backend in ready)
        held = sum(adapter is not None and backend.adapter_id(adapter) is not None for backend in ready)
        has = "" if adapter is None else f"adapter {adapter!r} is on {held} of {len(ready)} ready groups; "
        return (
            f"{has}{len(known)} groups known, {len(ready)} ready, {ejected} of those ejected after failures, "
            f"{busy} of {self.limits.max_in_flight * len(ready)} slots in use, {len(self.queue)} requests waiting"
        )

    def _take_over(self, key: str, endpoint: Endpoint) -> None:
        backend = self.backends.get(key)
        if backend is None:
            self.backends[key] = Backend(endpoint, Health(self.limits.ejection, proof=self._first_proof))
            return
        was_ready = backend.endpoint.ready and not backend.gone
        backend.take_over(endpoint)
        backend.gone = False
        if endpoint.ready and not was_ready:
            backend.health.became_ready()
            backend.absent.clear()

    def _full(self, now: float, *, dropped: bool = False) -> QueueFull:
        waiting = len(self.queue)
        return QueueFull(waiting, self._completions.retry_after(waiting, now), dropped)

    def _too_late(self, ticket: Ticket) -> QueueFull | None:
        """Reject a new request that would wait longer than ``shed_after``; a probe of the list of models never."""
        allowed = self.limits.shed_after
        if allowed is None or not ticket.generates:
            return None
        taken = sum(backend.in_flight for backend in self.backends.values() if backend.is_routable)
        expected = self._slot_time.expected_wait(self.queue.ahead_of(ticket.flow), taken)
        if expected is None or expected <= allowed:
            return None
        retry_after = min(max(math.ceil(expected - allowed), 1), MAX_RETRY_AFTER)
        return QueueFull(len(self.queue), retry_after, expected_wait=expected, allowed=allowed)

    def _end(self, ticket: Ticket, now: float) -> None:
        self.queue.leave(ticket)
        self.demand.ended(ticket, now)

    def _may_wait(self, ticket: Ticket, now: float) -> bool:
        """Return whether the queue has room for a new request, or has made it."""
        if self._is_stranded(ticket):
            return False
        if len(self.queue) < self.limits.max_queue_length:
            return True
        victim = self.queue.to_drop_for(ticket.flow)
        if victim is None:
            return False
        self.dropped.append((victim, self._full(now, dropped=True)))
        self._stop_waiting(victim, now)
        self._end(victim, now)
        return True

    def _is_stranded(self, ticket: Ticket) -> bool:
        """Return whether a request is for an adapter that no backend has, and too many of those wait."""
        ready = [backend for backend in self.backends.values() if backend.endpoint.ready and not backend.gone]
        if not ready or ticket.adapter is None or _has(ready, ticket.adapter):
            return False
        stranded = sum(count for adapter, count in self.queue.lines() if adapter and not _has(ready, adapter))
        return stranded >= -(-self.limits.max_queue_length // 2)

    def _wanted_probes(self) -> list[tuple[float, Backend]]:
        # A backend that is not ready gets no requests anyway, and starts anew when it becomes ready.
        backends = (backend for backend in self.backends.values() if backend.endpoint.ready and not backend.gone)
        return [(backend.health.probe_at, backend) for backend in backends if backend.health.probe_at is not None]

    def _causes(self) -> list[Ticket]:
        """Return the waiting requests that are known by now to be the cause of their failures."""
        return [ticket for ticket in self.queue.requeued if self._blame.is_on(ticket)]

    def _may_wait_again(self, ticket: Ticket, fault: AttemptFault) -> bool:
        """Return whether a failed request may wait for a group: those that none may get must not fill the queue."""
        if not fault.is_seen or len(self.queue.requeued) < self.limits.max_in_flight:
            return True
        routable = [backend for backend in self.backends.values() if backend.is_routable]
        return not routable or any(ticket.may_use(backend) for backend in routable)

    def _forget_if_gone(self, backend: Backend) -> None:
        if backend.gone and backend.in_flight == 0:
            # If discovery names it again, requests that failed on it may try it again.
            self._first_proof = max(self._first_proof, backend.health.proof + 1)
            self.backends.pop(backend.key, None)

    def _pick(self, ticket: Ticket, free: Iterable[Backend] | None = None) -> Backend | None:
        best: Backend | None = None
        saved = ticket.saves_attempt_for(self.backends.values())
        for backend in self._free() if free is None else free:
            if not ticket.may_use(backend) or (saved and backend.key in ticket.tried):
                continue
            if best is None or (backend.in_flight, backend.last_grant) < (best.in_flight, best.last_grant):
                best = backend
        return best

    def _free(self) -> list[Backend]:
        limit = self.limits.max_in_flight
        return [backend for backend in self.backends.values() if backend.in_flight < limit and backend.is_routable]

    def _grant(self, now: float) -> list[Ticket]:
        granted: list[Ticket] = []
        while free := self._free():
            for ticket in self.queue.candidates():
                backend = None if ticket.charges.bar_it else self._pick(ticket, free)
                if backend is not None:
                    self._stop_waiting(ticket, now, served=True)
                    self._place(ticket, backend, now)
                    granted.append(ticket)
                    break
            else:
                break
        return granted + self._causes()

    def _place(self, ticket: Ticket, backend: Backend, now: float) -> None:
        self._grants += 1
        self._no_work += ticket.size is None
        if ticket.adapter is not None:
            backend.by_adapter[ticket.adapter] += 1
        backend.last_grant = self._grants
        backend.in_flight += 1
        ticket.backend = backend
        ticket.epoch = backend.health.epoch
        ticket.placed_at = now

    def _release(self, ticket: Ticket, now: float) -> None:
        backend = ticket.backend
        if backend is None:
            raise ValueError("a request without a backend cannot be released")
        ticket.backend = None
        ticket.used += now - ticket.placed_at
        self._no_work -= ticket.size is None
        backend.in_flight -= 1
        if ticket.adapter is not None:
            backend.by_adapter[ticket.adapter] -= 1
            if not backend.by_adapter[ticket.adapter]:
                del backend.by_adapter[ticket.adapter]
        self._forget_if_gone(backend)

    def _stop_waiting(self, ticket: Ticket, now: float, *, served: bool = False) -> None:
        if ticket.waiting_since is None:
            raise ValueError("the request does not wait")
        self.queue.remove(ticket, served=served)
        ticket.waited += now - ticket.waiting_since
        ticket.waiting_since = None


def _has(backends: Iterable[Backend], adapter: str) -> bool:
    return any(adapter in backend.endpoint.adapters for backend in backends)
