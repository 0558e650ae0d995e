"""Prompts of 120,000 tokens: through the limits, the estimates, silence and a death, and back out of memory."""

import asyncio
import dataclasses
import json
from typing import Any, Final

import pytest

from llama_serving.config.gateway import WorkCount
from tests.component.gateway.running import CHAT, Answer, Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Script, Upstream, upstreams
from tests.component.gateway.streams.test_continuation import TOKENS, endpoint, says
from tests.unit.gateway.continuation.engine import TEXT, Engine, Seen, seen

PROMPT: Final = tuple(1000 + 997 * number % 127_000 for number in range(120_000))
ENGINE: Final = Engine(TOKENS, prompt=PROMPT, context_length=131_072)
WORDS: Final = "ein Satz auf Deutsch, " * 21_900
ASKED: Final[dict[str, dict[str, Any]]] = {
    TEXT: {"stream": True, "prompt": list(PROMPT), "max_tokens": 50},
    CHAT: {"stream": True, "messages": [{"role": "user", "content": WORDS}], "max_tokens": 50},
}
#: Bytes of the first event, which has the ids of the prompt.
FIRST: Final = len(ENGINE.answer(TEXT, {**ASKED[TEXT], "return_token_ids": True})[0])
MIB: Final = 1 << 20


async def ask(running: Gateway, path: str) -> Answer:
    return await running.request(path, data=json.dumps(ASKED[path]).encode())


def prefills(script: Script, gate: asyncio.Event) -> Script:
    """Answer as ``script`` does once the prompt is computed."""

    async def slowly(exchange: Exchange) -> None:
        await gate.wait()
        await script(exchange)

    return slowly


def without_name(found: Seen) -> Seen:
    return dataclasses.replace(found, ids=frozenset())


def want(path: str) -> Seen:
    return without_name(seen(b"".join(ENGINE.answer(path, ASKED[path]))))


def without_comments(body: bytes) -> bytes:
    return b"".join(event + b"\n\n" for event in body.split(b"\n\n") if event and event[:1] != b":")


@pytest.mark.parametrize("path", [TEXT, CHAT])
async def test_a_long_prompt_is_passed_estimated_and_continued_after_two_long_silences(path: str) -> None:
    body = json.dumps(ASKED[path]).encode()
    assert len(body) > 480_000
    first, second = asyncio.Event(), asyncio.Event()
    bad = Upstream(then=prefills(says(ENGINE, dies_after=FIRST + 900, name="bad"), first))
    good = Upstream(then=prefills(says(ENGINE, name="good"), second))
    comments = 0

    def piece() -> None:
        nonlocal comments
        comments += 1

    async with upstreams(bad, good), gateway(endpoint(bad, "bad"), sse_keep_alive=0.05) as running:
        request = asyncio.create_task(running.request(path, data=body, on_piece=piece))
        await until(lambda: bad.seen and comments > 2)
        load = await running.load()
        assert (load.arrived.requests, load.in_flight, load.waiting) == (1, 1, 0)
        assert load.arrived.answer_tokens == 50
        assert abs(load.arrived.prompt_tokens - len(PROMPT)) <= len(PROMPT) * 0.05
        running.know(endpoint(bad, "bad"), endpoint(good, "good"))
        first.set()
        await until(lambda: good.seen)
        before = comments
        await until(lambda: comments > before + 2)
        second.set()
        got = await request
        assert without_name(seen(without_comments(got.body))) == want(path)
        assert await running.totals() == {"finished": 1, "continued": 1}
    asked = json.loads(good.seen[-1].body)
    assert tuple(asked["prompt"][: len(PROMPT)]) == PROMPT
    assert len(asked["prompt"]) > len(PROMPT)


async def test_a_group_that_dies_within_the_ids_of_the_prompt_has_sent_nothing() -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=FIRST // 2)), Upstream(then=says(ENGINE))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running, TEXT))
        await until(lambda: bad.seen)
        running.know(endpoint(good, "good"))
        assert without_name(seen((await request).body)) == want(TEXT)
        assert await running.totals() == {"retried": 1, "finished": 1}


async def test_streams_beyond_the_memory_go_on_and_all_memory_comes_back() -> None:
    """Half of 4 MiB has room for two prompts of 0.74 MB; the third stream runs and says why it cannot be continued."""
    gate = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await says(ENGINE, dies_after=FIRST + 400, end=until_told)(exchange)

    async def until_told(exchange: Exchange) -> None:
        await gate.wait()
        exchange.close()

    upstream = Upstream(then=waits)
    received = [0, 0, 0]
    async with upstreams(upstream), gateway(endpoint(upstream, "a"), max_held=4 * MIB, max_retries=0) as running:
        asked = []
        for number in range(3):

            def piece(number: int = number) -> None:
                received[number] += 1

            body = json.dumps(ASKED[TEXT]).encode()
            asked.append(asyncio.create_task(running.request(TEXT, data=body, on_piece=piece)))
            await until(lambda number=number: received[number])  # type: ignore[misc]
        gate.set()
        answers = await asyncio.gather(*asked)
        errors = [seen(without_comments(got.body)).error for got in answers]
        assert ["memory for running streams is used up" in error for error in errors] == [False, False, True], errors
        upstream.then = says(ENGINE)
        for _ in range(8):  # more than the memory, if one of them kept its own
            assert without_name(seen((await ask(running, TEXT)).body)) == want(TEXT)
        load = await running.load()
        assert (load.in_flight, load.waits) == (0, WorkCount())
