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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

CHAT: Final = "/v1/chat/completions"
TEXT: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"

#: Longer bodies are not parsed: parsing would stop all other streams for more than some milliseconds.
MAX_PARSED: Final = 4 << 20

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
_DEFAULT_MAX_TOKENS = 16  # of /v1/completions; a chat goes on until the context is full


@dataclass(frozen=True, slots=True)
class ContinuableRequest:
    """What to request from another engine, and what the client wants to see.

    ``held_back``: characters that the engine holds back because they could begin a stop string.
    ``max_tokens``: None if the context length is the limit. ``wants_ids``: the client itself asked for token ids.
    ``replayed``: the answer is continued by a replay, whatever its events have. ``kept``: the request without what made
    its prompt, as JSON; empty where no replay can be needed.
    """

    chat: bool
    replayed: bool
    kept: bytes
    params: Mapping[str, Any]
    max_tokens: int | None
    min_tokens: int
    held_back: int
    wants_ids: bool
    stream_options: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The route of the request."""
        return CHAT if self.chat else TEXT

    @property
    def wants_usage(self) -> bool:
        """Whether the client asked for a last event that counts tokens."""
        return bool(self.stream_options.get("include_usage"))


class NotContinuableError(Exception):
    """The stream is not continuable; the message says why, as a clause."""


def read(path: str, body: bytes) -> ContinuableRequest | None:
    """Read the body of a request; None when it requests no stream. Raises NotContinuableError."""
    fields = _fields_of_stream(body) if path in (CHAT, TEXT) else None
    if fields is None:
        return None
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        _check(name, value)
    _check_prompt(given)
    return _continuable(given, chat=path == CHAT)


def wants_other_stream(path: str, body: bytes) -> bool:
    """Return whether a request asks for a stream that is never continuable, but whose clients read errors in it."""
    return path == RESPONSES and _fields_of_stream(body) is not None


def _fields_of_stream(body: bytes) -> dict[str, Any] | None:
    """Return the body of a request for a stream; None for any other, and for one too large to parse."""
    # Every request for a stream has this word in its body; other bodies are not parsed.
    if b'"stream"' not in body or len(body) > MAX_PARSED:
        return None
    try:
        fields = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None  # the engine reports what is wrong with it
    return fields if isinstance(fields, dict) and fields.get("stream") is True else None


def with_token_ids(body: bytes, request: ContinuableRequest) -> bytes:
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
    if request.stream_options:
        body["stream_options"] = request.stream_options
    return json.dumps(body).encode()


def _check(name: str, value: object) -> None:
    if name in PASSED or name in _DONE or name in _COUNTED or name in REPLAYED:
        return
    neutral = NEUTRAL.get(name)
    if neutral is None:
        raise NotContinuableError(f"the request has the field {name!r}")
    if not _is_same(value, neutral):
        raise NotContinuableError(f"{name!r} is not {json.dumps(neutral)}")


def _is_same(value: object, neutral: object) -> bool:
    # 0 log-probabilities are more than none, so False and 0 differ here.
    return type(value) is type(neutral) and value == neutral


def _kept(given: Mapping[str, Any]) -> bytes:
    dropped = _OF_PROMPT | NEUTRAL.keys() | {"request_id"}
    asked = {name: value for name, value in given.items() if name not in dropped}
    return json.dumps(asked | {"return_token_ids": True}, separators=(",", ":")).encode()


def _check_prompt(given: Mapping[str, Any]) -> None:
    prompt = given.get("prompt")
    if isinstance(prompt, list) and not all(type(token) is int for token in prompt):
        raise NotContinuableError("'prompt' is a list of prompts")
    messages = given.get("messages")
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
        # An engine with a parser of reasoning or of tool calls uses it for chats that ask for neither.
        kept=_kept(given) if chat or replayed else b"",
        params={name: value for name, value in given.items() if name in PASSED},
        max_tokens=limit,
        min_tokens=minimum,
        held_back=_held_back(given),
        wants_ids=given.get("return_token_ids") is True,
        stream_options=options,
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
