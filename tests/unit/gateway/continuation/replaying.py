"""An engine that says again what a real one said, and replays: its parsers are in the recorded events.

``recorded/replay/NAME.json`` is the request, ``NAME.sse`` the answer of vLLM with token ids.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.gateway.continuation.engine import CHAT, DONE, RECORDED, spelled

REPLAY = "/llama/replay"
FOLDER = RECORDED / "replay"
NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


@dataclass(frozen=True)
class Recording:
    """One answer; ``asked`` is the body of its request. ``engine`` makes the ids of its stream and calls its own."""

    path: str
    asked: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    engine: str = "one"

    def whole(self) -> bytes:
        """The answer with token ids, as the engine sends it."""
        return b"".join(self.spelled()) + DONE

    def spelled(self) -> list[bytes]:
        return [spelled(self._named(event)) for event in self.events]

    def of(self, engine: str) -> "Recording":
        return dataclasses.replace(self, engine=engine)

    def replay(self, body: Mapping[str, Any]) -> bytes:
        """Answer a request for a replay, as the replica does; any other tokens than the recorded ones raise."""
        made = [list(tokens) for tokens in map(ids_of, self.events) if tokens]
        prompt = next(ids for ids in map(prompt_of, self.events) if ids)
        assert body["path"] == self.path
        assert body["prompt"] == prompt
        assert body["made"] == made[: len(body["made"])], "not the tokens of this answer, event by event"
        assert not {"messages", "prompt"} & body["request"].keys()
        assert body["request"]["return_token_ids"] is True
        shaping = {"messages", "prompt", "return_token_ids"}
        want = {name: value for name, value in self.asked.items() if name not in shaping}
        assert {**body["request"], "return_token_ids": None} == {**want, "return_token_ids": None}
        return self.whole()

    def _named(self, event: Mapping[str, Any]) -> dict[str, Any]:
        renamed = json.loads(json.dumps(event))
        renamed |= {"id": f"chatcmpl-{self.engine}", "created": 1_795_529_623 + len(self.engine)}
        for choice in renamed["choices"]:
            for call in choice.get("delta", {}).get("tool_calls") or ():
                if call.get("id"):
                    call["id"] = f"call-{self.engine}-{call['index']}"
        return dict(renamed)


def recording(name: str, folder: Path = FOLDER) -> Recording:
    request = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    events = tuple(json.loads(event[6:]) for event in (folder / f"{name}.sse").read_bytes().split(b"\n\n")[:-2])
    return Recording(request["path"], request["body"], events)


def ids_of(event: Mapping[str, Any]) -> list[int]:
    return [token for choice in event["choices"] for token in choice.get("token_ids") or ()]


def prompt_of(event: Mapping[str, Any]) -> list[int] | None:
    of_choice = [choice.get("prompt_token_ids") for choice in event["choices"]]
    found = event.get("prompt_token_ids") or next(filter(None, of_choice), None)
    return list(found) if found else None


@dataclass
class Answer:
    """What a client makes of a stream with anything in it."""

    names: set[str] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)  # text, reasoning
    calls: dict[int, list[str]] = field(default_factory=dict)  # name and arguments, by index
    call_ids: dict[int, list[str]] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    roles: int = 0
    finish: list[str] = field(default_factory=list)
    usage: list[Any] = field(default_factory=list)
    prompts: int = 0
    ended: bool = False
    errors: list[Any] = field(default_factory=list)


def answer_of(raw: bytes) -> Answer:
    """Read a stream as a client does; an event that is no JSON raises."""
    found = Answer(ended=raw.endswith(DONE))
    *events, rest = raw.split(b"\n\n")
    assert rest == b"", f"the stream ends within an event: {rest!r}"
    for event in events:
        assert event.startswith(b"data: "), event
        if event == DONE[:-2]:
            continue
        body = json.loads(event[6:])
        if "error" in body:
            found.errors.append(body["error"])
            continue
        _take(found, body)
    return found


def _take(found: Answer, body: Mapping[str, Any]) -> None:
    found.names.add(f"{body['id']} {body['created']} {body['object']} {body['model']}")
    found.prompts += prompt_of(body) is not None
    found.tokens += ids_of(body)
    if body.get("usage") and not body["choices"]:
        found.usage.append(body["usage"])
    for choice in body["choices"]:
        delta = choice.get("delta", {"content": choice.get("text")})
        found.roles += "role" in delta
        for name in ("content", "reasoning", "reasoning_content"):
            found.said[name] = found.said.get(name, "") + (delta.get(name) or "")
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            name, arguments = found.calls.setdefault(call["index"], ["", ""])
            found.calls[call["index"]] = [
                name + (function.get("name") or ""),
                arguments + (function.get("arguments") or ""),
            ]
            found.call_ids.setdefault(call["index"], []).extend([call["id"]] if call.get("id") else [])
        found.logprobs += _logprobs(choice.get("logprobs"))
        found.finish += [choice["finish_reason"]] if choice.get("finish_reason") else []


def _logprobs(given: Any) -> list[Any]:
    if not given:
        return []
    if "content" in given:
        return list(given["content"])
    return list(zip(given["tokens"], given["token_logprobs"], given["top_logprobs"], given["text_offset"], strict=True))


def places(recorded: Recording) -> Iterable[int]:
    """The bytes behind each event of the recorded answer."""
    return itertools.accumulate(map(len, recorded.spelled()))


__all__ = ["CHAT", "DONE", "NAMES", "REPLAY", "Answer", "Recording", "answer_of", "places", "recording"]
