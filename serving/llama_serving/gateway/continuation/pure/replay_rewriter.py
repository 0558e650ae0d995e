"""Passes on what a replaying engine says after the tokens that the client has; what it says of these is compared."""

from array import array
from collections.abc import Mapping
from typing import Any

from llama_serving.gateway.continuation.pure.chunk import Chunk, ChunkError, without_empty, write
from llama_serving.gateway.continuation.pure.replay import ReplayTranscript, Said
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.rewriter import EventRewriter


class ReplayRewriter(EventRewriter):
    """One continuation after all tokens that ``transcript`` has when this is made."""

    def __init__(self, transcript: ReplayTranscript, request: ContinuableRequest) -> None:
        super().__init__(request)
        self._transcript = transcript
        self._given = len(transcript.ids)
        self._seen = 0
        self._said = Said()
        # A chat begins with an event of its own, which the client has.
        self._is_replay = self._given > 0 or request.chat

    def _chunk(self, chunk: Chunk) -> bytes:
        if chunk.prompt and array("I", chunk.prompt) != self._transcript.prompt:
            raise ChunkError("its prompt differs from the answer's")
        if not chunk.body:
            return b""  # a comment
        if self._is_replay:
            self._compare(chunk)
            return b""
        self._transcript.take(chunk)
        event = write(self._body(chunk))
        return event if self._request.wants_ids else without_empty(event)

    def _compare(self, chunk: Chunk) -> None:
        end = self._seen + len(chunk.ids)
        if end > self._given or array("I", chunk.ids) != self._transcript.ids[self._seen : end]:
            raise ChunkError(f"its tokens differ from the answer behind token {self._seen}")
        if chunk.finish is not None or chunk.is_count:
            raise ChunkError(f"its answer ends at token {end} of {self._given}")
        self._seen = end
        self._said.take(chunk)
        if end == self._given:
            self._is_replay = False
            self._compare_said()

    def _compare_said(self) -> None:
        has, says = self._transcript.said.digests(), self._said.digests()
        for name in has.keys() | says.keys():
            if has.get(name) != says.get(name):
                raise ChunkError(f"its parser reads another {name} in the same {self._given} tokens")

    def _body(self, chunk: Chunk) -> dict[str, Any]:
        body = {**chunk.body, **self._transcript.identity}
        body.pop("prompt_token_ids", None)
        body["choices"] = [self._choice(choice) for choice in chunk.body["choices"]]
        return body

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        shown = dict(choice)
        if not self._request.wants_ids:
            shown["token_ids"] = None
        if not self._request.chat:
            return {**shown, "prompt_token_ids": None}
        if "delta" not in choice:
            raise ChunkError("it sends text where the answer is a chat")
        calls = choice["delta"].get("tool_calls")
        if calls:
            shown["delta"] = {**choice["delta"], "tool_calls": [self._call(call) for call in calls]}
        return shown

    def _call(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a part of a call with the id that the client knows it by."""
        return {**call, "id": self._transcript.call_ids[call["index"]]} if call.get("id") else call
