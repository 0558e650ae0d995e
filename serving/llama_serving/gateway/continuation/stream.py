"""One stream that could be continued: its taps in turn, and what is known of its answer."""

import asyncio

from aiohttp import web

from llama_serving.config import names
from llama_serving.gateway.continuation.pure import chunk
from llama_serving.gateway.continuation.pure.chunk import ChunkError
from llama_serving.gateway.continuation.pure.recorder import Recorder, is_readable
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.rewriter import Rewriter
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.http.request_context import RequestContext
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.ticket import Ticket
from llama_serving.gateway.upstream.exchange import Reply

# Parsing gives way to other streams after so many events: some milliseconds.
_EVENTS_AT_A_TIME = 500


class Stream:
    """One stream; ``reply`` is what the present engine sends, ``tap`` what that goes through on its way.

    ``weights`` are those that discovery named for the first group, ``weights_said`` those that it named itself.
    ``moved``: the present engine is left although it works.
    """

    def __init__(
        self, passage: RequestContext, ticket: Ticket, *, asked: ContinuableRequest, reply: Reply, target: Endpoint, budget: MemoryBudget
    ) -> None:
        self.passage = passage
        self.ticket = ticket
        self.asked = asked
        self.budget = budget
        self.reply = reply
        self.weights = target.weights
        self.weights_said = reply.message.headers.get(names.HEADER_WEIGHTS)
        self.relay: Relay | None = None
        self.moved = False
        self._recorder = Recorder(budget, shows_ids=asked.wants_ids)
        self.tap: Recorder | Rewriter = self._recorder
        self._story: Transcript | None = None

    @property
    def request(self) -> web.BaseRequest:
        """Return the client's request."""
        return self.passage.request

    @property
    def tokens(self) -> int:
        """Return how many tokens of the answer the client has got."""
        return self._recorder.tokens if self._story is None else len(self._story.ids)

    async def story(self) -> Transcript:
        """Return what the client has of the answer; raises ChunkError when it cannot be continued."""
        if self._story is None:
            story = self._begin_story()
            for number, event in enumerate(self._recorder.events(), 1):
                story.take(chunk.read(event))
                if number % _EVENTS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
            self._story = story
            self._recorder.drop()
        return self._story

    def go_on(self, reply: Reply, story: Transcript, *, begins_at: int) -> None:
        """Take over the engine that continues."""
        self.moved = False
        self.reply = reply
        self.tap = Rewriter(story, self.asked, begins_at=begins_at)

    def move(self) -> None:
        """Leave the present engine, if the answer can be continued by another."""
        if self.tap.failure or self.tap.done or not self._can_move():
            return
        self.moved = True
        self.tap.failure = "its group is to be left"
        if self.relay is not None:
            self.relay.look()

    def close(self) -> None:
        """Free the memory."""
        self._recorder.forget()

    def _begin_story(self) -> Transcript:
        if self._recorder.lost:
            raise ChunkError(self._recorder.lost)
        return Transcript(held_back=self.asked.held_back, shows_ids=self.asked.wants_ids)

    def _can_move(self) -> bool:
        # An engine that works is left only for a stream that is known to be continuable.
        if self._story is not None:
            return True
        try:
            story = self._begin_story()
            for event in self._recorder.events():
                story.take(chunk.read(event))
        except ChunkError:
            return False
        return True


def can_be_continued(reply: Reply, target: Endpoint) -> bool:
    """Say whether an answer tells what is needed to continue it, and which weights would have to."""
    said = reply.message.headers.get(names.HEADER_WEIGHTS)
    is_stream = reply.message.code == 200 and reply.is_event_stream
    return is_stream and is_readable(reply.first) and bool(said or target.weights)
