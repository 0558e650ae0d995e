"""What a key is billed: exactly what the engine counts, once, whatever becomes of the stream."""

import asyncio
import json
from typing import Any

import pytest

from llama_serving.config.access.ledger import HEADER_FIRST, HEADER_LAST
from tests.component.gateway.access.world import ASKED, ask, key, keys, let_in
from tests.component.gateway.running import CHAT, Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Upstream, answer, head, stream, upstreams
from tests.component.gateway.streams.test_continuation import ENGINE, endpoint, says
from tests.unit.gateway.continuation.engine import DONE, seen

USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 7,
    "total_tokens": 37,
    "prompt_tokens_details": {"cached_tokens": 16},
}
WORD = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
COUNT = b'data: {"id":"1","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"
STREAMED = {**ASKED, "stream": True, "n": 2}  # two answers in one stream: it is only passed on
CONTINUED = {**ASKED, "stream": True}


async def rows(running: Gateway, **query: Any) -> list[dict[str, Any]]:
    await running.server.access.ledger.write(running.server.access.gate.period)
    got = await running.admin("/ledger?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert got.status == 200
    return [json.loads(line) for line in got.body.splitlines()]


def billed(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["prompt_tokens"], row["cached_tokens"], row["answer_tokens"], row["estimated"]


async def test_an_answer_in_one() -> None:
    upstream = Upstream(then=answer(200, json.dumps({"choices": [], "usage": USAGE}).encode()))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), served_name="llama") as running:
        let_in(running, keys(key("a", models=("llama",)), key("b")))
        await ask(running, "a")
        await ask(running, "a")
        await ask(running, "b")
        found = await rows(running)
        assert [(row["seq"], row["key"], row["model"], row["requests"]) for row in found] == [
            (1, "a", "llama", 2),
            (2, "b", "llama", 1),
        ]
        assert [billed(row) for row in found] == [(60, 32, 14, 0), (30, 16, 7, 0)]
        text = (await running.admin("/metrics")).body.decode()
        assert 'llama_gateway_key_prompt_tokens_total{key="a"} 60.0' in text
        assert 'llama_gateway_key_cached_tokens_total{key="a"} 32.0' in text
        assert 'llama_gateway_key_answer_tokens_total{key="a"} 14.0' in text


@pytest.mark.parametrize("asks", [False, True], ids=["not asked for", "asked for"])
async def test_a_stream_has_its_engine_count_and_shows_it_to_who_asked(asks: bool) -> None:
    upstream = Upstream(then=stream(WORD, WORD[:20], WORD[20:] + COUNT[:9], COUNT[9:] + DONE))
    body = {**STREAMED, "stream_options": {"include_usage": True}} if asks else STREAMED
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a")))
        got = await ask(running, "a", body=body)
        assert got.body == WORD + WORD + (COUNT if asks else b"") + DONE
        assert [billed(row) for row in await rows(running)] == [(30, 16, 7, 0)]
    assert json.loads(upstream.seen[0].body)["stream_options"] == {"include_usage": True}


async def test_without_rules_an_engine_is_asked_for_nothing() -> None:
    upstream = Upstream(then=stream(WORD, DONE))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await ask(running, body=STREAMED)
        assert await rows(running) == []
    assert "stream_options" not in json.loads(upstream.seen[0].body)


@pytest.mark.parametrize("asks", [False, True], ids=["not asked for", "asked for"])
async def test_a_stream_that_is_continued_is_billed_once(asks: bool) -> None:
    body = {**CONTINUED, "stream_options": {"include_usage": True}} if asks else CONTINUED
    whole = b"".join(ENGINE.answer(CHAT, body))
    tokens = len(ENGINE.tokens) + 1
    for cut in (1500, 3000):
        bad, good = Upstream(then=says(ENGINE, dies_after=cut, name="bad")), Upstream(then=says(ENGINE))
        async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
            let_in(running, keys(key("a")))
            request = asyncio.create_task(ask(running, "a", body=body))
            await until(lambda: bad.seen)  # noqa: B023
            running.know(endpoint(bad, "bad", ready=False), endpoint(good, "good"))
            got = await request
            assert seen(got.body).text == seen(whole).text
            assert (b'"usage":{' in got.body) is asks
            assert (await running.totals())["continued"] == 1
            assert [billed(row) for row in await rows(running)] == [(len(ENGINE.prompt), 0, tokens, 0)]


async def test_a_client_that_leaves_is_billed_what_it_was_sent() -> None:
    """The prompt is counted by its token ids, the answer by those that went out."""
    left = asyncio.Event()

    async def begins(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        for event in ENGINE.answer(CHAT, json.loads(exchange.body))[:4]:
            await exchange.chunk(event)
        await exchange.until_closed()
        left.set()

    upstream = Upstream(then=begins)
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        let_in(running, keys(key("a")))
        got = bytearray()
        headers = {"authorization": "Bearer sk-a"}
        url = f"http://127.0.0.1:{running.port}{CHAT}"
        async with running.session.post(url, data=json.dumps(CONTINUED).encode(), headers=headers) as response:
            while got.count(b"\n\n") < 4:
                got += await response.content.readany()
            response.close()
        await left.wait()
        await until(lambda: running.server.open_requests == 0)
        assert [billed(row) for row in await rows(running)] == [(len(ENGINE.prompt), 0, 3, 0)]


async def test_a_stream_without_a_count_is_estimated_and_says_so() -> None:
    upstream = Upstream(then=stream(*[WORD] * 5, DONE))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a")))
        await ask(running, "a", body=STREAMED)
        (row,) = await rows(running)
        assert row["estimated"] == 1
        assert row["prompt_tokens"] == len(json.dumps(STREAMED)) // 4
        assert row["answer_tokens"] == 4  # one event is taken for the one with the role


async def test_what_no_group_worked_on_is_not_billed() -> None:
    async with gateway(queue_timeout=0.05) as running:
        running.know()
        let_in(running, keys(key("a", requests_per_minute=1)))
        assert [(await ask(running, "a")).status for _ in range(2)] == [503, 429]
        assert await rows(running) == []


async def test_the_ledger_is_read_with_a_cursor() -> None:
    upstream = Upstream(then=answer(200, json.dumps({"usage": USAGE}).encode()))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a")))
        for _ in range(3):
            await ask(running, "a")
            await rows(running)
        assert [row["seq"] for row in await rows(running, after=1)] == [2, 3]
        assert [row["seq"] for row in await rows(running, after=0, limit=2)] == [1, 2]
        assert await rows(running, after=3) == []
        got = await running.admin("/ledger?after=2&format=csv")
        assert (got.headers[HEADER_FIRST], got.headers[HEADER_LAST]) == ("1", "3")
        lines = got.body.decode().splitlines()
        assert lines[0].startswith("seq,time,gateway,key,model,")
        assert lines[1].startswith("3,")
        for bad in ("after=x", "limit=0", "format=xml", "after=-1"):
            assert (await running.admin(f"/ledger?{bad}")).status == 400
