"""From a client's request to the call that goes to an engine, and to what its answer's continuation would need."""

from typing import Final

from aiohttp import web

from llama_serving.config.gateway import GatewayConfig
from llama_serving.config.routes.route import Route, Work
from llama_serving.gateway.adapters.known_models import KnownModels
from llama_serving.gateway.adapters.requested_model import SeveralModelsError, requested_model
from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.request import MAX_PARSED, ContinuableRequest, NotContinuableError
from llama_serving.gateway.http import stateful_responses
from llama_serving.gateway.http.body import BodyReader, BodyRefusedError
from llama_serving.gateway.http.headers import request_head
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.http.request_target import raw_target
from llama_serving.gateway.telemetry.workload import Workload
from llama_serving.gateway.upstream.exchange import Call

_SEVERAL: Final = (
    f"the body has more than {MAX_PARSED} bytes and several fields named model, so the model that it is for cannot be "
    "told: send a shorter one"
)


class RequestReader:
    """Reads requests; their bodies count in ``budget`` until they are released."""

    def __init__(self, config: GatewayConfig, *, budget: MemoryBudget, workload: Workload, known: KnownModels) -> None:
        self._first_byte_timeout = config.first_byte_timeout
        self._bodies = BodyReader(max_body=config.max_body, budget=budget, idle_timeout=config.idle_timeout)
        self._workload = workload
        self._known = known

    async def read(self, context: RequestContext, route: Route) -> tuple[Call, ContinuableRequest | None]:
        """Read a request for ``route`` and count it; raises BodyRefusedError and ModelRefusedError.

        The second value is None when its answer is not a stream that could be continued.
        """
        request = context.request
        body = await self._bodies.read(request)
        context.body_size = len(body)
        _check_fields(route.path, body)
        if request.method == "POST":
            context.adapter = self._adapter(body)  # first: a name that does not exist is no work
        if route.work is not Work.NONE:
            context.size = self._workload.count_arrival(route.path, body)
        continuable = _continuable(context, route.path, body)
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
        )
        return call, continuable

    def _adapter(self, body: bytes) -> str | None:
        """Return the adapter that a request is for; None: the base, or nobody knows which names exist."""
        if not self._known.is_told:
            return None
        try:
            return self._known.adapter_of(requested_model(body))
        except SeveralModelsError:
            raise BodyRefusedError(400, _SEVERAL, code="bad_request") from None

    def release_body(self, context: RequestContext) -> None:
        """Record that the request's body is no longer held. A second call does nothing."""
        self._bodies.release(context.body_size)
        context.body_size = 0


def _check_fields(path: str, body: bytes) -> None:
    refused = stateful_responses.refused(body) if path == continuation.RESPONSES else None
    if refused is not None:
        raise BodyRefusedError(400, refused.message, code="not_supported", param=refused.field)


def _continuable(context: RequestContext, path: str, body: bytes) -> ContinuableRequest | None:
    request: web.BaseRequest = context.request
    if request.method != "POST" or "content-encoding" in request.headers:
        return None
    try:
        continuable = continuation.read(path, body)
    except NotContinuableError as error:
        context.not_continuable = str(error)
        context.wants_stream = True
        return None
    context.wants_stream = continuable is not None or continuation.wants_other_stream(path, body)
    return continuable
