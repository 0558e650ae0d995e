"""Stream failover: a broken stream continues on another group with the same weights, or ends with an error event.

    forward --broken, or its group loses its streams--> back into the queue, for the same weights only
       ^                                                                          |
       '--------- request the rest of the answer <--- placed within queue_timeout -'

The cause does not matter: the connection ended, no data came for ``idle_timeout``, the engine sent an error event, or
ended its stream before the answer was complete. ``max_retries`` bounds the number of retries.
"""

import json

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.continuation.pure.chunk import ChunkError
from llama_serving.gateway.continuation.pure.replay import ReplayTranscript, replay_body
from llama_serving.gateway.continuation.pure.request import TEXT, next_body
from llama_serving.gateway.continuation.pure.rewriter import EventRewriter, ending
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.continuation.stream import Stream
from llama_serving.gateway.dispatcher import Dispatcher, QueueTimeoutError, RequestAtFaultError
from llama_serving.gateway.http.headers import request_head
from llama_serving.gateway.http.relay import ReadError, Relay
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.retry_policy import AttemptFault, FaultKind
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import AttemptError, ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply, attempt
from llama_serving.gateway.upstream.health_probe import PATH as MODELS

# The engine's verdict on the request itself: another engine would give the same.
_CLIENT_ERRORS = frozenset({400, 401, 403, 413, 422})
_UNKNOWN_ROUTE = 404
_LONGEST_CONTEXT = 1 << 31  # tokens


class StreamFailover:
    """Forwards streams to their end."""

    def __init__(
        self, config: GatewayConfig, *, dispatcher: Dispatcher, pools: ConnectionPools, metrics: Metrics
    ) -> None:
        self._config = config
        self._dispatcher = dispatcher
        self._pools = pools
        self._metrics = metrics
        self._running: set[Stream] = set()

    def move_streams(self) -> None:
        """Move streams away from groups that are to lose them, where others can continue them."""
        for stream in list(self._running):
            if self._dispatcher.router.can_move(stream.ticket):
                stream.move()

    async def run(self, relay: Relay, stream: Stream) -> None:
        """Forward a stream to its end; raises ClientDisconnectedError and ReadError."""
        stream.relay = relay
        self._running.add(stream)
        try:
            while True:
                try:
                    await relay.forward(stream.reply, stream.tap)
                    return
                except ReadError as error:
                    stream.reply.end()
                    if await self._is_complete(stream, relay, str(error)):
                        return
        finally:
            self._running.discard(stream)
            stream.reply.end()
            stream.close()

    async def _is_complete(self, stream: Stream, relay: Relay, reason: str) -> bool:
        """Find a group that continues; return True when only the end of the answer was missing."""
        try:
            transcript = await stream.transcript()
        except ChunkError as error:
            raise ReadError(f"{reason}; it cannot be continued: {error}") from error
        if transcript.finish is not None:
            await relay.write(ending(transcript, stream.continuable))
            return True
        await self._fail_over(stream, transcript, reason)
        return False

    async def _fail_over(self, stream: Stream, transcript: Transcript | ReplayTranscript, reason: str) -> None:
        ticket = stream.ticket
        ticket.weights, ticket.tries.answer_begun = stream.weights, True
        fault = None if stream.moved else _fault_of(stream, reason)
        if stream.note_break():
            ticket.charges.progressed()
        while True:
            self._record(stream, transcript, fault=fault, reason=reason)
            if fault is not None and not self._dispatcher.may_retry(ticket, fault):
                raise ReadError(f"{ticket.last_fault}; given up (retries: {ticket.tries.retries})")
            self._dispatcher.requeue(ticket)
            try:
                endpoint = (await self._dispatcher.wait_for_backend(ticket)).endpoint
                resumes_at = transcript.resume()
                reply = await self._request_rest(stream, transcript, endpoint)
            except QueueTimeoutError as error:
                raise ReadError(f"{reason}; no group with the same weights could continue it: {error}") from error
            except RequestAtFaultError as error:
                raise ReadError(f"{error}; given up (retries: {ticket.tries.retries})") from error
            except AttemptError as error:
                fault = error.fault
                for count in self._metrics.counts_of(stream.context.weights, stream.context.adapter_id):
                    count.failed += fault.kind is not FaultKind.ADAPTER_ABSENT
                continue
            self._dispatcher.answered(ticket, good=reply.is_good)
            stream.context.group, stream.context.continued = endpoint.name, True
            stream.resume(reply, transcript, resumes_at=resumes_at)
            return

    async def _request_rest(
        self, stream: Stream, transcript: Transcript | ReplayTranscript, endpoint: Endpoint
    ) -> Reply:
        """Request the rest of the answer; raises AttemptError, and ReadError when every group would refuse it."""
        pool = self._pools.of(endpoint.host, endpoint.port)
        target, body = await self._body_of_rest(stream, transcript, endpoint)
        head = request_head(stream.request, target=target, request_id=stream.context.request_id, body_length=len(body))
        call = Call(head, body, True, self._config.first_byte_timeout, whole_event=True, memory=stream.budget)
        if stream.ticket.adapter_id is not None:
            call = call.for_adapter(stream.ticket.adapter_id)
        stream.budget.bodies += len(body)
        try:
            reply = await attempt(pool, call)
        finally:
            stream.budget.bodies -= len(body)
        try:
            self._check(stream, reply, target=target)
        except BaseException:
            reply.end()
            raise
        return reply

    async def _body_of_rest(
        self, stream: Stream, transcript: Transcript | ReplayTranscript, endpoint: Endpoint
    ) -> tuple[str, bytes]:
        if isinstance(transcript, ReplayTranscript):
            return names.ROUTE_REPLAY, replay_body(stream.continuable, transcript)
        context_length = 0 if stream.continuable.max_tokens is not None else await self._context_length(endpoint)
        return TEXT, next_body(
            stream.continuable, prompt=transcript.prompt, ids=transcript.ids, context_length=context_length
        )

    def _check(self, stream: Stream, reply: Reply, *, target: str) -> None:
        code = reply.message.code
        if code in _CLIENT_ERRORS:
            raise ReadError(f"it cannot be continued: the engine answered {code} to the request for its rest")
        weights = reply.message.headers.get(names.HEADER_WEIGHTS)
        fault = reply.fault()
        if code == _UNKNOWN_ROUTE and target == names.ROUTE_REPLAY:  # no fault of a group that serves well
            fault = AttemptFault(FaultKind.DIFFERS, "is of an older version, which replays no answers", code)
        if fault is None and (code != 200 or not reply.is_event_stream):
            fault = AttemptFault(FaultKind.STATUS, f"answered {code} to the request for the rest of an answer", code)
        if fault is None and stream.reported_weights and weights and weights != stream.reported_weights:
            fault = AttemptFault(FaultKind.STATUS, f"has the weights {weights}, not {stream.reported_weights}", code)
        if fault is not None:
            raise AttemptError(fault)

    async def _context_length(self, endpoint: Endpoint) -> int:
        """Return the engine's context length in tokens, prompt and answer together; raises AttemptError."""
        head = f"GET {MODELS} HTTP/1.1\r\nhost: llama-gateway\r\n\r\n".encode()
        reply = await attempt(
            self._pools.of(endpoint.host, endpoint.port), Call(head, b"", True, self._config.idle_timeout)
        )
        try:
            length = int(json.loads(reply.first)["data"][0]["max_model_len"])
            if 0 < length <= _LONGEST_CONTEXT:
                return length
            raise ValueError("no length of a context")
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
            fault = AttemptFault(
                FaultKind.STATUS, f"did not report its context length (status {reply.message.code})", 502
            )
            raise AttemptError(fault) from None
        finally:
            reply.end()

    def _record(
        self, stream: Stream, transcript: Transcript | ReplayTranscript, *, fault: AttemptFault | None, reason: str
    ) -> None:
        if fault is not None:
            self._metrics.faults[fault.kind] += 1
        context = stream.context
        extra = fields(
            request_id=context.request_id,
            group=context.group,
            weights=stream.weights,
            reason=reason if fault is None else fault.detail,
            tokens=len(transcript.ids),
        )
        LOGGER.warning("continuing a stream on another group", extra=extra)


def _fault_of(stream: Stream, reason: str) -> AttemptFault:
    if isinstance(stream.tap, EventRewriter) and stream.tap.differs:
        return AttemptFault(FaultKind.DIFFERS, f"did not continue the answer as it had begun: {reason}")
    return AttemptFault(FaultKind.STREAM_BROKEN, f"broke off: {reason}")
