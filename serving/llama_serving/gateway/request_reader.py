"""From a client's request to the call that goes to an engine, and to what its answer's continuation would need."""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Final

from aiohttp import web

from llama_serving.config.gateway import GatewayConfig
from llama_serving.config.routes.route import Route, Work
from llama_serving.gateway.access.gate import Gate
from llama_serving.gateway.access.models import check_model
from llama_serving.gateway.adapters.known_models import KnownModels
from llama_serving.gateway.adapters.requested_model import SeveralModelsError, model_of_unread, requested_model
from llama_serving.gateway.billing import ask_for_usage
from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.request import ContinuableRequest, NotContinuableError
from llama_serving.gateway.fields.request_fields import SHORT, RequestFields, read_fields, reading
from llama_serving.gateway.fields.scanner import Body, TooComplexError
from llama_serving.gateway.http import stateful_responses
from llama_serving.gateway.http.body import BodyPace, BodyReader, BodyRefusedError
from llama_serving.gateway.http.headers import request_head
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.http.request_target import raw_target
from llama_serving.gateway.routing import token_estimate
from llama_serving.gateway.telemetry.workload import Workload
from llama_serving.gateway.upstream.exchange import Call

_SEVERAL: Final = (
    "and several fields named model, or a long one, so the model that it is for cannot be told: send a shorter one"
)


class RequestReader:
    """Reads requests; their bodies count in ``budget`` until they are released."""

    def __init__(
        self, config: GatewayConfig, *, budget: MemoryBudget, workload: Workload, known: KnownModels, gate: Gate
    ) -> None:
        self._gate = gate
        self._first_byte_timeout = config.first_byte_timeout
        pace = BodyPace(config.idle_timeout, config.min_client_rate, config.client_grace)
        self._bodies = BodyReader(max_body=config.max_body, budget=budget, pace=pace)
        self._turn = asyncio.Lock()
        self._budget = budget
        self._workload = workload
        self._known = known

    async def read(self, context: RequestContext, route: Route) -> tuple[Call, ContinuableRequest | None]:
        """Read a request for ``route`` and count it; raises BodyRefusedError, ModelRefusedError, AccessDeniedError.

        The second value is None when its answer is not a stream that could be continued.
        """
        request = context.request
        body = await self._bodies.read(request)
        context.body_size = len(body)
        fields = await self._fields(context, route.path, body)
        _check_fields(route.path, fields)
        if request.method == "POST":
            model = partial(self._model, context, body, fields)
            self._check_model(context, body, model=model)
            context.adapter = self._adapter(model)  # first: a name that does not exist is no work
            if context.visit is not None:
                context.visit.model = context.visit.model or context.adapter or self._base
        self._count(context, route, body)
        continuable = _continuable(context, route.path, fields)
        if context.visit is not None:
            body, continuable = ask_for_usage(context, route.path, body, continuable=continuable)
        if continuable is not None:
            body = continuation.with_token_ids(body, continuable)
        call = Call(
            head=request_head(
                request, target=raw_target(request), request_id=context.request_id, body_length=len(body)
            ),
            body=body,
            expects_body=request.method != "HEAD",
            first_byte_timeout=self._first_byte_timeout,
            whole_event=context.wants_stream and route.path in (continuation.CHAT, continuation.TEXT),
            checked=route.work is not Work.NONE,
            memory=self._budget,
        )
        return call, continuable

    async def _fields(self, context: RequestContext, path: str, body: Body) -> RequestFields | None:
        """Read the outermost fields, once for all who ask; long bodies one after the other, in short steps."""
        if not self._is_looked_at(context.request.method, path, body):
            return None
        try:
            if len(body) <= SHORT:
                return read_fields(body)
            async with self._turn:
                return await _in_steps(reading(body))
        except TooComplexError as error:
            context.unread = str(error)
            return None

    def _is_looked_at(self, method: str, path: str, body: Body) -> bool:
        if method != "POST":
            return False
        # Every request for a stream has this word in its body.
        is_stream = path in (continuation.CHAT, continuation.TEXT) and b'"stream"' in body
        return is_stream or path == continuation.RESPONSES or self._known.is_told

    def _model(self, context: RequestContext, body: Body, fields: RequestFields | None) -> str | None:
        """Return the model that a request names. Raises BodyRefusedError where it names several."""
        try:
            return model_of_unread(body) if context.unread else requested_model(fields)
        except SeveralModelsError:
            why = context.unread or f"the body has more than {SHORT} bytes"
            raise BodyRefusedError(400, f"{why} {_SEVERAL}", code="bad_request") from None

    @property
    def _base(self) -> str:
        return self._known.base[0] if self._known.base else ""

    def _check_model(self, context: RequestContext, body: Body, *, model: Callable[[], str | None]) -> None:
        """Check that the client may ask for the model of a request."""
        if context.visit is not None:
            encoded = "content-encoding" in context.request.headers
            check_model(context.visit, body, base=self._base, encoded=encoded, read=model)

    def _count(self, context: RequestContext, route: Route, body: Body) -> None:
        """Count a request that is work, if its client has not used up what it may."""
        estimate = None if route.work is Work.NONE else token_estimate.estimate(route.path, body)
        size = None if estimate is None else self._workload.size_of(estimate)
        if context.visit is not None:
            self._gate.reserve(context.visit, size=size)
        if estimate is not None:
            context.size = size
            self._workload.count_estimate(estimate)

    def _adapter(self, model: Callable[[], str | None]) -> str | None:
        """Return the adapter that a request is for; None: the base, or nobody knows which names exist."""
        return self._known.adapter_of(model()) if self._known.is_told else None

    def release_body(self, context: RequestContext) -> None:
        """Record that the request's body is no longer held. A second call does nothing."""
        self._bodies.release(context.body_size)
        context.body_size = 0


async def _in_steps(steps: Generator[None, None, RequestFields | None]) -> RequestFields | None:
    """Read with a turn for everything else after each step."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            fields: RequestFields | None = end.value
            return fields
        await asyncio.sleep(0)


def _check_fields(path: str, fields: RequestFields | None) -> None:
    refused = stateful_responses.refused(fields) if path == continuation.RESPONSES else None
    if refused is not None:
        raise BodyRefusedError(400, refused.message, code="not_supported", param=refused.field)


def _continuable(context: RequestContext, path: str, fields: RequestFields | None) -> ContinuableRequest | None:
    request: web.BaseRequest = context.request
    if request.method != "POST" or "content-encoding" in request.headers:
        return None
    context.not_continuable = context.unread
    try:
        continuable = continuation.read(path, fields)
    except NotContinuableError as error:
        context.not_continuable = str(error)
        context.wants_stream = True
        return None
    context.wants_stream = continuable is not None or continuation.wants_other_stream(path, fields)
    return continuable
