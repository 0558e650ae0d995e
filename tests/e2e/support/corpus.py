"""Schemas and tool sets that answers must fit, and a load that asks for all of them again and again.

What an answer says is compared with the greedy one that its weights gave undisturbed, and checked on its own.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jsonschema  # type: ignore[import-untyped]

from tests.e2e.support.load import TIMEOUT, Answer, ClosedLoad, ask, check_whole
from tests.unit.cell.replica.structured.schemas import schema_of

SCHEMAS = 200
TOOL_SETS = 50
LONGEST_PARAMETERS = 300  # characters: a template spells them out, and the tiny model has two bytes a token
MAX_TOKENS = 400
MOST_CUT = 0.15  # of the answers: a small model goes on and on where a schema lets it, and a tenth of them are trees


@dataclass(frozen=True)
class Case:
    """One request of a chat; its message tells it from all others."""

    message: str
    body: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)  # by function; of a case with tools

    def asked(self, model: str, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.message}]
        return {
            "model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, "stream": stream,
            **self.body,
        }  # fmt: skip

    def fault(self, answer: Answer) -> str:
        """Say what is wrong with an answer; empty when it fits, or is cut at its longest."""
        return "" if answer.finish == "length" else self._fault(answer.text)

    def _fault(self, text: str) -> str:
        function, brace, rest = text.partition("{") if self.parameters else ("", "", text)
        if self.parameters and function not in self.parameters:
            return f"{function!r} is none of {sorted(self.parameters)}"
        schema = self.parameters[function] if self.parameters else self.body["response_format"]["json_schema"]["schema"]
        try:
            found = json.loads(brace + rest)
        except ValueError as error:
            return f"no JSON: {error}"
        return "; ".join(error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(found))

    def is_compared(self, answer: Answer) -> bool:
        """A call that is cut is text for vLLM in a whole answer, and part of a call in a stream."""
        return not (self.parameters and answer.finish == "length")

    def meaning(self, text: str) -> str:
        """The answer as it is compared.

        A stream has a call's arguments as the model wrote them, a whole answer as vLLM's parser spells them again.
        """
        if not self.parameters or "{" not in text:
            return text
        function, brace, rest = text.partition("{")
        try:
            return f"{function}{json.dumps(json.loads(brace + rest))}"
        except ValueError:  # cut
            return text


def cases() -> tuple[Case, ...]:
    """All of them; the same ones each time."""
    return *(schema_case(seed) for seed in range(SCHEMAS)), *(tools_case(seed) for seed in range(TOOL_SETS))


def schema_case(seed: int) -> Case:
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema_of(seed)}}
    return Case(f"Object {seed}, please", {"response_format": shape})


def tools_case(seed: int) -> Case:
    """One to three functions; either one of them must be called, or the one that the request names."""
    chance = random.Random(seed)
    short = (one for one in map(schema_of, itertools.count(1000 * (seed + 1))) if short_enough(one))
    parameters = {f"function_{index}": next(short) for index in range(chance.randint(1, 3))}
    named = {"type": "function", "function": {"name": chance.choice(sorted(parameters))}}
    tools = [{"type": "function", "function": {"name": n, "parameters": made}} for n, made in parameters.items()]
    allowed = parameters if seed % 2 else {named["function"]["name"]: parameters[named["function"]["name"]]}  # type: ignore[index]
    choice = "required" if seed % 2 else named
    return Case(
        f"Call {seed}, please",
        {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False},
        parameters=allowed,
    )


def short_enough(schema: Mapping[str, Any]) -> bool:
    return len(json.dumps(schema)) <= LONGEST_PARAMETERS and schema.get("type") == "object"


async def undisturbed(url: str, model: str, asked: Sequence[Case], *, at_a_time: int) -> dict[str, str]:
    """The greedy answer to each case by its message. Raises AssertionError when one is missing or does not fit."""
    limit = asyncio.Semaphore(at_a_time)

    async def one(session: aiohttp.ClientSession, case: Case) -> tuple[Case, Answer]:
        async with limit:
            return case, await ask(session, url, case.asked(model, stream=False))

    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        found = await asyncio.gather(*(one(session, case) for case in asked))
    bad = [(case.body, answer) for case, answer in found if not answer.whole or case.fault(answer)]
    assert not bad, f"{len(bad)} of {len(found)} undisturbed answers do not fit: {bad[:2]}"
    cut = [case.message for case, answer in found if answer.finish == "length"]
    print(f"{model}: {len(cut)} of {len(found)} answers are cut after {MAX_TOKENS} tokens", flush=True)
    assert len(cut) <= max(3, MOST_CUT * len(found)), cut
    return {case.message: case.meaning(answer.text) for case, answer in found}


@dataclass
class CorpusLoad(ClosedLoad):
    """Clients that walk through all cases, each in an order of its own; six of ten requests stream."""

    url: str
    model: str
    asked: Sequence[Case]
    clients: int
    answers: list[Answer] = field(default_factory=list)

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        while True:
            for case in chance.sample(self.asked, len(self.asked)):
                if self._stop:
                    return
                body = case.asked(self.model, stream=chance.random() < 0.6)
                self.answers.append(await ask(self._session, self.url, body))

    def unseen(self) -> set[str]:
        """Messages that have no answer yet."""
        return {case.message for case in self.asked} - {answer.prompt for answer in self.answers if answer.whole}


def check_corpus(answers: Collection[Answer], asked: Sequence[Case], known: Mapping[str, Mapping[str, str]]) -> None:
    """Every answer is whole, fits, and is word for word that of the weights which its head names."""
    by_message = {case.message: case for case in asked}
    check_whole(answers)
    unfit = [answer for answer in answers if by_message[answer.prompt].fault(answer)]
    assert not unfit, f"{len(unfit)} answers do not fit: {unfit[:2]}"
    wrong = [
        answer
        for answer in answers
        if by_message[answer.prompt].is_compared(answer)
        and by_message[answer.prompt].meaning(answer.text) != known.get(answer.weights, {}).get(answer.prompt)
    ]
    assert not wrong, f"{len(wrong)} answers are not those of their weights: {wrong[:2]}"
