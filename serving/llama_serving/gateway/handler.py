"""One request from the client's first byte to the last byte of its answer.

    read the request -> ticket -> attempts -> forward the answer -> stream failover, if it breaks off

However it ends, the ticket leaves the router exactly once, and the engine's connection is closed unless the answer
was read to its end. The server cancels ``handle`` when the client disconnects.
"""

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig
from llama_serving.config.routes.route import Route
from llama_serving.gateway.access.gate import Gate
from llama_serving.gateway.access.pure.denied import AccessDeniedError, wrong_key
from llama_serving.gateway.adapters.known_models import KnownModels, ModelRefusedError
from llama_serving.gateway.attempts import Attempts, BackendError, NoGroupNowError
from llama_serving.gateway.billing import count_prompt, used_by, worked_for
from llama_serving.gateway.continuation.checked import CheckedEvents
from llama_serving.gateway.continuation.failover import StreamFailover
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.stream import Stream, can_be_continued
from llama_serving.gateway.dispatcher import Dispatcher, QueueFullError, QueueTimeoutError
from llama_serving.gateway.edge import Edge
from llama_serving.gateway.http.bad_requests import BUG, Refusal
from llama_serving.gateway.http.body import BodyRefusedError
from llama_serving.gateway.http.cors import CorsPolicy, add_cors
from llama_serving.gateway.http.disconnect import disconnect
from llama_serving.gateway.http.errors import error_event, error_response
from llama_serving.gateway.http.headers import event_stream_headers, request_id_of, response_headers
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import ReadError, Relay
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.http.request_target import raw_path
from llama_serving.gateway.http.route_lookup import RouteRefusal, look_up
from llama_serving.gateway.http.sse import as_events
from llama_serving.gateway.http.sse_keepalive import SseKeepAlive
from llama_serving.gateway.models_list import ModelsList
from llama_serving.gateway.request_reader import RequestReader
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.server_state import ServerState
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply

_SERVER: Final = "llama-gateway"


class RequestHandler:
    """Handles all requests on the public port."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        dispatcher: Dispatcher,
        pools: ConnectionPools,
        metrics: Metrics,
        state: ServerState,
        known: KnownModels,
        budget: MemoryBudget,
        gate: Gate,
        access_log: bool = False,
    ) -> None:
        self._idle_timeout = config.idle_timeout
        self._keep_alive = config.sse_keep_alive
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._state = state
        self._access_log = access_log
        self._budget = budget
        self._gate = gate
        self._reader = RequestReader(config, budget=self._budget, workload=metrics.workload, known=known, gate=gate)
        self._attempts = Attempts(dispatcher=dispatcher, pools=pools, metrics=metrics)
        self._failover = StreamFailover(config, dispatcher=dispatcher, pools=pools, metrics=metrics)
        self._cors = CorsPolicy(config.cors_origins)
        self._edge = Edge(self._cors, state)
        self._models = ModelsList(known)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        cors = self._cors.headers(request.headers.get("origin")) if self._cors.is_on else {}
        context = RequestContext(request, request_id_of(request.headers), self._dispatcher.clock(), cors)
        self._state.open_requests += 1
        try:
            return await self._answer(context)
        except asyncio.CancelledError:
            context.outcome = "cancelled"
            raise
        except Exception:
            context.code = 500  # a bug of ours: the server logs and answers it
            raise
        finally:
            self._state.open_requests -= 1
            if context.keep_alive is not None:
                context.keep_alive.stop()
            self._reader.release_body(context)
            if context.visit is not None:
                self._gate.leave(context.visit, used=used_by(context), worked=worked_for(context))
            context.finish(self._metrics, now=self._dispatcher.clock(), access_log=self._access_log)

    def move_streams(self) -> None:
        """Move streams away from the groups that discovery marks so."""
        self._failover.move_streams()

    def refused(self, request: web.BaseRequest, refusal: Refusal, answer: web.Response) -> None:
        """Count and log a request that could not be read, and complete its answer."""
        if refusal is not BUG:  # ``handle`` has counted that request, and the bug is in the log
            self._metrics.codes[refusal.status] += 1
            LOGGER.warning("request refused", extra=fields(status=refusal.status, reason=refusal.message))
        answer.headers["server"] = _SERVER
        add_cors(answer.headers, self._cors.headers(request.headers.get("origin") or self._cors.only))

    async def _answer(self, context: RequestContext) -> web.StreamResponse:
        answer = self._edge.answer(context.request)
        if answer is not None:
            return self._sign(context, answer)
        try:
            return await self._let_in(context)
        except (BodyRefusedError, ModelRefusedError) as error:
            return await self._reject(context, error.status, str(error), code=error.code, param=error.param)
        except AccessDeniedError as error:
            return await self._deny(context, error)
        except QueueFullError as error:
            context.outcome = "rejected_late" if error.is_late else "rejected_full"
            code = "would_be_late" if error.is_late else "queue_full"
            return await self._reject(context, 429, str(error), code=code, retry_after=error.retry_after)
        except QueueTimeoutError as error:
            context.outcome = "rejected_deadline"
            return await self._reject(context, 503, str(error), code="no_group", retry_after=error.retry_after)
        except BackendError as error:
            return await self._reject(context, error.status, str(error), code="group_failed")
        except ClientDisconnectedError as error:
            return _disconnected(context, error)

    async def _let_in(self, context: RequestContext) -> web.StreamResponse:
        """Ask who calls, then answer alone or by a group."""
        context.visit = self._gate.enter(context.request)
        alone = self._models.alone(context.request, context.visit)
        if alone is not None:
            return self._sign(context, alone)
        route = look_up(context.request.method, raw_path(context.request))
        if isinstance(route, RouteRefusal):
            return self._refuse(context, route)
        return await self._route_or_list(context, route)

    async def _route_or_list(self, context: RequestContext, route: Route) -> web.StreamResponse:
        """Route a request; where the list of models would have to wait for a group, answer with the one known."""
        models = self._models.whole(context.request)
        if context.visit is not None:
            self._gate.begin(context.visit)
        context.may_wait = models is None
        try:
            return await self._route(context, *await self._reader.read(context, route))
        except (NoGroupNowError, QueueFullError, BackendError):
            if models is None:
                raise
            return self._sign(context, models)

    async def _route(
        self, context: RequestContext, call: Call, continuable: ContinuableRequest | None
    ) -> web.StreamResponse:
        visit = context.visit
        flow = None if visit is None else visit.account.flow
        ticket = self._dispatcher.admit(context.size, adapter=context.adapter, flow=flow)
        if visit is not None:
            visit.cut = lambda: self._cut(context, ticket)
        if context.wants_stream and self._keep_alive:
            context.keep_alive = self._keep_alive_of(context, ticket)
        try:
            reply, endpoint = await self._attempts.reply(context, ticket, call)
            if context.keep_alive is None and self._keep_alive and reply.is_event_stream:
                context.keep_alive = self._keep_alive_of(context, ticket)
            try:
                # It will not be sent again; a stream may last for minutes.
                del call
                self._reader.release_body(context)
                stream = None
                if continuable is not None and can_be_continued(reply, endpoint):
                    count_prompt(context, reply.first)
                    stream = Stream(
                        context, ticket, continuable=continuable, reply=reply, endpoint=endpoint, budget=self._budget
                    )
                return await self._respond(context, ticket, reply, endpoint=endpoint, stream=stream)
            finally:
                reply.end()
        finally:
            if visit is not None:
                visit.cut = None  # it leads back to the visit: left as it is, each request would wait for the collector
            used = None if visit is None or context.size is None else context.size.prompt_tokens + context.tokens
            self._dispatcher.finish(ticket, tokens=used)
            context.waited, context.retries, context.used = ticket.waited, ticket.tries.retries, ticket.used

    async def _respond(
        self, context: RequestContext, ticket: Ticket, reply: Reply, *, endpoint: Endpoint, stream: Stream | None
    ) -> web.StreamResponse:
        context.first_byte = self._dispatcher.clock()
        if context.size is None:
            self._models.store(context.request, reply)
        context.code = reply.message.code
        headers = response_headers(reply.message, endpoint=endpoint, request_id=context.request_id, cors=context.cors)
        context.weights, context.is_stream = headers[names.HEADER_WEIGHTS], reply.is_event_stream
        check = CheckedEvents() if stream is None and reply.is_checked_stream else None
        kept = await _begun(context)
        relay = Relay(context.request, self._idle_timeout) if context.keep_alive is None else context.keep_alive.relay
        self._meter(context, relay, headers)
        try:
            if kept is None:
                await relay.begin(reply, headers, close=self._state.draining)
            else:
                await kept.name_backend(headers)
            if kept is None or (reply.message.code == 200 and reply.is_event_stream):
                await (relay.forward(reply, check) if stream is None else self._failover.run(relay, stream))
                response = await relay.end()
            else:
                response = await kept.end(await as_events(reply, timeout=self._idle_timeout))
        except (ClientDisconnectedError, ConnectionError) as error:
            return _disconnected(context, error)
        except ReadError as error:
            self._dispatcher.doubt(ticket)
            return await self._break_off(context, relay, error)
        finally:
            context.tokens = (check or relay if stream is None else stream).tokens
        if reply.is_good:
            self._dispatcher.completed(ticket)
        context.outcome = "finished"
        return response

    def _meter(self, context: RequestContext, relay: Relay, headers: CIMultiDict[str]) -> None:
        """Let the client's meter see its answer, and tell the client what is left of its limits."""
        visit = context.visit
        if visit is None:
            return
        context.relay, relay.meter = relay, visit.meter
        visit.meter.hides = visit.meter.hides and context.is_stream
        if visit.meter.hides:
            headers.popall("content-length", None)
        headers.update(visit.account.headers())

    def _cut(self, context: RequestContext, ticket: Ticket) -> None:
        """End a request whose key was revoked, wherever it is."""
        error = wrong_key()
        if context.relay is not None:
            context.relay.cut(error_event(str(error), code=error.code))
        elif not self._dispatcher.end_waiting(ticket, error) and context.request.transport is not None:
            context.request.transport.close()

    async def _deny(self, context: RequestContext, error: AccessDeniedError) -> web.StreamResponse:
        response = await self._reject(
            context, error.status, str(error), code=error.code, param=error.param, retry_after=error.retry_after
        )
        if not response.prepared:
            response.headers.update(error.headers)
        return response

    async def _break_off(self, context: RequestContext, relay: Relay, error: ReadError) -> web.StreamResponse:
        not_continuable = f"; not continuable: {context.not_continuable}" if context.not_continuable else ""
        context.outcome, context.reason = "broken", f"group {context.group} broke off: {error}{not_continuable}"
        await relay.fail(f"the group broke off: {error}{not_continuable}")
        return disconnect(context.request, abort=context.request.version < HttpVersion11)

    def _refuse(self, context: RequestContext, refusal: RouteRefusal) -> web.StreamResponse:
        context.reason = refusal.message
        response = error_response(refusal.status, refusal.message, code=refusal.code)
        if refusal.allow:
            response.headers["allow"] = ", ".join((*refusal.allow, "OPTIONS"))
        return self._sign(context, response)

    async def _reject(
        self,
        context: RequestContext,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> web.StreamResponse:
        context.reason = message
        kept = await _begun(context)
        if kept is not None:
            context.code = status
            try:
                return await kept.fail(status, message, code=code)
            except ClientDisconnectedError as error:
                return _disconnected(context, error)
        return self._sign(context, error_response(status, message, code=code, param=param, retry_after=retry_after))

    def _keep_alive_of(self, context: RequestContext, ticket: Ticket) -> SseKeepAlive:
        return SseKeepAlive(
            Relay(context.request, self._idle_timeout),
            ticket=ticket,
            period=self._keep_alive,
            headers=event_stream_headers(context.request_id, context.cors),
            close=lambda: self._state.draining,
        )

    def _sign(self, context: RequestContext, response: web.Response) -> web.StreamResponse:
        context.code = response.status
        response.headers[names.HEADER_REQUEST_ID] = context.request_id
        response.headers["server"] = _SERVER
        for name, value in context.cors.items():
            response.headers.setdefault(name, value)
        if self._state.draining:
            response.force_close()
        return response


async def _begun(context: RequestContext) -> SseKeepAlive | None:
    """Return the keep-alive of a stream that it has begun; from now on it begins none."""
    return context.keep_alive if context.keep_alive is not None and await context.keep_alive.settle() else None


def _disconnected(context: RequestContext, error: Exception) -> web.StreamResponse:
    context.outcome, context.reason = "cancelled", str(error)
    return disconnect(context.request, abort=True)
