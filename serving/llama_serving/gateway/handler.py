"""One request from the client's first byte to the last byte of its answer.

    read the request -> ticket -> attempts -> forward the answer -> stream failover, if it breaks off

However it ends, the ticket leaves the router exactly once, and the engine's connection is closed unless the answer
was read to its end. The server cancels ``handle`` when the client disconnects.
"""

import asyncio

from aiohttp import web
from aiohttp.http import HttpVersion11

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.attempts import Attempts, BackendError
from llama_serving.gateway.continuation.failover import StreamFailover
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.stream import Stream, can_be_continued
from llama_serving.gateway.dispatcher import Dispatcher, QueueFullError, QueueTimeoutError
from llama_serving.gateway.http.body import BodyRefusedError
from llama_serving.gateway.http.disconnect import disconnect
from llama_serving.gateway.http.errors import error_response
from llama_serving.gateway.http.headers import request_id_of, response_headers
from llama_serving.gateway.http.memory_budget import MemoryBudget, body_budget, memory_limit
from llama_serving.gateway.http.pump import ClientDisconnectedError
from llama_serving.gateway.http.relay import ReadError, Relay
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.http.request_target import PREFIX, request_target
from llama_serving.gateway.http.sse import as_events
from llama_serving.gateway.models_cache import ModelsCache
from llama_serving.gateway.request_reader import RequestReader
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.server_state import ServerState
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply


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
        access_log: bool = False,
    ) -> None:
        self._idle_timeout = config.idle_timeout
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._state = state
        self._access_log = access_log
        self._budget = MemoryBudget(min(config.max_held, body_budget(memory_limit())))
        self._reader = RequestReader(config, budget=self._budget, workload=metrics.workload)
        self._attempts = Attempts(config, dispatcher=dispatcher, pools=pools, metrics=metrics, state=state)
        self._failover = StreamFailover(config, dispatcher=dispatcher, pools=pools, metrics=metrics)
        self._models = ModelsCache()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        context = RequestContext(request, request_id_of(request.headers), self._dispatcher.clock())
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
            context.finish(self._metrics, now=self._dispatcher.clock(), access_log=self._access_log)

    def move_streams(self) -> None:
        """Move streams away from the groups that discovery marks so."""
        self._failover.move_streams()

    async def _answer(self, context: RequestContext) -> web.StreamResponse:
        try:
            target = request_target(context.request)
            if target is None:
                return await self._reject(context, 404, f"only {PREFIX} is served here", code="not_found")
            cached = self._models.answer(context.request, self._dispatcher.router)
            if cached is not None:
                context.code = cached.status
                return self._sign(context, cached)
            return await self._route(context, *await self._reader.read(context, target))
        except BodyRefusedError as error:
            return await self._reject(context, error.status, str(error), code=error.code)
        except QueueFullError as error:
            context.outcome = "rejected_full"
            return await self._reject(context, 429, str(error), code="queue_full", retry_after=error.retry_after)
        except QueueTimeoutError as error:
            context.outcome = "rejected_deadline"
            return await self._reject(context, 503, str(error), code="no_group", retry_after=error.retry_after)
        except BackendError as error:
            return await self._reject(context, error.status, str(error), code="group_failed")
        except ClientDisconnectedError as error:
            return _disconnected(context, error)

    async def _route(
        self, context: RequestContext, call: Call, continuable: ContinuableRequest | None
    ) -> web.StreamResponse:
        ticket = self._dispatcher.admit(context.size)
        try:
            reply, endpoint = await self._attempts.reply(context, ticket, call)
            try:
                # It will not be sent again; a stream may last for minutes.
                del call
                self._reader.release_body(context)
                stream = None
                if continuable is not None and can_be_continued(reply, endpoint):
                    stream = Stream(
                        context, ticket, continuable=continuable, reply=reply, endpoint=endpoint, budget=self._budget
                    )
                return await self._respond(context, reply, endpoint=endpoint, stream=stream)
            finally:
                reply.end()
        finally:
            self._dispatcher.finish(ticket)
            context.waited, context.retries, context.used = ticket.waited, ticket.tries.retries, ticket.used

    async def _respond(
        self, context: RequestContext, reply: Reply, *, endpoint: Endpoint, stream: Stream | None
    ) -> web.StreamResponse:
        context.first_byte = self._dispatcher.clock()
        if context.size is None:
            self._models.store(context.request, reply)
        context.code = reply.message.code
        headers = response_headers(reply.message, endpoint=endpoint, request_id=context.request_id)
        context.weights, context.is_stream = headers[names.HEADER_WEIGHTS], reply.is_event_stream
        kept = context.keep_alive if context.keep_alive is not None and context.keep_alive.begun else None
        relay = Relay(context.request, self._idle_timeout) if kept is None else kept.relay
        try:
            if kept is None:
                await relay.begin(reply, headers, close=self._state.draining)
            else:
                await kept.name_backend(headers)
            if kept is None or (reply.message.code == 200 and reply.is_event_stream):
                await (relay.forward(reply) if stream is None else self._failover.run(relay, stream))
                response = await relay.end()
            else:
                response = await kept.end(await as_events(reply, timeout=self._idle_timeout))
        except (ClientDisconnectedError, ConnectionError) as error:
            return _disconnected(context, error)
        except ReadError as error:
            return await self._break_off(context, relay, error)
        context.outcome = "finished"
        context.tokens = relay.tokens if stream is None else stream.tokens
        return response

    async def _break_off(self, context: RequestContext, relay: Relay, error: ReadError) -> web.StreamResponse:
        not_continuable = f"; not continuable: {context.not_continuable}" if context.not_continuable else ""
        context.outcome, context.reason = "broken", f"group {context.group} broke off: {error}{not_continuable}"
        await relay.fail(f"the group broke off: {error}{not_continuable}")
        return disconnect(context.request, abort=context.request.version < HttpVersion11)

    async def _reject(
        self, context: RequestContext, status: int, message: str, *, code: str, retry_after: int | None = None
    ) -> web.StreamResponse:
        context.code, context.reason = status, message
        if context.keep_alive is not None and context.keep_alive.begun:
            try:
                return await context.keep_alive.fail(status, message, code=code)
            except ClientDisconnectedError as error:
                return _disconnected(context, error)
        return self._sign(context, error_response(status, message, code=code, retry_after=retry_after))

    def _sign(self, context: RequestContext, response: web.Response) -> web.StreamResponse:
        response.headers[names.HEADER_REQUEST_ID] = context.request_id
        response.headers["server"] = "llama-gateway"
        if self._state.draining:
            response.force_close()
        return response


def _disconnected(context: RequestContext, error: Exception) -> web.StreamResponse:
    context.outcome, context.reason = "cancelled", str(error)
    return disconnect(context.request, abort=True)
