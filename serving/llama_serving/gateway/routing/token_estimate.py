"""An estimate of a request's tokens from the bytes of its body, without parsing: that would cost more than the rest.

    prompt    one token per ``BYTES_PER_TOKEN`` bytes of the body: the JSON around a message is about as long as what a
              chat template adds to it. A list of token ids under ``prompt`` is counted.
    answer    ``max_completion_tokens``, else ``max_tokens``, times ``n``; 0 for a route that does not generate

A route that only counts tokens costs none; a batch has an answer for each conversation. Both are capped at ``MOST``
(an image in a body would be hundreds of thousands of tokens). The estimate is too high for prompts in scripts that JSON
spells as ``\\uXXXX``, too low for a body with a content-encoding and for text with less than four bytes per token.
Numbers are searched in the first and the last ``EDGE`` bytes only, since clients write them before or after the long
fields.

In JSON a quote within a text has a backslash before it, so ``"max_tokens":`` is always a field, though not always of
the outermost object.
"""

import re
from itertools import islice
from typing import Final, NamedTuple

from llama_serving.config.routes.route import Work
from llama_serving.config.routes.table import PASSED
from llama_serving.gateway.fields.scanner import Body

BYTES_PER_TOKEN: Final = 4
MOST: Final = 128 << 10  # tokens of the longest context of Llama 3
EDGE: Final = 1 << 10  # bytes; to search all of a long body costs as much as to parse it
DEFAULT_OF_TEXT: Final = 16  # tokens that /v1/completions makes without a limit

_TEXT = "/v1/completions"
_BATCH = "/v1/chat/completions/batch"
_WITHOUT_TOKENS: Final = frozenset(route.path for route in PASSED if route.work is Work.TOKENIZES)
_LIMITS: Final = {
    "/v1/chat/completions": (b'"max_completion_tokens"', b'"max_tokens"'),
    _BATCH: (b'"max_completion_tokens"', b'"max_tokens"'),
    _TEXT: (b'"max_tokens"',),
    "/v1/responses": (b'"max_output_tokens"',),
    "/v1/messages": (b'"max_tokens"',),
}
_MOST_ANSWERS = 128
_NUMBER = re.compile(rb"\s{0,64}:\s{0,64}(\d{1,9})\b")
# Spaces are counted, and conversations looked for in so many bytes: a search must end, whatever a client sends.
_NEXT_CONVERSATION = re.compile(rb"\]\s{0,64},\s{0,64}\[\s{0,64}\{")
_SEARCHED: Final = 256 << 10
_IDS = re.compile(rb"\s{0,64}:\s{0,64}\[\s{0,64}\d")
_MOST_IDS = 8 * MOST  # bytes of a list of so many, at least


class TokenEstimate(NamedTuple):
    """Tokens; ``answer_tokens`` is None where the request sets no limit."""

    prompt_tokens: int
    answer_tokens: int | None


def estimate(path: str, body: Body) -> TokenEstimate:
    """Return the estimated tokens of a request to ``path``."""
    if path in _WITHOUT_TOKENS:
        return TokenEstimate(0, 0)
    limits = _LIMITS.get(path)
    if limits is None:
        return TokenEstimate(min(len(body) // BYTES_PER_TOKEN, MOST), 0)
    tokens = _ids(body) if path == _TEXT else None
    prompt = len(body) // BYTES_PER_TOKEN if tokens is None else tokens
    edges = body if len(body) <= 2 * EDGE else body[:EDGE] + b"\n" + body[-EDGE:]
    answer = _answer(path, edges, limits)
    if path == _BATCH and answer:
        answer = min(answer * _conversations(body), MOST)
    return TokenEstimate(min(prompt, MOST), answer)


def _answer(path: str, body: Body, limits: tuple[bytes, ...]) -> int | None:
    for name in limits:
        limit = _number(body, name)
        if limit is not None:
            break
    else:
        if path != _TEXT:
            return None
        limit = DEFAULT_OF_TEXT
    answers = _number(body, b'"n"')
    if answers:
        limit *= min(answers, _MOST_ANSWERS)
    return limit if limit < MOST else MOST


def _conversations(body: Body) -> int:
    """Return how many conversations a batch has, by what its first ``_SEARCHED`` bytes have."""
    found = sum(1 for _ in islice(_NEXT_CONVERSATION.finditer(body, 0, _SEARCHED), _MOST_ANSWERS))
    seen = min(len(body), _SEARCHED)
    return min(found * len(body) // seen + 1, _MOST_ANSWERS)


def _number(body: Body, name: bytes) -> int | None:
    """Return the first number that is the value of a field of this name."""
    at = body.find(name)
    while at >= 0:
        at += len(name)
        found = _NUMBER.match(body, at)
        if found is not None:
            return int(found[1])
        at = body.find(name, at)
    return None


def _ids(body: Body) -> int | None:
    """Return how many token ids a prompt is given as; None where it is text, or several prompts."""
    name = b'"prompt"'
    at = body.find(name, 0, EDGE)
    found = _IDS.match(body, at + len(name)) if at >= 0 else None
    if found is None:
        return None
    start, most = found.end(), found.end() + _MOST_IDS
    end = body.find(b"]", start, most)
    return body.count(b",", start, most if end < 0 else end) + 1
