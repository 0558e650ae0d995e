"""Measures an engine before requests may come: golden prompts, log-probabilities, one fixed answer.

``answer_hash`` is over the token ids of a greedy answer of 16 tokens to a fixed prompt: groups with the same weights
and the same layout give the same. ``tokens per second`` is that answer's tokens over its time, prompt included. Golden
prompts are compared (``policy/golden.py``); everything else is measured and reported, and the operator judges it.

A prompt that the engine refuses (status 400 or 422: it has no parser for tools, no chat template, no grammar for the
schema) has failed. That is its answer, and asking again gives the same one.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llama_serving.cell.policy.golden import (
    EngineAnswer,
    engine_answer,
    golden_result,
    refused_result,
    unasked_result,
)
from llama_serving.cell.policy.json_schema import NotJsonError, load_json
from llama_serving.cell.policy.measurement import CachedMeasurement
from llama_serving.cell.policy.quality import NotMeasuredError, mean_of, measured_texts, text_quality
from llama_serving.cell.supervisor.quality_texts import BUILT_IN
from llama_serving.common.cpu_limit import CpuLimitError, cpu_limit
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import GoldenPrompt, GoldenResult, Measurement, Tool, Verify

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Route and body to the answer. Raises EngineError."""

DEADLINE: Final = 120.0  # seconds for the whole measurement
ANSWER_TOKENS: Final = 16
ANSWER_PROMPT: Final = "The first thing that every child learns at school is"
_JUDGE_SECONDS: Final = 2.0  # of computing for one answer: patterns and schemas are those of users
_COMPLETIONS: Final = "/v1/completions"
_CHAT: Final = "/v1/chat/completions"


class EngineError(Exception):
    """The engine did not answer, or refused; the text is one sentence."""


class EngineRefusedError(EngineError):
    """The engine refuses this request, and would refuse it again; the text says why."""


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
            found["golden"], quality = await asyncio.gather(
                golden_results(ask, subject, verify.golden), _quality(ask, subject, verify, before=before)
            )
            found |= quality
    except TimeoutError:
        found["error"] = f"the engine did not answer everything within {DEADLINE:.0f} s"
    except EngineError as error:
        found["error"] = str(error)
    measurement = Measurement(
        digest=subject.weights.digest,
        id=subject.weights.id,
        stage_digests=subject.stage_digests,
        checks=verify.key,
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
    route = _CHAT if golden.chat else _COMPLETIONS
    try:
        asked = _chat(golden) if golden.chat else {"prompt": golden.prompt}
        body = {**_body(subject, tokens=golden.max_tokens), **asked, **_response_format(golden)}
        choice = _first(await ask(route, body))
    except NotJsonError as error:
        return unasked_result(golden, str(error))
    except EngineRefusedError as error:
        return refused_result(golden, str(error))
    return judge(golden, engine_answer(choice))


def _chat(golden: GoldenPrompt) -> dict[str, Any]:
    tools = {"tools": [_function(tool) for tool in golden.tools], "tool_choice": "auto"} if golden.tools else {}
    return {"messages": [{"role": "user", "content": golden.prompt}], **tools}


def _function(tool: Tool) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    parameters = load_json(tool.parameters) if tool.parameters else {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": parameters}}


def _response_format(golden: GoldenPrompt) -> dict[str, Any]:
    if not golden.answer_schema:
        return {}
    schema = {"name": "golden", "schema": load_json(golden.answer_schema), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def judge(golden: GoldenPrompt, answer: EngineAnswer) -> GoldenResult:
    """Compare an answer; a pattern or a schema that takes too long to check has failed."""
    try:
        with cpu_limit(_JUDGE_SECONDS):
            return golden_result(golden, answer)
    except CpuLimitError:
        return unasked_result(golden, f"its pattern or schema was not checked in {_JUDGE_SECONDS:g} s of computing")


async def _quality(
    ask: Ask, subject: EngineUnderTest, verify: Verify, *, before: CachedMeasurement | None
) -> dict[str, Any]:
    """Return the fields of a measurement that speak of the quality texts."""
    if before is not None and before.verify.quality_texts == verify.quality_texts:
        known = before.measurement
        return {"mean_logprob": known.mean_logprob, "texts": known.texts, "by_text": known.by_text}
    texts = [("", text) for text in verify.quality_texts] or [(one.language, one.text) for one in BUILT_IN]
    body = {**_body(subject, tokens=1), "prompt": [text for _, text in texts], "prompt_logprobs": 0}
    tokens = _prompt_logprobs(await ask(_COMPLETIONS, body), expected=len(texts))
    try:
        by_text = tuple(text_quality(found, language) for (language, _), found in zip(texts, tokens, strict=True))
    except NotMeasuredError as error:
        raise EngineError(str(error)) from error
    longest, limit = max(map(len, tokens)), body["truncate_prompt_tokens"]
    measured = measured_texts([text for _, text in texts], longest=longest, limit=limit)
    return {"mean_logprob": mean_of(by_text), "texts": measured, "by_text": by_text}


def _prompt_logprobs(answer: Mapping[str, Any], *, expected: int) -> list[list[Any]]:
    """Return those of each text, in the order of the texts."""
    choices = sorted(answer.get("choices") or [], key=lambda choice: int(choice.get("index") or 0))
    if len(choices) != expected:
        raise EngineError(f"the engine measured {len(choices)} of {expected} texts")
    return [choice.get("prompt_logprobs") or [] for choice in choices]


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
