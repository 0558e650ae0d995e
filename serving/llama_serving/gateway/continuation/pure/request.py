"""What another engine needs to continue the answer to a request, read once from the request's body.

A stream is continuable only if every field of the request's body is

- one that shapes the prompt (its token ids are known from the first engine, so it is not needed again),
- one that is forwarded as it is (``PASSED``),
- one that is counted here (``max_tokens`` and the like),
- one whose answer has to be replayed (``REPLAYED``), or
- one with the value that requests nothing (``NEUTRAL``), or null.

Any other field, also one of a later engine, leaves the request unchanged and makes its stream not continuable.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from llama_serving.gateway.fields.request_fields import RequestFields
from llama_serving.gateway.fields.scanner import Body, TooComplexError

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"

#: Forwarded unchanged to the engine that continues.
PASSED: Final = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "cache_salt",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "logit_bias",
        "min_p",
        "model",
        "presence_penalty",
        "priority",
        "repetition_penalty",
        "seed",
        "session_id",
        "skip_special_tokens",
        "stop",
        "stop_token_ids",
        "stream_interval",
        "temperature",
        "top_k",
        "top_p",
        "watermarking",
    }
)
#: Used when the prompt was made: not needed again.
_OF_PROMPT = frozenset(
    {
        "add_generation_prompt",
        "add_special_tokens",
        "chat_template",
        "continue_final_message",
        "documents",
        "messages",
        "prompt",
        "truncate_prompt_tokens",
        "truncation_side",
    }
)
#: Used when the prompt was made, or without effect in the engine.
_DONE = _OF_PROMPT | {
    "chat_template_kwargs",
    "metadata",
    "parallel_tool_calls",
    "reasoning_effort",
    "request_id",
    "service_tier",
    "store",
    "user",
}
_COUNTED = frozenset(
    {"max_completion_tokens", "max_tokens", "min_tokens", "return_token_ids", "stream", "stream_options"}
)
#: Give an answer that goes through a grammar or a parser, or events with more than text: it is replayed. The values are
#: those that ask for nothing.
REPLAYED: Final[Mapping[str, object]] = {
    "guided_choice": None,
    "guided_grammar": None,
    "guided_json": None,
    "guided_regex": None,
    "logprobs": False,
    "response_format": {"type": "text"},
    "return_tokens_as_token_ids": False,
    "spaces_between_special_tokens": True,
    "structured_outputs": None,
    "tool_choice": "none",
    "tools": [],
    "top_logprobs": 0,
}
#: Request nothing with this value, and something that cannot be continued with any other.
NEUTRAL: Final[Mapping[str, object]] = {
    "best_of": 1,
    "echo": False,
    "include_reasoning": True,
    "length_penalty": 1.0,
    "n": 1,
    "use_beam_search": False,
}
_KNOWN: Final = PASSED | _DONE | _COUNTED | REPLAYED.keys()
#: What may stand in a list of token ids.
_OF_IDS: Final = b"0123456789, \t\r\n"
_LISTS: Final = b"[]"
#: In messages that are not parsed: a part of any other type is not text.
_TYPE: Final = b'"type"'
_OF_TEXT: Final = re.compile(rb'"type"\s{0,64}:\s{0,64}"(?:text|function)"')
_MOST_TYPES: Final = 4096
_DEFAULT_MAX_TOKENS = 16  # of /v1/completions; a chat goes on until the context is full


@dataclass(frozen=True, slots=True)
class ContinuableRequest:
    """What to request from another engine, and what the client wants to see.

    ``held_back``: characters that the engine holds back because they could begin a stop string.
    ``max_tokens``: None if the context length is the limit. ``wants_ids``: the client itself asked for token ids.
    ``replayed``: the answer is continued by a replay, whatever its events have. ``asked``: what the continuation needs
    of the request, as JSON: all but what made its prompt, or what is forwarded where no replay can be needed. It is
    kept as bytes, because as objects it would take many times as much.
    """

    chat: bool
    replayed: bool
    asked: bytes
    max_tokens: int | None
    min_tokens: int
    held_back: int
    wants_ids: bool
    wants_usage: bool

    @property
    def path(self) -> str:
        """The route of the request."""
        return CHAT if self.chat else TEXT

    @property
    def kept(self) -> bytes:
        """The request without what made its prompt, as JSON; empty where no replay can be needed."""
        # An engine with a parser of reasoning or of tool calls uses it for chats that ask for neither.
        return self.asked if self.chat or self.replayed else b""

    @property
    def params(self) -> Mapping[str, Any]:
        """What is forwarded as it is."""
        return {name: value for name, value in json.loads(self.asked).items() if name in PASSED}

    @property
    def stream_options(self) -> Mapping[str, Any]:
        """What the client asked of the stream itself."""
        options: Mapping[str, Any] = json.loads(self.asked).get("stream_options", {})
        return options


class NotContinuableError(Exception):
    """The stream is not continuable; the message says why, as a clause."""


def read(path: str, fields: RequestFields | None) -> ContinuableRequest | None:
    """Read a request; None when it requests no stream. Raises NotContinuableError."""
    if path not in (CHAT, TEXT) or not _wants_stream(fields):
        return None
    for name in fields.names():
        if name not in _KNOWN:
            _check(name, fields)
    try:
        _check_prompt(fields)
        given = {name: fields.get(name) for name in fields.names() if name not in _OF_PROMPT}
    except TooComplexError as error:
        raise NotContinuableError(str(error)) from None
    except ValueError:
        return None  # the engine reports what is wrong with it
    return _continuable(given, chat=path == CHAT)


def wants_other_stream(path: str, fields: RequestFields | None) -> bool:
    """Return whether a request asks for a stream that is never continuable, but whose clients read errors in it."""
    return path == RESPONSES and _wants_stream(fields)


def _wants_stream(fields: RequestFields | None) -> TypeGuard[RequestFields]:
    try:
        return fields is not None and fields.get("stream") is True
    except (TooComplexError, ValueError):
        return False


def with_token_ids(body: Body, request: ContinuableRequest) -> Body:
    """Return the body with a request for token ids; of two equal names in an object the last one counts."""
    return body if request.wants_ids else body.rstrip()[:-1] + b',"return_token_ids":true}'


def next_body(request: ContinuableRequest, *, prompt: Iterable[int], ids: Sequence[int], context_length: int) -> bytes:
    """Return the body of the request to ``TEXT`` for the rest of an answer after the tokens ``ids``.

    ``context_length``: the engine's limit of prompt and answer together, used if ``max_tokens`` is None.
    """
    # An engine lowers a limit that exceeds the rest of its context, but rejects one that exceeds all of it.
    limit = context_length if request.max_tokens is None else request.max_tokens - len(ids)
    body = {
        **request.params,
        "prompt": [*prompt, *ids],
        "max_tokens": limit,
        "min_tokens": max(request.min_tokens - len(ids), 0),
        "stream": True,
        "return_token_ids": True,
    }
    if options := request.stream_options:
        body["stream_options"] = options
    return json.dumps(body).encode()


def _check(name: str, fields: RequestFields) -> None:
    neutral = NEUTRAL.get(name)
    if neutral is None:
        raise NotContinuableError(f"the request has the field {name!r}")
    try:
        is_same = _is_same(fields.get(name), neutral)
    except (TooComplexError, ValueError):
        is_same = False
    if not is_same:
        raise NotContinuableError(f"{name!r} is not {json.dumps(neutral)}")


def _is_same(value: object, neutral: object) -> bool:
    # 0 log-probabilities are more than none, so False and 0 differ here.
    return type(value) is type(neutral) and value == neutral


def _asked(given: Mapping[str, Any], *, whole: bool) -> bytes:
    if not whole:
        asked = {name: value for name, value in given.items() if name in PASSED or name == "stream_options"}
        return json.dumps(asked, separators=(",", ":")).encode()
    asked = {name: value for name, value in given.items() if name not in NEUTRAL and name != "request_id"}
    return json.dumps(asked | {"return_token_ids": True}, separators=(",", ":")).encode()


def _check_prompt(fields: RequestFields) -> None:
    if fields.is_short:
        _check_short_prompt(fields)
        return
    for window in [] if fields.is_absent("prompt") else fields.windows("prompt"):
        if window[:1] == b'"':  # a text: windows within it are not looked at
            break
        if window.translate(None, _OF_IDS) not in (b"", b"[", b"]", _LISTS):
            raise NotContinuableError("'prompt' is a list of prompts")
    for number, place in enumerate(fields.places("messages", _TYPE)):
        if number >= _MOST_TYPES or not fields.matches(_OF_TEXT, place):
            raise NotContinuableError("a message has parts that are not text")


def _check_short_prompt(fields: RequestFields) -> None:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and not all(type(token) is int for token in prompt):
        raise NotContinuableError("'prompt' is a list of prompts")
    messages = fields.get("messages")
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            if not isinstance(part, dict) or part.get("type", "text") != "text":
                raise NotContinuableError("a message has parts that are not text")


def _continuable(given: Mapping[str, Any], *, chat: bool) -> ContinuableRequest:
    limit = (
        given.get("max_completion_tokens", given.get("max_tokens"))
        if chat
        else given.get("max_tokens", _DEFAULT_MAX_TOKENS)
    )
    options = given.get("stream_options", {})
    minimum = given.get("min_tokens", 0)
    if not _is_count(minimum) or not (limit is None or _is_count(limit)) or not isinstance(options, dict):
        raise NotContinuableError("a token limit is not a number")
    replayed = any(name in REPLAYED and not _is_same(value, REPLAYED[name]) for name, value in given.items())
    return ContinuableRequest(
        chat=chat,
        replayed=replayed,
        asked=_asked(given, whole=chat or replayed),
        max_tokens=limit,
        min_tokens=minimum,
        held_back=_held_back(given),
        wants_ids=given.get("return_token_ids") is True,
        wants_usage=bool(options.get("include_usage")),
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _held_back(given: Mapping[str, Any]) -> int:
    stop = given.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise NotContinuableError("'stop' is not text")
    if given.get("include_stop_str_in_output") is True:
        return 0
    return max((len(text) for text in stops), default=1) - 1 if any(stops) else 0
