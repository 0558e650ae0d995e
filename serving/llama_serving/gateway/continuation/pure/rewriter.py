"""The events of an engine that continues, in the shape of the stream that the client has already.

Every event is parsed and written anew: id, time, model and kind of the first stream, only text that the client has
not, counts of tokens for the whole answer.
"""

from typing import Any

from llama_serving.gateway.continuation.pure.chunk import DONE as DONE_EVENT
from llama_serving.gateway.continuation.pure.chunk import END, ERROR, Chunk, ChunkError, read, write
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.transcript import Transcript


class Rewriter:
    """One continuation. ``failure`` and ``done`` as in Recorder; ``differs``: it failed by saying something else."""

    def __init__(self, story: Transcript, asked: ContinuableRequest, *, begins_at: int) -> None:
        self.failure = ""
        self.done = False
        self.differs = False
        self._story = story
        self._asked = asked
        self._begins_at = begins_at
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """Take in what the engine sent; return what the client gets now."""
        *events, self._rest = (self._rest + piece).split(END)
        written = []
        for event in events:
            if self.failure:
                break
            written.append(self._event(event))
        return b"".join(written)

    def _event(self, event: bytes) -> bytes:
        if event.startswith(ERROR):
            return self._fail("ended its stream with an error")
        try:
            chunk = read(event)
        except ChunkError as error:
            return self._fail(str(error))
        if chunk.finish == "abort":
            return self._fail("aborted the answer")
        if chunk.done:
            self.done = True
            return DONE_EVENT
        return self._chunk(chunk)

    def _chunk(self, chunk: Chunk) -> bytes:
        try:
            text, ids = self._story.take(chunk)
        except ChunkError as error:
            self.differs = True
            return self._fail(str(error))
        if not (text or ids or chunk.finish or chunk.is_count):
            return b""
        return write(self._body(chunk, text, ids))

    def _fail(self, why: str) -> bytes:
        self.failure = why
        return b""

    def _body(self, chunk: Chunk, text: str, ids: tuple[int, ...]) -> dict[str, Any]:
        body = {**chunk.body, **self._story.identity}
        body.pop("prompt_token_ids", None)
        if chunk.usage is not None:
            body["usage"] = _usage(chunk.usage, prompt=len(self._story.prompt), before=self._begins_at)
        if body["choices"]:
            body["choices"] = [self._choice(chunk, text, ids)]
        return body

    def _choice(self, chunk: Chunk, text: str, ids: tuple[int, ...]) -> dict[str, Any]:
        choice: dict[str, Any] = dict(chunk.body["choices"][0])
        shown = list(ids) if self._asked.wants_ids else None
        if not self._asked.chat:
            return {**choice, "text": text, "prompt_token_ids": None, "token_ids": shown}
        made = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": chunk.finish}
        if chunk.finish is not None:
            made["stop_reason"] = choice.get("stop_reason")
        return {**made, "token_ids": shown}


def ending(story: Transcript, asked: ContinuableRequest) -> bytes:
    """Return the events that are missing of an answer whose last token the client has."""
    events = b""
    if asked.wants_usage and not story.counted:
        usage = _usage({}, prompt=len(story.prompt), before=len(story.ids))
        events = write({**story.identity, "choices": [], "usage": usage})
    return events + DONE_EVENT


def _usage(usage: Any, *, prompt: int, before: int) -> dict[str, Any]:
    completion = before + int(usage.get("completion_tokens", 0))
    return {
        **usage,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
