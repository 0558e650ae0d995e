"""The router with a clock and with coroutines that wait: the only place that wakes a waiting request."""

import asyncio
from collections.abc import Callable, Iterable

from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.request_size import UNKNOWN, RequestSize
from llama_serving.gateway.routing.retry_policy import Fault
from llama_serving.gateway.routing.router import QueueFull, Router
from llama_serving.gateway.routing.ticket import Ticket


class QueueTimeoutError(Exception):
    """The request has waited as long as it may; the message says for what, with numbers."""


class QueueFullError(Exception):
    """No more requests may wait; ``retry_after`` in whole seconds."""

    def __init__(self, full: QueueFull) -> None:
        super().__init__(f"{full.waiting} requests wait already")
        self.retry_after = full.retry_after


class Dispatcher:
    """Hands out groups to requests. Ends of waiting are futures; their number is the number of waiting requests."""

    def __init__(self, router: Router, clock: Callable[[], float]) -> None:
        self.router = router
        self.clock = clock
        self.probe_wanted = asyncio.Event()
        self._wakes: dict[Ticket, asyncio.Future[None]] = {}
        self._closed = ""

    def admit(self, size: RequestSize | None = UNKNOWN) -> Ticket:
        """Take in a request; raises QueueFullError. ``leave`` must follow, however the request ends.

        ``size``: None for one that is no work for a group.
        """
        admitted = self.router.admit(self.clock(), size)
        if isinstance(admitted, QueueFull):
            raise QueueFullError(admitted)
        return admitted

    async def placed(self, ticket: Ticket) -> Backend:
        """Wait until the request has a group; raises QueueTimeoutError."""
        while ticket.group is None:
            if self._closed:
                raise QueueTimeoutError(self._closed)
            await self._wait(ticket)
        return ticket.group

    def may_repeat(self, ticket: Ticket, fault: Fault) -> bool:
        """Note a failed attempt; say whether the request is tried again, which ``put_back`` must then do."""
        repeat = self.router.may_repeat(ticket, fault, self.clock())
        self.probe_wanted.set()
        return repeat

    def put_back(self, ticket: Ticket) -> None:
        """Queue a request again, at the place of its arrival."""
        self._wake(self.router.put_back(ticket, self.clock()))

    def answered(self, ticket: Ticket) -> None:
        """Note that the request's group works."""
        self.router.answered(ticket)

    def leave(self, ticket: Ticket) -> None:
        """End a request. A second call does nothing."""
        self._wake(self.router.leave(ticket, self.clock()))

    def update(self, targets: Iterable[Endpoint]) -> None:
        """Take over what discovery knows."""
        self._wake(self.router.update(targets, self.clock()))

    def probed(self, group: Backend, *, token: int, good: bool) -> None:
        """Note the result of a probe."""
        self._wake(self.router.probed(group, token=token, good=good, now=self.clock()))

    def close(self, reason: str) -> None:
        """Let nobody wait any longer, now or later: the process ends."""
        self._closed = reason
        self._wake(list(self._wakes))

    async def _wait(self, ticket: Ticket) -> None:
        wake = asyncio.get_running_loop().create_future()
        self._wakes[ticket] = wake
        try:
            async with asyncio.timeout(self.router.deadline(ticket) - self.clock()):
                await wake
        except TimeoutError:
            if ticket.group is None:
                raise QueueTimeoutError(self._why(ticket)) from None
        finally:
            del self._wakes[ticket]

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            wake = self._wakes.get(ticket)
            if wake is not None and not wake.done():
                wake.set_result(None)

    def _why(self, ticket: Ticket) -> str:
        waited = self.router.limits.wait
        failed = f"; {ticket.tries.retries} tries failed, the last: {ticket.last_fault}" if ticket.last_fault else ""
        return f"no group became free within {waited:g} s: {self.router.why_waiting()}{failed}"
