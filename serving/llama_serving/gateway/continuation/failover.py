"""Streams that broke off go on with another group that has the same weights, or are ended with an error event.

    pass on --broke, or its group is to be left--> back into the line, for the same weights only
       ^                                                                          |
       '------------- ask for the rest of the answer <--- placed within max_wait -'

Why it broke does not matter: the connection ended, nothing came for ``idle_timeout``, the engine sent an error event,
or ended its stream before the answer. The number of tries is bounded by ``max_retries`` in all.
"""

import json

from llama_serving.config import names
from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.continuation.pure.chunk import ChunkError
from llama_serving.gateway.continuation.pure.request import TEXT, next_body
from llama_serving.gateway.continuation.pure.rewriter import Rewriter, ending
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.continuation.stream import Stream
from llama_serving.gateway.dispatcher import QueueTimeoutError, Dispatcher
from llama_serving.gateway.http.headers import request_head
from llama_serving.gateway.http.relay import ReadError, Relay
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.retry_policy import Fault, FaultKind
from llama_serving.gateway.telemetry.metrics import Metrics
from llama_serving.gateway.upstream.connection import AttemptError, ConnectionPools
from llama_serving.gateway.upstream.exchange import Call, Reply, attempt
from llama_serving.gateway.upstream.health_probe import PATH as MODELS

# The engine's word on the request itself: another would say the same.
_REFUSED = frozenset({400, 401, 403, 413, 422})


class StreamFailover:
    """Passes on streams to their end."""

    def __init__(self, config: GatewayConfig, *, dispatcher: Dispatcher, pools: ConnectionPools, metrics: Metrics) -> None:
        self._config = config
        self._dispatcher = dispatcher
        self._pools = pools
        self._metrics = metrics
        self._running: set[Stream] = set()

    def move_streams(self) -> None:
        """Let streams leave groups that are to be left, where others can take them."""
        for stream in list(self._running):
            if self._dispatcher.router.can_move(stream.ticket):
                stream.move()

    async def run(self, relay: Relay, stream: Stream) -> None:
        """Pass a stream on to its end; raises ClientGoneError and ReadError."""
        stream.relay = relay
        self._running.add(stream)
        try:
            while True:
                try:
                    await relay.pass_on(stream.reply, stream.tap)
                    return
                except ReadError as error:
                    stream.reply.end()
                    if await self._is_ended(stream, relay, str(error)):
                        return
        finally:
            self._running.discard(stream)
            stream.reply.end()
            stream.close()

    async def _is_ended(self, stream: Stream, relay: Relay, reason: str) -> bool:
        """Find an engine that goes on; True when nothing but the end of the answer was missing."""
        try:
            story = await stream.story()
        except ChunkError as error:
            raise ReadError(f"{reason}; it cannot be continued: {error}") from error
        if story.finish is not None:
            await relay.write(ending(story, stream.asked))
            return True
        await self._go_on(stream, story, reason)
        return False

    async def _go_on(self, stream: Stream, story: Transcript, reason: str) -> None:
        ticket = stream.ticket
        ticket.weights, ticket.tries.begun = stream.weights, True
        fault = None if stream.moved else _fault_of(stream, reason)
        while True:
            self._log(stream, story, fault, reason)
            if fault is not None and not self._dispatcher.may_repeat(ticket, fault):
                raise ReadError(f"{ticket.last_fault}; given up after {ticket.tries.retries} tries")
            self._dispatcher.put_back(ticket)
            try:
                target = (await self._dispatcher.placed(ticket)).target
                begins_at = story.resume()
                reply = await self._ask(stream, story, target)
            except QueueTimeoutError as error:
                raise ReadError(f"{reason}; no group with the same weights could continue it: {error}") from error
            except AttemptError as error:
                fault = error.fault
                self._metrics.weights[stream.passage.weights].failed += 1
                continue
            self._dispatcher.answered(ticket)
            stream.passage.group, stream.passage.continued = target.name, True
            stream.go_on(reply, story, begins_at=begins_at)
            return

    async def _ask(self, stream: Stream, story: Transcript, target: Endpoint) -> Reply:
        """Ask for the rest of the answer; raises AttemptError, and ReadError where nobody will give it."""
        pool = self._pools.of(target.host, target.port)
        context = 0 if stream.asked.max_tokens is not None else await self._context(target)
        body = next_body(stream.asked, prompt=story.prompt, ids=story.ids, context=context)
        head = request_head(stream.request, target=TEXT, identity=stream.passage.identity, body_length=len(body))
        call = Call(head, body, True, self._config.first_byte_timeout, whole_event=True)
        stream.budget.bodies += len(body)
        try:
            reply = await attempt(pool, call)
        finally:
            stream.budget.bodies -= len(body)
        try:
            self._check(stream, reply)
        except BaseException:
            reply.end()
            raise
        return reply

    def _check(self, stream: Stream, reply: Reply) -> None:
        code = reply.message.code
        if code in _REFUSED:
            raise ReadError(f"it cannot be continued: the engine answered {code} to the rest of it")
        said = reply.message.headers.get(names.HEADER_WEIGHTS)
        fault = reply.fault()
        if fault is None and (code != 200 or not reply.is_event_stream):
            fault = Fault(FaultKind.STATUS, f"answered {code} to a request for the rest of an answer", code)
        if fault is None and stream.weights_said and said and said != stream.weights_said:
            fault = Fault(FaultKind.STATUS, f"has the weights {said} and not {stream.weights_said}", code)
        if fault is not None:
            raise AttemptError(fault)

    async def _context(self, target: Endpoint) -> int:
        """Return the tokens that an engine takes in all; raises AttemptError."""
        head = f"GET {MODELS} HTTP/1.1\r\nhost: llama-gateway\r\n\r\n".encode()
        reply = await attempt(
            self._pools.of(target.host, target.port), Call(head, b"", True, self._config.idle_timeout)
        )
        try:
            return int(json.loads(reply.first)["data"][0]["max_model_len"])
        except (ValueError, KeyError, TypeError, IndexError):
            fault = Fault(FaultKind.STATUS, f"did not say how long its context is ({reply.message.code})", 500)
            raise AttemptError(fault) from None
        finally:
            reply.end()

    def _log(self, stream: Stream, story: Transcript, fault: Fault | None, reason: str) -> None:
        if fault is not None:
            self._metrics.faults[fault.kind] += 1
        passage = stream.passage
        extra = fields(
            request_id=passage.identity,
            group=passage.group,
            weights=stream.weights,
            reason=reason if fault is None else fault.detail,
            tokens=len(story.ids),
        )
        LOGGER.warning("a stream is to be continued", extra=extra)


def _fault_of(stream: Stream, reason: str) -> Fault:
    if isinstance(stream.tap, Rewriter) and stream.tap.differs:
        return Fault(FaultKind.DIFFERS, f"did not go on with the answer as it had begun: {reason}")
    return Fault(FaultKind.BROKE, f"broke off: {reason}")
