"""Streams whose group computes for long: comments before the first token and between two, never within an event."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from llama_serving.gateway.http.sse_keepalive import COMMENT, COMPUTING
from llama_serving.gateway.upstream.exchange import WHOLE_BELOW
from tests.component.gateway.running import CHAT, Answer, Gateway, gateway, until
from tests.component.gateway.scripted import (
    DONE,
    EVENT,
    OK_BODY,
    Exchange,
    Script,
    Upstream,
    answer,
    head,
    stream,
    upstreams,
)
from tests.component.gateway.streams.test_continuation import ASKED, ENGINE, endpoint, says, want
from tests.component.gateway.streams.test_sse_keepalive import SOON, ask, error_of, events, without_comments

PASSED_ON = {"stream": True, "n": 2}


class Paused:
    """An engine that sends one piece after the other, the next when the test says so."""

    def __init__(self, pieces: Sequence[bytes], *, kind: str = "text/event-stream") -> None:
        self._pieces = pieces
        self._kind = kind
        self._go: asyncio.Queue[None] = asyncio.Queue()

    def go(self) -> None:
        self._go.put_nowait(None)

    async def __call__(self, exchange: Exchange) -> None:
        await self._go.get()
        await exchange.send(head(200, "transfer-encoding: chunked", kind=self._kind))
        for piece in self._pieces:
            await exchange.chunk(piece)
            await self._go.get()
        await exchange.send(b"0\r\n\r\n")


async def begins(running: Gateway, comments: int = 2, path: str = CHAT) -> tuple["asyncio.Task[Answer]", list[None]]:
    waiting = ask(running, PASSED_ON, path)
    await waiting.held(comments)
    return waiting.task, waiting.pieces


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, ASKED), (CHAT, PASSED_ON), ("/v1/responses", {"stream": True, "input": "Hi"})]
)
async def test_a_stream_gets_comments_while_its_first_token_is_computed(path: str, body: dict[str, object]) -> None:
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        await (says(ENGINE) if path == CHAT else stream(EVENT, DONE))(exchange)

    upstream = Upstream(then=slow)
    async with upstreams(upstream), gateway(endpoint(upstream, "a"), **SOON) as running:
        waiting = ask(running, body, path)
        await waiting.held(3)
        go.set()
        got = await waiting.got()
        assert got.body.startswith(COMPUTING * 3)
        assert COMMENT not in got.body
        assert (got.headers["x-accel-buffering"], got.headers["cache-control"]) == ("no", "no-cache")
        assert b": x-llama-group=0 x-llama-weights=" in got.body
        assert await running.totals() == {"finished": 1}
    if body is ASKED:
        assert events(got) == want()


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("POST", "/v1/messages"), ("GET", "/v1/models")])
async def test_a_stream_that_its_group_began_gets_comments_between_two_tokens(method: str, path: str) -> None:
    engine = Paused([EVENT, EVENT, DONE])
    upstream = Upstream(then=engine)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=0.2) as running:
        engine.go()
        waiting = ask(running, PASSED_ON, path, method=method)
        for wanted in (3, 6):
            await waiting.held(wanted)
            engine.go()
        await waiting.held(8)
        engine.go()
        got = await waiting.got()
    assert got.headers["x-llama-group"] == "0", "its own head came first"
    first, second, third = (part.count(COMPUTING) for part in got.body.removeprefix(EVENT).split(b"data: "))
    assert min(first, second, third) > 0
    assert without_comments(got.body) == EVENT + EVENT + DONE


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: {", b'"a": 1}\n\n', DONE),
        (b"data: 1\n\ndata: 2", b"\n\n", DONE),
        (b"data: 1\ndata: 2\n", b"\n", DONE),
        (b"data: 1\r\n", b"\r\n", DONE),
        (b"data: 1\r", b"\n\r", b"\n", DONE),
        (b"data: 1\n", b"\n", DONE),
    ],
)
async def test_no_comment_is_within_an_event(pieces: Sequence[bytes]) -> None:
    """It is silent for some periods after each piece; taken without comments, the bytes are those of the engine.

    On a route whose pieces are forwarded as they come; of a chat only whole events are.
    """
    engine = Paused(pieces)
    upstream = Upstream(then=engine)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=0.02) as running:
        engine.go()
        task, received = await begins(running, 1, "/v1/responses")
        whole = b""
        for piece in pieces:
            whole += piece
            before = len(received)
            if whole.endswith((b"\n\n", b"\r\n\r\n")):
                await until(lambda n=before: len(received) > n + 1)  # type: ignore[misc]
            else:
                await asyncio.sleep(0.1)  # nothing may come, so there is nothing to wait for; the end tells
            engine.go()
        got = await task
    assert COMPUTING in got.body
    assert without_comments(got.body) == b"".join(pieces)
    for part in got.body.split(COMPUTING)[:-1]:
        assert not part or part.endswith((b"\n\n", b"\r\n\r\n"))


async def test_an_answer_that_is_no_stream_stays_as_it_is() -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await answer()(exchange)

    upstream = Upstream(then=slow)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=0.02) as running:
        got = await running.request(data=json.dumps({"stream": False}).encode())
        assert (got.body, got.headers["content-type"]) == (OK_BODY, "application/json")


async def test_a_long_answer_that_is_no_stream_gets_nothing_in_its_middle() -> None:
    long = b'{"a": "' + b"x" * WHOLE_BELOW + b'",\n\n'  # a shorter one is read whole before it is forwarded
    engine = Paused([long, b'\n\n"b": 1}'], kind="application/json")
    upstream = Upstream(then=engine)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=1) as running:
        engine.go()
        waiting = ask(running, PASSED_ON)
        await waiting.held(1)
        await asyncio.sleep(0.2)
        engine.go()
        engine.go()
        assert (await waiting.got()).body == long + b'\n\n"b": 1}'


async def test_an_engine_that_refuses_soon_keeps_its_status() -> None:
    upstream = Upstream(then=answer(400, b'{"error": {"message": "no"}}'))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=5) as running:
        assert (await ask(running, PASSED_ON).got()).status == 400


async def test_an_engine_that_refuses_late_is_told_inside() -> None:
    go = asyncio.Event()

    async def refuses(exchange: Exchange) -> None:
        await go.wait()
        await answer(400, b'{"error": {"message": "no", "code": 400}}')(exchange)

    upstream = Upstream(then=refuses)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), **SOON) as running:
        waiting = ask(running, PASSED_ON)
        await waiting.held(2)
        go.set()
        got = await waiting.got()
        assert (error_of(got)["message"], error_of(got)["status"]) == ("no", 400)


async def test_a_stream_that_waits_for_another_group_in_its_middle_gets_comments() -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=says(ENGINE))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad"), sse_keep_alive=0.05, ejection=60) as running:
        waiting = ask(running)
        await until(lambda: bad.seen)
        running.know(endpoint(bad, "bad", ready=False))
        await until(lambda: running.server.load().waiting == 1)
        await waiting.held(len(waiting.pieces) + 2)
        running.know(endpoint(good, "good"))
        got = await waiting.got()
        assert COMMENT in got.body
        assert events(got).text == want().text
        assert await running.totals() == {"finished": 1, "continued": 1}


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_both_versions_of_http_get_comments_that_are_whole(version: bytes) -> None:
    engine = Paused([EVENT, DONE])
    upstream = Upstream(then=engine)
    body = json.dumps(PASSED_ON).encode()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), **SOON) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        start = b"POST %b HTTP/%b\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
        writer.write(start % (CHAT.encode(), version, len(body), body))
        await reader.readuntil(COMPUTING)
        for part in (EVENT, DONE):
            engine.go()
            await reader.readuntil(part)
        await reader.readuntil(COMPUTING)
        engine.go()
        rest = await reader.read()
        writer.close()
    assert rest.replace(COMPUTING, b"").endswith(b"" if version == b"1.0" else b"0\r\n\r\n")


async def test_a_slow_client_gets_no_comments_on_top() -> None:
    async def floods(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        while True:
            await exchange.chunk(EVENT * 1000)

    upstream = Upstream(then=floods)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), sse_keep_alive=0.01, idle_timeout=0.5) as running:
        body = json.dumps(PASSED_ON).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
        await until(lambda: running.server.load().in_flight == 1)
        await until(lambda: running.server.load().in_flight == 0)
        assert await running.totals() == {"cancelled": 1}
        writer.close()


def scripts() -> list[Script]:
    return [answer(), answer(503), answer(400), says(ENGINE), says(ENGINE, dies_after=500)]


@pytest.mark.parametrize("period", [0.0005, 0.002, 0.01])
async def test_at_any_moment_a_stream_is_begun_once_and_ends_as_it_should(period: float) -> None:
    """The timer meets every step of an answer: whoever begins the stream, its events are the engine's."""
    for number in range(20):
        good = Upstream(scripts()[number % 5 : number % 5 + 1], then=says(ENGINE))
        async with upstreams(good), gateway(endpoint(good, "a"), sse_keep_alive=period) as running:
            got = await ask(running).got()
        if got.headers["content-type"].startswith("text/event-stream"):
            assert got.body.count(b"data: [DONE]") == 1
            assert got.body.count(b"HTTP/1.") == 0
        else:
            assert json.loads(got.body)
        assert not got.broken
