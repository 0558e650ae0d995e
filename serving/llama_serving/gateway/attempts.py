"""Sends a request to one group after the other, until there is an answer for the client.

wait for a backend -> attempt -> the beginning of an answer
      ^------ failed, may be retried --'
"""

import asyncio
from typing import Final

from llama_serving.gateway.dispatcher import Dispatcher, RequestAtFaultError
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import AttemptError, ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply, attempt

#: Seconds in which a group must answer a request that is not to wait; clients and monitors wait longer.
AT_ONCE: Final = 2.0


class BackendError(Exception):
    """The last attempt failed and the request is not retried; ``status`` for the client."""

    def __init__(self, fault: AttemptFault | None, ticket: Ticket) -> None:
        super().__init__(f"{ticket.last_fault} (attempt {ticket.tries.retries + 1})")
        self.status = 504 if fault is not None and fault.kind is FaultKind.READ_TIMEOUT else 502


class NoGroupNowError(Exception):
    """The request would have to wait for a group, or for its answer, and is not to wait."""


class Attempts:
    """Makes the attempts of all requests."""

    def __init__(self, *, dispatcher: Dispatcher, pools: ConnectionPools, metrics: Metrics) -> None:
        self._dispatcher = dispatcher
        self._pools = pools
        self._metrics = metrics

    async def reply(self, context: RequestContext, ticket: Ticket, call: Call) -> tuple[Reply, Endpoint]:
        """Return the beginning of the answer for the client, and the endpoint that sent it.

        Raises QueueTimeoutError, BackendError, ClientDisconnectedError, and NoGroupNowError.
        """
        if context.may_wait:
            return await self._reply(context, ticket, call)
        try:
            async with asyncio.timeout(AT_ONCE):
                return await self._reply(context, ticket, call)
        except TimeoutError:  # no fault of the group: it may be busy with a prompt
            raise NoGroupNowError from None

    async def _reply(self, context: RequestContext, ticket: Ticket, call: Call) -> tuple[Reply, Endpoint]:
        while True:
            if ticket.backend is None and not context.may_wait:
                raise NoGroupNowError
            endpoint = await self._endpoint(ticket)
            context.group, context.weights = endpoint.name, endpoint.weights
            context.adapter_id = endpoint.adapters.get(ticket.adapter, "") if ticket.adapter else ""
            context.sent = self._dispatcher.clock()
            reply, fault = await self._attempt(endpoint, ticket, call)
            if fault is None:
                self._dispatcher.answered(ticket, good=reply is not None and reply.is_good)
            elif self._may_retry(context, ticket, fault):
                if reply is not None:
                    reply.end()
                self._dispatcher.requeue(ticket)
                continue
            if reply is None:
                raise BackendError(fault, ticket)
            if fault is not None and fault.kind is FaultKind.PROTOCOL_ERROR:  # nothing that a client could read
                reply.end()
                raise BackendError(fault, ticket)
            return reply, endpoint

    async def _endpoint(self, ticket: Ticket) -> Endpoint:
        try:
            return (ticket.backend or await self._dispatcher.wait_for_backend(ticket)).endpoint
        except RequestAtFaultError:
            raise BackendError(None, ticket) from None

    async def _attempt(
        self, endpoint: Endpoint, ticket: Ticket, call: Call
    ) -> tuple[Reply | None, AttemptFault | None]:
        """Return what was received, and what is wrong with it; one of them at least."""
        if ticket.adapter is not None:
            adapter_id = endpoint.adapters.get(ticket.adapter)
            if adapter_id is None:  # since it was placed
                return None, AttemptFault(FaultKind.ADAPTER_ABSENT, f"has not the adapter {ticket.adapter!r} any more")
            call = call.for_adapter(adapter_id)
        try:
            reply = await attempt(self._pools.of(endpoint.host, endpoint.port), call)
        except AttemptError as error:
            return None, error.fault
        fault = reply.fault()
        if fault is None:
            ticket.adapter_id = call.adapter or None
        return reply, fault

    def _may_retry(self, context: RequestContext, ticket: Ticket, fault: AttemptFault) -> bool:
        retry = self._dispatcher.may_retry(ticket, fault)
        self._metrics.faults[fault.kind] += 1
        for count in self._metrics.counts_of(context.weights, context.adapter_id):
            count.failed += fault.kind is not FaultKind.ADAPTER_ABSENT
        self._metrics.totals["retried"] += retry
        extra = fields(request_id=context.request_id, group=context.group, kind=fault.kind, reason=fault.detail)
        LOGGER.warning("attempt failed, %s", "retrying" if retry else "not retried", extra=extra)
        return retry
