"""Rewrites the events of an engine that continues, so that they fit the stream that the client already has.

Every event is parsed and written anew: with id, time, model and kind of the first stream, only the text that the client
does not have yet, and token counts for the whole answer.
"""

from abc import ABC, abstractmethod
from typing import Any

from llama_serving.gateway.continuation.pure.chunk import DONE as DONE_EVENT
from llama_serving.gateway.continuation.pure.chunk import END, ERROR, LONGEST, Chunk, ChunkError, read, write
from llama_serving.gateway.continuation.pure.replay import ReplayTranscript
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.transcript import Transcript


class EventRewriter(ABC):
    """One continuation, whose events are read and written anew.

    ``failure`` and ``done`` as in Recorder; ``differs``: it failed because its text or tokens differ from the answer's.
    """

    def __init__(self, request: ContinuableRequest) -> None:
        self.failure = ""
        self.done = False
        self.differs = False
        self._request = request
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the engine; return the bytes for the client."""
        *events, self._rest = (self._rest + piece).split(END)
        written = []
        for event in events:
            if self.failure or self.done:  # nothing comes behind the end
                break
            written.append(self._event(event))
        if len(self._rest) > LONGEST and not self.done:
            self._fail(f"sent an event of more than {LONGEST} bytes")
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
        try:
            return self._chunk(chunk)
        except ChunkError as error:
            self.differs = True
            return self._fail(str(error))
        except (ValueError, RecursionError) as error:
            return self._fail(f"sent an event that cannot be written ({type(error).__name__})")

    def _fail(self, why: str) -> bytes:
        self.failure = why
        return b""

    @abstractmethod
    def _chunk(self, chunk: Chunk) -> bytes:
        """Return the event for the client; raises ChunkError when it does not continue the answer."""


class Rewriter(EventRewriter):
    """A continuation whose text begins after ``resumes_at`` tokens of the answer."""

    def __init__(self, transcript: Transcript, request: ContinuableRequest, *, resumes_at: int) -> None:
        super().__init__(request)
        self._transcript = transcript
        self._resumes_at = resumes_at

    def _chunk(self, chunk: Chunk) -> bytes:
        text, ids = self._transcript.take(chunk)
        if not (text or ids or chunk.finish or chunk.is_count):
            return b""
        return write(self._body(chunk, text, ids))

    def _body(self, chunk: Chunk, text: str, ids: tuple[int, ...]) -> dict[str, Any]:
        body = {**chunk.body, **self._transcript.identity}
        body.pop("prompt_token_ids", None)
        if chunk.usage is not None:
            body["usage"] = _usage(chunk.usage, prompt=len(self._transcript.prompt), before=self._resumes_at)
        if body["choices"]:
            body["choices"] = [self._choice(chunk, text, ids)]
        return body

    def _choice(self, chunk: Chunk, text: str, ids: tuple[int, ...]) -> dict[str, Any]:
        choice: dict[str, Any] = dict(chunk.body["choices"][0])
        shown = list(ids) if self._request.wants_ids else None
        if not self._request.chat:
            return {**choice, "text": text, "prompt_token_ids": None, "token_ids": shown}
        made = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": chunk.finish}
        if chunk.finish is not None:
            made["stop_reason"] = choice.get("stop_reason")
        return {**made, "token_ids": shown}


def ending(transcript: "Transcript | ReplayTranscript", request: ContinuableRequest) -> bytes:
    """Return the events that an answer lacks whose last token the client has."""
    events = b""
    if request.wants_usage and not transcript.counted:
        usage = _usage({}, prompt=len(transcript.prompt), before=len(transcript.ids))
        events = write({**transcript.identity, "choices": [], "usage": usage})
    return events + DONE_EVENT


def _usage(usage: Any, *, prompt: int, before: int) -> dict[str, Any]:
    completion = before + int(usage.get("completion_tokens", 0))
    return {
        **usage,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
