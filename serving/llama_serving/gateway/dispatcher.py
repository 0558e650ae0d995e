"""The router with a clock and with coroutines that wait: the only place that wakes a waiting request."""

import asyncio
from collections.abc import Callable, Iterable

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.fair.flow import Flow
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import AttemptFault
from llama_serving.gateway.routing.router import QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket


class QueueTimeoutError(Exception):
    """The request has waited for ``queue_timeout``; the message says why, with numbers.

    ``retry_after``: whole seconds after which it is worth while to ask again.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestAtFaultError(Exception):
    """The request itself is the cause of its failures (routing/blame.py); the message says what failed."""


class QueueFullError(Exception):
    """The queue has its maximum length, or a request would wait in it too long; ``retry_after`` in whole seconds."""

    def __init__(self, full: QueueFull) -> None:
        super().__init__(_why_full(full))
        self.retry_after = full.retry_after
        self.is_late = full.expected_wait is not None


def _why_full(full: QueueFull) -> str:
    if full.expected_wait is not None:
        return (
            f"it would wait about {full.expected_wait:.0f} s for a group, and gateway.shedAfterSeconds is"
            f" {full.allowed:g} ({full.waiting} requests waiting)"
        )
    dropped = "; this one was the newest of the client with the most" if full.dropped else ""
    return f"queue is full ({full.waiting} requests waiting){dropped}"


class Dispatcher:
    """Assigns backends to requests. Each waiting request has a future that wakes it."""

    def __init__(self, router: Router, clock: Callable[[], float]) -> None:
        self.router = router
        self.clock = clock
        self.probe_wanted = asyncio.Event()
        self._wakes: dict[Ticket, asyncio.Future[None]] = {}
        self._closed = ""

    def admit(
        self, size: RequestSize | None = UNKNOWN, *, adapter: str | None = None, flow: Flow | None = None
    ) -> Ticket:
        """Accept a request; raises QueueFullError. ``finish`` must follow, however the request ends.

        ``size``: None for one that is no work for a group. ``adapter``: that it is for; None: the base. ``flow``: the
        client whose it is; None: of all that are not told apart.
        """
        admitted = self.router.admit(self.clock(), size, adapter=adapter, flow=flow)
        while self.router.dropped:
            dropped, full = self.router.dropped.pop()
            self.end_waiting(dropped, QueueFullError(full))
        if isinstance(admitted, QueueFull):
            raise QueueFullError(admitted)
        return admitted

    async def wait_for_backend(self, ticket: Ticket) -> Backend:
        """Wait until the request has a backend; raises QueueTimeoutError and RequestAtFaultError."""
        while ticket.backend is None:
            if ticket.is_cause:
                raise RequestAtFaultError(ticket.last_fault)
            if self._closed:
                raise QueueTimeoutError(self._closed, 1)  # another gateway takes it
            await self._wait(ticket)
        return ticket.backend

    def may_retry(self, ticket: Ticket, fault: AttemptFault) -> bool:
        """Record a failed attempt; return whether the request is retried, then ``requeue`` must follow."""
        retry = self.router.may_retry(ticket, fault, self.clock())
        self.probe_wanted.set()
        return retry

    def requeue(self, ticket: Ticket) -> None:
        """Queue a placed request again, in order of its arrival."""
        self._wake(self.router.requeue(ticket, self.clock()))

    def answered(self, ticket: Ticket, *, good: bool) -> None:
        """Record the beginning of an answer for the client; ``good``: it is no error."""
        self._look_at(ticket)
        self._wake(self.router.answered(ticket, self.clock(), good=good))

    def completed(self, ticket: Ticket) -> None:
        """Record that a good answer has come to its end."""
        self._look_at(ticket)
        self.router.completed(ticket, self.clock())

    def doubt(self, ticket: Ticket) -> None:
        """Record that an answer broke off which nobody can continue: its backend is probed."""
        self.router.doubt(ticket, self.clock())
        self.probe_wanted.set()

    def finish(self, ticket: Ticket, *, tokens: int | None = None) -> None:
        """Finish a request. A second call does nothing. ``tokens``: that it took; None: as many as were expected."""
        if tokens is not None and ticket.backend is not None:
            self.router.settle(ticket, tokens)
        self._wake(self.router.finish(ticket, self.clock()))

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Take over the endpoints that discovery knows."""
        self._wake(self.router.update(endpoints, self.clock()))

    def probed(self, backend: Backend, *, token: int, good: bool | None) -> None:
        """Record the result of a probe; None where it could not be made."""
        self._wake(self.router.probed(backend, token=token, good=good, now=self.clock()))

    def recheck(self) -> None:
        """Let the engines be asked again that had not the adapter of a request, where it is time."""
        self._wake(self.router.recheck(self.clock()))

    def refuse(self, why_not: Callable[[str], Exception | None]) -> None:
        """End the waiting of requests for adapters that no group will ever have; ``why_not``: the error of each.

        A stream that has begun waits on: it may be continued only with the very adapter that began it.
        """
        for ticket, wake in self._wakes.items():
            if ticket.adapter is None or ticket.tries.answer_begun or wake.done():
                continue
            if (error := why_not(ticket.adapter)) is not None:
                wake.set_exception(error)

    def end_waiting(self, ticket: Ticket, error: Exception) -> bool:
        """End the waiting of a request with ``error``; return False where it does not wait."""
        wake = self._wakes.get(ticket)
        if wake is None or wake.done():
            return False
        wake.set_exception(error)
        return True

    def close(self, reason: str) -> None:
        """End all waiting, now and later, with a QueueTimeoutError that says ``reason``: the process ends."""
        self._closed = reason
        self._wake(list(self._wakes))

    async def _wait(self, ticket: Ticket) -> None:
        wake = asyncio.get_running_loop().create_future()
        self._wakes[ticket] = wake
        try:
            async with asyncio.timeout(self.router.deadline(ticket) - self.clock()):
                await wake
        except TimeoutError:
            if ticket.backend is None:
                after = self.router.retry_after(self.clock())
                raise QueueTimeoutError(self._timeout_message(ticket), after) from None
        finally:
            del self._wakes[ticket]

    def _look_at(self, ticket: Ticket) -> None:
        """Let probes be planned anew where the answer to a request may take a group out."""
        if ticket.charges.are_open:
            self.probe_wanted.set()

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            wake = self._wakes.get(ticket)
            if wake is not None and not wake.done():
                wake.set_result(None)

    def _timeout_message(self, ticket: Ticket) -> str:
        timeout = self.router.limits.queue_timeout
        failed = f"; failed attempts: {ticket.tries.retries}, last: {ticket.last_fault}" if ticket.last_fault else ""
        return f"no group became available within {timeout:g} s: {self.router.why_waiting(ticket.adapter)}{failed}"
