"""What an engine sends and no client could read never reaches one, also where no group is left to ask.

Each case was found by a seed of ``garbage``.
"""

import asyncio

import pytest

from tests.component.gateway.running import CHAT, Answer, gateway
from tests.component.gateway.scripted import DONE, EVENT, Exchange, Script, Upstream, answer, head, upstreams
from tests.component.gateway.streams.test_continuation import ask

SECRET = b"ANOTHER-ANSWER"


async def control_characters(exchange: Exchange) -> None:
    body = b'{"a": 1}'
    await exchange.send(head(200, f"content-length: {len(body)}", "x-good: yes", "x-bad: a\x01b\x7f") + body)


async def second_answer_in_a_chunk(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked") + b"2\r\n{}" + SECRET + b"\r\n")


async def two_content_types(exchange: Exchange) -> None:
    body = b"data: " + SECRET
    await exchange.send(head(200, f"content-length: {len(body)}", "content-type: text/event-stream") + body)


async def announces_and_hangs(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\ncontent-type: application/json")
    await asyncio.sleep(60)


async def asked(script: Script, **config: float) -> Answer:
    upstream = Upstream(then=script)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), **config) as running:
        return await running.request(CHAT, data=b'{"messages": []}')


async def test_headers_with_control_characters_are_left_out() -> None:
    got = await asked(control_characters)
    assert (got.status, got.body, got.headers["x-good"]) == (200, b'{"a": 1}', "yes")
    assert "x-bad" not in got.headers


@pytest.mark.parametrize(
    "script", [second_answer_in_a_chunk, two_content_types, answer(200, b'{"a": "' + SECRET), answer(206, SECRET)]
)
async def test_an_answer_that_is_none_is_an_error_without_its_bytes(script: Script) -> None:
    got = await asked(script)
    assert got.status == 502
    assert SECRET not in got.body
    assert got.headers["content-type"].startswith("application/json")


async def test_an_engine_that_announces_an_answer_and_hangs_is_left_in_time() -> None:
    got = await asked(announces_and_hangs, first_byte_timeout=0.3)
    assert got.status == 504


async def test_a_stream_with_a_length_is_not_cut_by_what_comes_behind_it() -> None:
    """The engine's length holds for its own bytes; the gateway takes some out, and an error event comes behind."""
    begun = EVENT + DONE[:-1]  # one byte short of the end

    async def short(exchange: Exchange) -> None:
        await exchange.send(head(200, f"content-length: {len(begun)}", kind="text/event-stream") + begun)

    upstream = Upstream(then=short)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await ask(running, {"stream": True, "n": 2, "messages": []})
    assert "content-length" not in got.headers
    assert got.body.startswith(EVENT)
    assert b'"code": "stream_broken"' in got.body
    assert got.body.endswith(b"\n\n")
