"""One continuable stream: its taps in turn, and the transcript of its answer."""

import asyncio
from collections.abc import Iterator
from typing import TypeVar

from aiohttp import web

from llama_serving.config import names
from llama_serving.gateway.continuation.pure import chunk
from llama_serving.gateway.continuation.pure.chunk import ChunkError, OtherFieldError
from llama_serving.gateway.continuation.pure.recorder import Recorder, is_readable
from llama_serving.gateway.continuation.pure.replay import ReplayTranscript
from llama_serving.gateway.continuation.pure.replay_rewriter import ReplayRewriter
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.rewriter import Rewriter
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.upstream.exchange import Reply

_T = TypeVar("_T", Transcript, ReplayTranscript)

# Parsing yields to other streams after so many tokens: some milliseconds.
_TOKENS_AT_A_TIME = 500


class Stream:
    """One stream; ``reply`` is what the present engine sends, ``tap`` transforms it for the client.

    ``weights`` are those that discovery named for the first group, ``reported_weights`` those in its answer's head.
    ``moved``: the present engine is left although it works.
    """

    def __init__(
        self,
        context: RequestContext,
        ticket: Ticket,
        *,
        continuable: ContinuableRequest,
        reply: Reply,
        endpoint: Endpoint,
        budget: MemoryBudget,
    ) -> None:
        self.context = context
        self.ticket = ticket
        self.continuable = continuable
        self.budget = budget
        self.reply = reply
        self.weights = endpoint.weights
        self.reported_weights = reply.message.headers.get(names.HEADER_WEIGHTS)
        self.relay: Relay | None = None
        self.moved = False
        self._recorder = Recorder(budget, shows_ids=continuable.wants_ids)
        self._recorder.keep(len(continuable.asked))
        self.tap: Recorder | Rewriter | ReplayRewriter = self._recorder
        self._transcript: Transcript | ReplayTranscript | None = None
        self._tokens_at_break = 0

    @property
    def request(self) -> web.BaseRequest:
        """The client's request."""
        return self.context.request

    @property
    def tokens(self) -> int:
        """Number of tokens of the answer that the client has received."""
        return self._recorder.tokens if self._transcript is None else len(self._transcript.ids)

    def note_break(self) -> bool:
        """Record that the stream has broken off; return whether the client has got tokens since it did so last."""
        before, self._tokens_at_break = self._tokens_at_break, max(self._tokens_at_break, self.tokens)
        return self._tokens_at_break > before

    async def transcript(self) -> Transcript | ReplayTranscript:
        """Return what the client has of the answer; raises ChunkError when it cannot be continued."""
        if self._transcript is None:
            transcript = None
            for transcript in self._readings():
                if len(transcript.ids) % _TOKENS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
            assert transcript is not None  # there is one even before the first event
            self._transcript = transcript
            self._recorder.drop()
        return self._transcript

    def resume(self, reply: Reply, transcript: Transcript | ReplayTranscript, *, resumes_at: int) -> None:
        """Switch to the engine that continues; ``resumes_at`` is the number of tokens that it continues after."""
        self.moved = False
        self.reply = reply
        if isinstance(transcript, ReplayTranscript):
            self.tap = ReplayRewriter(transcript, self.continuable)
        else:
            self.tap = Rewriter(transcript, self.continuable, resumes_at=resumes_at)

    def move(self) -> None:
        """Leave the present engine, if another can continue the answer."""
        if self.tap.failure or self.tap.done or not self._can_move():
            return
        self.moved = True
        self.tap.failure = "its group is draining"
        if self.relay is not None:
            self.relay.check_tap()

    def close(self) -> None:
        """Release the memory."""
        self._recorder.forget()

    def _readings(self) -> Iterator[Transcript | ReplayTranscript]:
        """Read the recorded events; yield the transcript so far after each of them. Raises ChunkError."""
        if self._recorder.lost:
            raise ChunkError(self._recorder.lost)
        if not self.continuable.replayed:
            try:
                yield from self._read(Transcript(self.continuable.held_back, shows_ids=self.continuable.wants_ids))
                return
            except OtherFieldError:
                pass  # the engine has a parser that the request did not ask for
        yield from self._read(ReplayTranscript())

    def _read(self, transcript: _T) -> Iterator[_T]:
        yield transcript
        for event in self._recorder.events():
            try:
                transcript.take(chunk.read(event))
            except RecursionError as error:
                raise ChunkError("an event of its stream is nested too deeply") from error
            yield transcript

    def _can_move(self) -> bool:
        # An engine that works is left only if the stream is known to be continuable.
        if self._transcript is not None:
            return True
        try:
            for _ in self._readings():
                pass
        except ChunkError:
            return False
        return True


def can_be_continued(reply: Reply, endpoint: Endpoint) -> bool:
    """Return whether an answer has what is needed to continue it: token ids, and the weights that began it."""
    reported = reply.message.headers.get(names.HEADER_WEIGHTS)
    is_stream = reply.message.code == 200 and reply.is_event_stream
    return is_stream and is_readable(reply.first) and bool(reported or endpoint.weights)
