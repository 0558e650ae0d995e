"""What a client has received of an answer that is continued by replaying it.

A parser of tool calls, of reasoning, or a grammar has a state that text alone does not give back. So another engine is
given the tokens of every event that the client has, event by event, and runs its own parsers over them. Its stream
starts from the beginning of the answer; of its events, those of the given tokens are not passed on.

They are compared: the tokens one by one, and what they said by hashes, because the other engine may be of another
version with another parser. A hash has constant size, whatever the answer's length.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_serving.gateway.continuation.pure.chunk import Chunk
from llama_serving.gateway.continuation.pure.request import ContinuableRequest

_IDENTITY = ("id", "object", "created", "model")


class Said:
    """Everything that the events of an answer said so far, but how it was divided among them."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}

    def take(self, chunk: Chunk) -> None:
        """Add what an event says."""
        if chunk.text:
            self._add("text", chunk.text)
        for name, value in chunk.delta.items():
            if name == "tool_calls":
                self._calls(value or ())
            elif name not in ("role", "content") and value:
                self._add(name, value if isinstance(value, str) else json.dumps(value, sort_keys=True))

    def digests(self) -> Mapping[str, bytes]:
        """Return the hash of each part, by its name."""
        return {name: part.digest() for name, part in self._parts.items()}

    def _calls(self, calls: Any) -> None:
        for call in calls:
            function = call.get("function") or {}
            for name in ("name", "arguments"):
                # A call without arguments so far is a call.
                self._add(f"call {call.get('index')} {name}", function.get(name) or "")

    def _add(self, name: str, text: str) -> None:
        self._parts.setdefault(name, hashlib.sha256()).update(text.encode("utf-8", "surrogatepass"))


@dataclass(slots=True)
class ReplayTranscript:
    """One answer so far, of one engine or of several; ``call_ids`` are those of its tool calls, by their index.

    ``finish``, ``identity`` and ``counted`` as in Transcript.
    """

    prompt: "array[int]" = field(default_factory=lambda: array("I"))
    ids: "array[int]" = field(default_factory=lambda: array("I"))
    sizes: "array[int]" = field(default_factory=lambda: array("I"))  # tokens of each event that has some
    identity: Mapping[str, Any] = field(default_factory=dict)
    finish: str | None = None
    counted: bool = False
    said: Said = field(default_factory=Said)
    call_ids: dict[int, str] = field(default_factory=dict)

    def take(self, chunk: Chunk) -> None:
        """Add an event that the client gets."""
        self.ids.extend(chunk.ids)
        if chunk.ids:
            self.sizes.append(len(chunk.ids))
        self.prompt = self.prompt or array("I", chunk.prompt)
        self.identity = self.identity or {name: chunk.body[name] for name in _IDENTITY if name in chunk.body}
        self.finish = chunk.finish or self.finish
        self.counted = self.counted or chunk.is_count
        self.said.take(chunk)
        for call in chunk.delta.get("tool_calls") or ():
            if call.get("id"):
                self.call_ids.setdefault(call["index"], call["id"])

    def resume(self) -> int:
        """Return the number of tokens that another engine continues after: all that the client has."""
        return len(self.ids)

    def events(self) -> Iterator[list[int]]:
        """Yield the tokens of each event."""
        start = 0
        for size in self.sizes:
            yield list(self.ids[start : start + size])
            start += size


def replay_body(request: ContinuableRequest, transcript: ReplayTranscript) -> bytes:
    """Return the body of the request to ``names.ROUTE_REPLAY``; ``request.kept`` is what the client asked."""
    given = {"path": request.path, "prompt": list(transcript.prompt), "made": list(transcript.events())}
    return json.dumps(given, separators=(",", ":")).encode()[:-1] + b',"request":' + request.kept + b"}"
