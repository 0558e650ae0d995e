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
from llama_serving.gateway.answers import error_response
from llama_serving.gateway.body import BodyReader, BodyRefusedError
from llama_serving.gateway.continuation import asked as continuation
from llama_serving.gateway.continuation.asked import Asked, NotContinuableError
from llama_serving.gateway.continuing import Continuer
from llama_serving.gateway.core.fault import Fault, FaultKind
from llama_serving.gateway.core.target import Target
from llama_serving.gateway.core.ticket import Ticket
from llama_serving.gateway.dispatch import DeadlineError, Dispatcher, QueueFullError
from llama_serving.gateway.headers import request_head, request_id, response_headers
from llama_serving.gateway.log import LOGGER, fields
from llama_serving.gateway.memory import Budget, body_budget, memory_limit
from llama_serving.gateway.metrics import Metrics
from llama_serving.gateway.passage import Passage
from llama_serving.gateway.pump import ClientGoneError
from llama_serving.gateway.relay import BrokenError, Relay
from llama_serving.gateway.stream import Stream, can_be_continued
from llama_serving.gateway.upstream.connection import AttemptError, Pools
from llama_serving.gateway.upstream.exchange import Call, Reply, attempt

_PREFIX = "/v1/"
_ABORT = struct.pack("ii", 1, 0)


class NoAnswerError(Exception):
    """The last attempt failed and the request is not repeated."""

    def __init__(self, fault: Fault | None, ticket: Ticket) -> None:
        super().__init__(f"{ticket.last_fault} (attempt {ticket.tries.retries + 1})")
        self.status = 504 if fault is not None and fault.kind is FaultKind.HANG else 502


class Proxy:
    """The handler of the public port."""

    def __init__(
        self, config: GatewayConfig, *, dispatcher: Dispatcher, pools: Pools, metrics: Metrics, access_log: bool = False
    ) -> None:
        self.draining = False
        self.open_requests = 0
        self._config = config
        self._dispatcher = dispatcher
        self._pools = pools
        self._metrics = metrics
        self._access_log = access_log
        self._budget = Budget(min(config.max_held, body_budget(memory_limit())))
        self._bodies = BodyReader(max_body=config.max_body, budget=self._budget, idle_timeout=config.idle_timeout)
        self._continuer = Continuer(config, dispatcher=dispatcher, pools=pools, metrics=metrics)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        passage = Passage(request, request_id(request.headers), self._dispatcher.clock())
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
            self._release_body(passage)
            passage.finish(self._metrics, now=self._dispatcher.clock(), access_log=self._access_log)

    async def _answer(self, passage: Passage) -> web.StreamResponse:
        try:
            target = _target_of(passage.request)
            if target is None:
                return self._refuse(passage, 404, f"only {_PREFIX} is served here", code="not_found")
            return await self._route(passage, *await self._call(passage, target))
        except BodyRefusedError as error:
            return self._refuse(passage, error.status, str(error), code=error.code)
        except QueueFullError as error:
            passage.outcome = "rejected_full"
            return self._refuse(passage, 429, str(error), code="queue_full", retry_after=error.retry_after)
        except DeadlineError as error:
            passage.outcome = "rejected_deadline"
            return self._refuse(passage, 503, str(error), code="no_group")
        except NoAnswerError as error:
            return self._refuse(passage, error.status, str(error), code="group_failed")

    def move_streams(self) -> None:
        """Let streams leave the groups that discovery says are to be left."""
        self._continuer.move_streams()

    async def _call(self, passage: Passage, target: str) -> tuple[Call, Asked | None]:
        request = passage.request
        body = await self._bodies.read(request)
        passage.held = len(body)
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

    def _asked(self, passage: Passage, target: str, body: bytes) -> Asked | None:
        request = passage.request
        if request.method != "POST" or "content-encoding" in request.headers:
            return None
        try:
            return continuation.read(target.partition("?")[0], body)
        except NotContinuableError as error:
            passage.alone = str(error)
            return None

    async def _route(self, passage: Passage, call: Call, asked: Asked | None) -> web.StreamResponse:
        ticket = self._dispatcher.admit()
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
            passage.waited, passage.retries = ticket.waited, ticket.tries.retries
            self._dispatcher.leave(ticket)

    async def _reply(self, passage: Passage, ticket: Ticket, call: Call) -> tuple[Reply, Target]:
        """Return the beginning of the answer that the client gets, whoever gave it."""
        while True:
            target = (await self._dispatcher.placed(ticket)).target
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
                raise NoAnswerError(fault, ticket)
            return reply, target

    async def _attempt(self, target: Target, call: Call) -> tuple[Reply | None, Fault | None]:
        """Return what came, and what is wrong with it; one of them at least."""
        try:
            reply = await attempt(self._pools.of(target.host, target.port), call)
        except AttemptError as error:
            return None, error.fault
        return reply, reply.fault()

    def _repeats(self, passage: Passage, ticket: Ticket, fault: Fault) -> bool:
        repeat = self._dispatcher.may_repeat(ticket, fault)
        self._metrics.faults[fault.kind] += 1
        self._metrics.weights[passage.weights].failed += 1
        self._metrics.totals["retried"] += repeat
        extra = fields(request_id=passage.identity, group=passage.group, kind=fault.kind, reason=fault.detail)
        LOGGER.warning("attempt failed, %s", "repeated" if repeat else "not repeated", extra=extra)
        return repeat

    async def _pass_on(
        self, passage: Passage, reply: Reply, *, target: Target, stream: Stream | None
    ) -> web.StreamResponse:
        passage.first_byte = self._dispatcher.clock()
        passage.code = reply.message.code
        headers = response_headers(reply.message, target=target, identity=passage.identity)
        passage.weights, passage.streams = headers[names.HEADER_WEIGHTS], reply.is_event_stream
        relay = Relay(passage.request, self._config.idle_timeout)
        try:
            await relay.begin(reply, headers, close=self.draining)
            await (relay.pass_on(reply) if stream is None else self._continuer.run(relay, stream))
            response = await relay.end()
        except (ClientGoneError, ConnectionError) as error:
            passage.outcome, passage.reason = "cancelled", str(error)
            return _cut_off(passage.request, abort=True)
        except BrokenError as error:
            why_alone = f"; not continued, because {passage.alone}" if passage.alone else ""
            passage.outcome, passage.reason = "broken", f"group {passage.group} broke off: {error}{why_alone}"
            await relay.fail(f"the group broke off: {error}{why_alone}")
            return _cut_off(passage.request, abort=passage.request.version < HttpVersion11)
        passage.outcome = "finished"
        return response

    def _refuse(
        self, passage: Passage, status: int, message: str, *, code: str, retry_after: int | None = None
    ) -> web.StreamResponse:
        passage.code, passage.reason = status, message
        response = error_response(status, message, code=code, retry_after=retry_after)
        response.headers[names.HEADER_REQUEST_ID] = passage.identity
        response.headers["server"] = "llama-gateway"
        if self.draining:
            response.force_close()
        return response

    def _release_body(self, passage: Passage) -> None:
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
