"""An engine that answers the same prompt with the same tokens, in vLLM's spelling and with what vLLM holds back.

A token is an id and the text that it completes: none for a token in the middle of a character. If it is asked to go on
from the middle of a character it sends the text of the whole prompt first, as the real one does.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
END_OF_TURN = 2
PROMPT_TEXT = "<the whole prompt again>"
DONE = b"data: [DONE]\n\n"


def recorded(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


def spelled(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@dataclass(frozen=True)
class Engine:
    """``tokens``: the whole answer. ``name`` makes the ids of its streams different from those of others."""

    tokens: tuple[tuple[int, str], ...]
    prompt: tuple[int, ...] = (1, 9690, 198)
    name: str = "one"
    context_length: int = 1000

    def answer(self, path: str, body: Mapping[str, Any], *, sizes: Iterable[int] = ()) -> list[bytes]:
        """Return the events of an answer; ``sizes``: tokens per event, one where nothing is given."""
        return list(_Answer(self, path == CHAT, body).events(itertools.chain(sizes, itertools.repeat(1))))


class _Answer:
    def __init__(self, engine: Engine, chat: bool, body: Mapping[str, Any]) -> None:
        self.engine = engine
        self.chat = chat
        self.body = body
        self.prompt = engine.prompt if chat or isinstance(body["prompt"], str) else tuple(body["prompt"])
        done = len(self.prompt) - len(engine.prompt)
        known = [token for token, _ in engine.tokens[:done]]
        assert list(self.prompt) == [*engine.prompt, *known], f"asked for another answer: {self.prompt}"
        self.tokens = (*engine.tokens[done:], (END_OF_TURN, ""))
        if done and engine.tokens[done - 1][1] == "":
            self.tokens = ((self.tokens[0][0], PROMPT_TEXT + self.tokens[0][1]), *self.tokens[1:])
        limit = body.get("max_tokens", None if chat else 16)
        self.limit = engine.context_length - len(self.prompt) if limit is None else limit
        assert self.limit > 0, "no token is asked for"
        stop = body.get("stop", [])
        self.stop: Sequence[str] = [stop] if isinstance(stop, str) else stop
        self.held_back = max((len(text) for text in self.stop), default=1) - 1
        self.ids = body.get("return_token_ids") is True
        options = body.get("stream_options") or {}
        self.counts, self.counts_always = options.get("include_usage"), options.get("continuous_usage_stats")

    def events(self, sizes: Iterator[int]) -> Iterator[bytes]:
        if self.chat:
            choice = {
                "index": 0,
                "delta": {"role": "assistant", "content": ""},
                "logprobs": None,
                "finish_reason": None,
            }
            prompt = {"prompt_token_ids": list(self.prompt) if self.ids else None, "prompt_text": None}
            yield self._event([choice], 0, **prompt)
        decoded, sent, position, finish = "", 0, 0, None
        while finish is None:
            group = self.tokens[position : position + min(next(sizes), self.limit - position)]
            for number, (token, text) in enumerate(group, 1):
                decoded += text
                stopped = min((decoded.find(stop) for stop in self.stop if stop in decoded), default=-1)
                if stopped >= 0 or token == END_OF_TURN:
                    finish, group = "stop", group[:number]
                    decoded = decoded[:stopped] if stopped >= 0 else decoded
                    break
            position += len(group)
            finish = finish or ("length" if position == self.limit else None)
            end = len(decoded) if finish else max(len(decoded) - self.held_back, sent)
            yield self._tokens([token for token, _ in group], decoded[sent:end], finish=finish, position=position)
            sent = end
        if self.counts:
            yield self._event([], position, usage=self._usage(position))
        yield DONE

    def _tokens(self, ids: list[int], text: str, *, finish: str | None, position: int) -> bytes:
        shown = ids if self.ids else None
        if self.chat:
            choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}
            choice |= {"stop_reason": None} if finish else {}
            return self._event([choice | {"token_ids": shown}], position)
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None}
        prompt = list(self.prompt) if self.ids and position == len(ids) else None
        return self._event([choice | {"prompt_token_ids": prompt, "token_ids": shown}], position)

    def _event(self, choices: list[dict[str, Any]], position: int, **more: Any) -> bytes:
        kind, prefix = ("chat.completion.chunk", "chatcmpl") if self.chat else ("text_completion", "cmpl")
        body = {"id": f"{prefix}-{self.engine.name}", "object": kind, "created": 1795529623, "model": "llama"}
        usage = {"usage": self._usage(position)} if self.counts_always and choices else {}
        return spelled({**body, "choices": choices, **usage, **more})

    def _usage(self, position: int) -> dict[str, int]:
        prompt = len(self.prompt)
        return {"prompt_tokens": prompt, "total_tokens": prompt + position, "completion_tokens": position}


@dataclass(frozen=True)
class Seen:
    """What a client makes of a stream."""

    text: str
    ids: frozenset[str]
    finish: str | None
    usage: Mapping[str, int] | None
    tokens: tuple[int, ...]
    error: str
    ended: bool


def seen(raw: bytes) -> Seen:
    """Read a stream as a client does; an event that is no JSON raises."""
    text, ids, finish, usage, error = "", set(), None, None, ""
    tokens: list[int] = []
    *events, rest = raw.split(b"\n\n")
    assert rest == b"", f"the stream ends within an event: {rest!r}"
    for event in events:
        assert event.startswith(b"data: "), event
        if event == DONE[:-2]:
            continue
        body = json.loads(event[6:])
        if "error" in body:
            error = body["error"]["message"]
            continue
        ids.add(f"{body['id']} {body['created']} {body['object']} {body['model']}")
        usage = body.get("usage") or usage
        for choice in body["choices"]:
            text += choice["text"] if "text" in choice else choice["delta"].get("content", "")
            finish = choice["finish_reason"] or finish
            tokens += choice.get("token_ids") or []
    return Seen(text, frozenset(ids), finish, usage, tuple(tokens), error, raw.endswith(DONE))


def tokens_of(raw: bytes) -> tuple[tuple[int, str], ...]:
    """Return the tokens of a recorded answer that has one in each event and no stop strings."""
    found = []
    for event in raw.split(b"\n\n"):
        body = json.loads(event[6:]) if event.startswith(b"data: {") else {"choices": []}
        for choice in body["choices"]:
            text = choice["text"] if "text" in choice else choice["delta"].get("content", "")
            found += [(token, text) for token in choice.get("token_ids") or []]
    return tuple(found)
