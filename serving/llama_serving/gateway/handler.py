"""One request from the client's first byte to the last byte of its answer.

    read the body -> ticket -> wait for a group -> attempt -> pass the answer on -> continuing.py, if it breaks off
                                    ^------ failed, may be repeated --'

However it ends, the ticket leaves the router exactly once, and the engine's connection is closed unless the answer
was read to its end. The server cancels ``handle`` when the client goes away.
"""

import asyncio
import socket
import struct
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http import HttpVersion11

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.continuation.failover import StreamFailover
from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.request import ContinuableRequest, NotContinuableError
from llama_serving.gateway.continuation.stream import Stream, can_be_continued
from llama_serving.gateway.dispatcher import QueueTimeoutError, Dispatcher, QueueFullError
from llama_serving.gateway.http.body import BodyReader, BodyRefusedError
from llama_serving.gateway.http.errors import error_response
from llama_serving.gateway.http.headers import event_stream_headers, request_head, request_id, response_headers
from llama_serving.gateway.http.memory_budget import MemoryBudget, body_budget, memory_limit
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import ReadError, Relay
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.http.sse_keepalive import SseKeepAlive, as_events
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.models_cache import ModelsCache
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.retry_policy import Fault, FaultKind
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import AttemptError, ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply, attempt

_PREFIX = "/v1/"
_ABORT = struct.pack("ii", 1, 0)


class BackendError(Exception):
    """The last attempt failed and the request is not repeated."""

    def __init__(self, fault: Fault | None, ticket: Ticket) -> None:
        super().__init__(f"{ticket.last_fault} (attempt {ticket.tries.retries + 1})")
        self.status = 504 if fault is not None and fault.kind is FaultKind.HANG else 502


class RequestHandler:
    """The handler of the public port."""

    def __init__(
        self, config: GatewayConfig, *, dispatcher: Dispatcher, pools: ConnectionPools, metrics: Metrics, access_log: bool = False
    ) -> None:
        self.draining = False
        self.open_requests = 0
        self._config = config
        self._dispatcher = dispatcher
        self._pools = pools
        self._metrics = metrics
        self._access_log = access_log
        self._budget = MemoryBudget(min(config.max_held, body_budget(memory_limit())))
        self._bodies = BodyReader(max_body=config.max_body, budget=self._budget, idle_timeout=config.idle_timeout)
        self._continuer = StreamFailover(config, dispatcher=dispatcher, pools=pools, metrics=metrics)
        self._listing = ModelsCache()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        passage = RequestContext(request, request_id(request.headers), self._dispatcher.clock())
        self.open_requests += 1
        try:
            return await self._answer(passage)
        except asyncio.CancelledError:
            passage.outcome = "cancelled"
            raise
        except Exception:
            passage.code = 500  # a bug of ours: the server logs and answers it
            raise
        finally:
            self.open_requests -= 1
            if passage.hold is not None:
                passage.hold.stop()
            self._release_body(passage)
            passage.finish(self._metrics, now=self._dispatcher.clock(), access_log=self._access_log)

    async def _answer(self, passage: RequestContext) -> web.StreamResponse:
        try:
            target = _target_of(passage.request)
            if target is None:
                return await self._refuse(passage, 404, f"only {_PREFIX} is served here", code="not_found")
            listed = self._listing.answer(passage.request, self._dispatcher.router)
            if listed is not None:
                passage.code = listed.status
                return self._signed(passage, listed)
            return await self._route(passage, *await self._call(passage, target))
        except BodyRefusedError as error:
            return await self._refuse(passage, error.status, str(error), code=error.code)
        except QueueFullError as error:
            passage.outcome = "rejected_full"
            return await self._refuse(passage, 429, str(error), code="queue_full", retry_after=error.retry_after)
        except QueueTimeoutError as error:
            passage.outcome = "rejected_deadline"
            return await self._refuse(passage, 503, str(error), code="no_group")
        except BackendError as error:
            return await self._refuse(passage, error.status, str(error), code="group_failed")
        except ClientDisconnectedError as error:
            return _gone(passage, error)

    def move_streams(self) -> None:
        """Let streams leave the groups that discovery says are to be left."""
        self._continuer.move_streams()

    async def _call(self, passage: RequestContext, target: str) -> tuple[Call, ContinuableRequest | None]:
        request = passage.request
        body = await self._bodies.read(request)
        passage.held = len(body)
        if request.method == "POST":
            passage.size = self._metrics.demand.arrives(target.partition("?")[0], body)
        asked = self._asked(passage, target, body)
        if asked is not None:
            body = continuation.with_token_ids(body, asked)
        call = Call(
            head=request_head(request, target=target, identity=passage.identity, body_length=len(body)),
            body=body,
            expects_body=request.method != "HEAD",
            first_byte_timeout=self._config.first_byte_timeout,
            whole_event=asked is not None,
        )
        return call, asked

    def _asked(self, passage: RequestContext, target: str, body: bytes) -> ContinuableRequest | None:
        request = passage.request
        if request.method != "POST" or "content-encoding" in request.headers:
            return None
        try:
            asked = continuation.read(target.partition("?")[0], body)
        except NotContinuableError as error:
            passage.alone = str(error)
            passage.asks_stream = True
            return None
        passage.asks_stream = asked is not None
        return asked

    async def _route(self, passage: RequestContext, call: Call, asked: ContinuableRequest | None) -> web.StreamResponse:
        ticket = self._dispatcher.admit(passage.size)
        try:
            reply, target = await self._reply(passage, ticket, call)
            try:
                # It will not be sent again; a stream may last for minutes.
                del call
                self._release_body(passage)
                stream = None
                if asked is not None and can_be_continued(reply, target):
                    stream = Stream(passage, ticket, asked=asked, reply=reply, target=target, budget=self._budget)
                return await self._pass_on(passage, reply, target=target, stream=stream)
            finally:
                reply.end()
        finally:
            self._dispatcher.leave(ticket)
            passage.waited, passage.retries, passage.used = ticket.waited, ticket.tries.retries, ticket.used

    async def _reply(self, passage: RequestContext, ticket: Ticket, call: Call) -> tuple[Reply, Endpoint]:
        """Return the beginning of the answer that the client gets, whoever gave it."""
        while True:
            target = (ticket.group or await self._placed(passage, ticket)).target
            passage.group, passage.weights = target.name, target.weights
            passage.sent = self._dispatcher.clock()
            reply, fault = await self._attempt(target, call)
            if fault is None:
                self._dispatcher.answered(ticket)
            elif self._repeats(passage, ticket, fault):
                if reply is not None:
                    reply.end()
                self._dispatcher.put_back(ticket)
                continue
            if reply is None:
                raise BackendError(fault, ticket)
            return reply, target

    async def _placed(self, passage: RequestContext, ticket: Ticket) -> Backend:
        if not passage.asks_stream or not self._config.keep_alive:
            return await self._dispatcher.placed(ticket)
        if passage.hold is None:
            relay = Relay(passage.request, self._config.idle_timeout)
            passage.hold = SseKeepAlive(relay, period=self._config.keep_alive, headers=event_stream_headers(passage.identity))
        return await passage.hold.placed(self._dispatcher, ticket, close=self.draining)

    async def _attempt(self, target: Endpoint, call: Call) -> tuple[Reply | None, Fault | None]:
        """Return what came, and what is wrong with it; one of them at least."""
        try:
            reply = await attempt(self._pools.of(target.host, target.port), call)
        except AttemptError as error:
            return None, error.fault
        return reply, reply.fault()

    def _repeats(self, passage: RequestContext, ticket: Ticket, fault: Fault) -> bool:
        repeat = self._dispatcher.may_repeat(ticket, fault)
        self._metrics.faults[fault.kind] += 1
        self._metrics.weights[passage.weights].failed += 1
        self._metrics.totals["retried"] += repeat
        extra = fields(request_id=passage.identity, group=passage.group, kind=fault.kind, reason=fault.detail)
        LOGGER.warning("attempt failed, %s", "repeated" if repeat else "not repeated", extra=extra)
        return repeat

    async def _pass_on(
        self, passage: RequestContext, reply: Reply, *, target: Endpoint, stream: Stream | None
    ) -> web.StreamResponse:
        passage.first_byte = self._dispatcher.clock()
        if passage.size is None:
            self._listing.note(passage.request, reply)
        passage.code = reply.message.code
        headers = response_headers(reply.message, target=target, identity=passage.identity)
        passage.weights, passage.streams = headers[names.HEADER_WEIGHTS], reply.is_event_stream
        held = passage.hold if passage.hold is not None and passage.hold.begun else None
        relay = Relay(passage.request, self._config.idle_timeout) if held is None else held.relay
        try:
            if held is None:
                await relay.begin(reply, headers, close=self.draining)
            else:
                await held.answered(headers)
            if held is None or (reply.message.code == 200 and reply.is_event_stream):
                await (relay.pass_on(reply) if stream is None else self._continuer.run(relay, stream))
                response = await relay.end()
            else:
                response = await held.end(await as_events(reply, timeout=self._config.idle_timeout))
        except (ClientDisconnectedError, ConnectionError) as error:
            return _gone(passage, error)
        except ReadError as error:
            why_alone = f"; not continued, because {passage.alone}" if passage.alone else ""
            passage.outcome, passage.reason = "broken", f"group {passage.group} broke off: {error}{why_alone}"
            await relay.fail(f"the group broke off: {error}{why_alone}")
            return _cut_off(passage.request, abort=passage.request.version < HttpVersion11)
        passage.outcome = "finished"
        passage.tokens = relay.tokens if stream is None else stream.tokens
        return response

    async def _refuse(
        self, passage: RequestContext, status: int, message: str, *, code: str, retry_after: int | None = None
    ) -> web.StreamResponse:
        passage.code, passage.reason = status, message
        if passage.hold is not None and passage.hold.begun:
            try:
                return await passage.hold.refuse(status, message, code=code)
            except ClientDisconnectedError as error:
                return _gone(passage, error)
        return self._signed(passage, error_response(status, message, code=code, retry_after=retry_after))

    def _signed(self, passage: RequestContext, response: web.Response) -> web.StreamResponse:
        response.headers[names.HEADER_REQUEST_ID] = passage.identity
        response.headers["server"] = "llama-gateway"
        if self.draining:
            response.force_close()
        return response

    def _release_body(self, passage: RequestContext) -> None:
        self._bodies.release(passage.held)
        passage.held = 0


def _target_of(request: web.BaseRequest) -> str | None:
    """Return path and query as they came, or None when the path is not below the prefix."""
    target = request.raw_path
    if not target.startswith("/"):
        target = request.rel_url.raw_path_qs
    path = target.partition("?")[0]
    # An engine that resolves dot segments would be led out of the prefix.
    if not path.startswith(_PREFIX) or any(part in (".", "..") for part in unquote(path).split("/")):
        return None
    return target


def _gone(passage: RequestContext, error: Exception) -> web.StreamResponse:
    passage.outcome, passage.reason = "cancelled", str(error)
    return _cut_off(passage.request, abort=True)


def _cut_off(request: web.BaseRequest, *, abort: bool) -> web.StreamResponse:
    """Close the client's connection so that it sees an incomplete answer; return what the server wants returned.

    ``abort``: by a reset, for a client that takes nothing and for HTTP/1.0, where the end of the connection is the
    end of the body.
    """
    transport = request.transport
    if transport is not None and abort:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
