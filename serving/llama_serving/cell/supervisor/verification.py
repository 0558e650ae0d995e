"""Measures an engine before requests may come: golden prompts, log-probabilities, one fixed answer.

``mean_logprob = sum of the log-probabilities of all tokens of all texts / number of tokens``, in nats; a text's first
token has none. ``answer_hash`` is over the token ids of a greedy answer of 16 tokens to a fixed prompt: groups with the
same weights and the same layout give the same. ``tokens per second`` is that answer's tokens over its time, prompt
included. Golden prompts are compared; everything else is measured and reported, and the operator judges it.
"""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.cell.policy.measurement import CachedMeasurement
from llama_serving.cell.supervisor.quality_texts import BUILT_IN
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import GoldenPrompt, GoldenResult, Measurement, Verify

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Route and body to the answer. Raises EngineError."""

DEADLINE: Final = 120.0  # seconds for the whole measurement
ANSWER_TOKENS: Final = 16
ANSWER_PROMPT: Final = "The first thing that every child learns at school is"
_SHOWN: Final = 200  # characters of an answer
_COMPLETIONS: Final = "/v1/completions"
_CHAT: Final = "/v1/chat/completions"


class EngineError(Exception):
    """The engine did not answer, or refused; the text is one sentence."""


@dataclass(frozen=True)
class EngineUnderTest:
    """The engine that is measured."""

    weights: WeightsRef
    context_length: int
    stage_digests: tuple[str, ...]


async def measure(
    ask: Ask, subject: EngineUnderTest, verify: Verify, *, before: CachedMeasurement | None, clock: Callable[[], float]
) -> CachedMeasurement:
    """Measure an engine; ``before`` is an earlier measurement of the same engine, of which the costly part stands."""
    began = clock()
    found: dict[str, Any] = {}
    speed = 0.0
    try:
        async with asyncio.timeout(DEADLINE):
            if before is None:
                found["answer_hash"] = await _greedy_answer(ask, subject)
                speed = ANSWER_TOKENS / max(clock() - began, 1e-6)
            else:  # the engine may serve: in a batch with others, the last bits of an answer are not its own
                found["answer_hash"], speed = before.measurement.answer_hash, before.tokens_per_second
            found["golden"], found["mean_logprob"] = await asyncio.gather(
                golden_results(ask, subject, verify.golden), _quality(ask, subject, verify, before=before)
            )
    except TimeoutError:
        found["error"] = f"the engine did not answer everything within {DEADLINE:.0f} s"
    except EngineError as error:
        found["error"] = str(error)
    measurement = Measurement(
        digest=subject.weights.digest,
        id=subject.weights.id,
        stage_digests=subject.stage_digests,
        seconds=round(clock() - began, 3),
        **found,
    )
    return CachedMeasurement(measurement, speed, verify)


async def _greedy_answer(ask: Ask, subject: EngineUnderTest) -> str:
    body = {
        **_body(subject, tokens=ANSWER_TOKENS),
        "prompt": ANSWER_PROMPT,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    ids = _first(await ask(_COMPLETIONS, body)).get("token_ids")
    if not isinstance(ids, list) or not ids:
        raise EngineError("the engine returned no token ids for the fixed prompt")
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


async def golden_results(
    ask: Ask, subject: EngineUnderTest, prompts: Sequence[GoldenPrompt]
) -> tuple[GoldenResult, ...]:
    """Ask the golden prompts and compare the answers.

    Raises:
        EngineError: one was not answered.
    """
    return tuple(await asyncio.gather(*(_golden_one(ask, subject, prompt) for prompt in prompts)))


async def _golden_one(ask: Ask, subject: EngineUnderTest, golden: GoldenPrompt) -> GoldenResult:
    body = _body(subject, tokens=golden.max_tokens)
    if golden.chat:
        messages = [{"role": "user", "content": golden.prompt}]
        choice = _first(await ask(_CHAT, {**body, "messages": messages}))
        answer = str((choice.get("message") or {}).get("content") or "")
    else:
        answer = str(_first(await ask(_COMPLETIONS, {**body, "prompt": golden.prompt})).get("text") or "")
    return GoldenResult(prompt=golden.prompt, passed=passes(golden, answer), answer=answer[:_SHOWN])


def passes(golden: GoldenPrompt, answer: str) -> bool:
    """Return whether the answer contains what is expected and matches the pattern.

    Raises:
        EngineError: the pattern is not valid.
    """
    try:
        return golden.expect in answer and re.search(golden.pattern, answer) is not None
    except re.error as error:
        raise EngineError(f"the pattern {golden.pattern!r} of a golden prompt is not valid: {error}") from error


async def _quality(
    ask: Ask, subject: EngineUnderTest, verify: Verify, *, before: CachedMeasurement | None
) -> float | None:
    if before is not None and before.verify.quality_texts == verify.quality_texts:
        return before.measurement.mean_logprob
    texts = verify.quality_texts or BUILT_IN
    body = {**_body(subject, tokens=1), "prompt": list(texts), "prompt_logprobs": 0}
    answer = await ask(_COMPLETIONS, body)
    return mean_logprob([choice.get("prompt_logprobs") or [] for choice in answer.get("choices") or []])


def mean_logprob(texts: Sequence[Sequence[Mapping[str, Mapping[str, float]] | None]]) -> float:
    """Return the mean over the tokens of all texts; a token comes with itself as its candidate, a first one with None.

    Raises:
        EngineError: there is no token, or a log-probability that is not a number.
    """
    values = [float(candidate["logprob"]) for text in texts for token in text if token for candidate in token.values()]
    if not values:
        raise EngineError("the engine returned no log-probabilities for the texts")
    mean = sum(values) / len(values)
    if not math.isfinite(mean):
        raise EngineError("the engine returned a log-probability that is not a number")
    return round(mean, 4)


def _body(subject: EngineUnderTest, *, tokens: int) -> dict[str, Any]:
    """Return the body of a greedy request; a prompt that is longer than the context loses its beginning."""
    tokens = min(tokens, max(1, subject.context_length - 1))
    return {
        "model": subject.weights.served_name,
        "temperature": 0,
        "max_tokens": tokens,
        "truncate_prompt_tokens": max(1, subject.context_length - tokens),
    }


def _first(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise EngineError("the engine answered without choices")
    return dict(choices[0])


def stage_digests(digests: Sequence[str], *, tensor: int) -> tuple[str, ...]:
    """Return the digest that all ranks of a stage have; else all of theirs in one text, which equals no digest."""
    stages = [digests[first : first + tensor] for first in range(0, len(digests), tensor)]
    return tuple(" and ".join(dict.fromkeys(ranks)) for ranks in stages)
