"""Streams that wait: comments keep their connection alive, and every outcome is told inside of the stream."""

import asyncio
import json
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from llama_serving.gateway.http.sse_keepalive import COMMENT, COMPUTING
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
from tests.component.gateway.streams.test_continuation import ASKED, ENGINE, endpoint, hangs, says, want
from tests.component.gateway.test_clients import connect
from tests.unit.gateway.continuation.engine import TEXT, Seen, seen

SOON = {"sse_keep_alive": 0.05}
REFUSED = json.dumps({"error": {"message": "too long", "type": "BadRequestError", "code": 400}}).encode()


@dataclass
class Waiting:
    """A client's stream while it is held; ``pieces`` counts what came of it."""

    task: "asyncio.Task[Answer]"
    pieces: list[None]

    async def got(self) -> Answer:
        return await self.task

    async def held(self, comments: int = 2) -> None:
        await until(lambda: len(self.pieces) >= comments)


def ask(running: Gateway, body: dict[str, Any] | None = None, path: str = CHAT, **more: Any) -> Waiting:
    pieces: list[None] = []
    data = json.dumps(body or ASKED).encode()
    task = asyncio.create_task(running.request(path, data=data, on_piece=lambda: pieces.append(None), **more))
    return Waiting(task, pieces)


def without_comments(body: bytes) -> bytes:
    """Return what a reader of events makes of a stream: lines that begin with a colon are nothing."""
    return re.sub(rb"^:[^\n]*\n\n", b"", body, flags=re.MULTILINE)


def events(got: Answer) -> Seen:
    return seen(without_comments(got.body))


def error_of(got: Answer) -> dict[str, Any]:
    """Return the error of a stream that has nothing but one, and an end."""
    first, last, rest = without_comments(got.body).split(b"\n\n")
    assert (last, rest) == (b"data: [DONE]", b"")
    error: dict[str, Any] = json.loads(first.removeprefix(b"data: "))["error"]
    return error


@pytest.mark.parametrize("path", [CHAT, TEXT])
async def test_a_stream_that_waits_gets_comments_and_then_its_answer(path: str) -> None:
    upstream = Upstream(then=says(ENGINE))
    body = {**ASKED, "prompt": "Repeat"}
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running, body, path)
        await waiting.held(3)
        assert running.server.load().waiting == 1
        running.know(endpoint(upstream, "a"))
        got = await waiting.got()
        assert (got.status, got.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert got.body.startswith(COMMENT * 3)
        assert events(got) == want(body, path)
        assert ("x-request-id" in got.headers, "x-llama-group" in got.headers) == (True, False)
        said, first = got.body.replace(COMMENT, b"").replace(COMPUTING, b"").split(b"\n\n")[:2]
        assert said == b": x-llama-group=0 x-llama-weights=w", "the answer's head is gone by then"
        assert first.startswith(b"data: ")
        assert await running.totals() == {"finished": 1}
        text = (await running.admin("/metrics")).body.decode()
    assert 'llama_gateway_requests_total{code="200"} 1.0\n' in text


async def test_comments_go_on_until_the_first_event() -> None:
    go = asyncio.Event()

    async def slow(exchange: Any) -> None:
        await go.wait()
        await says(ENGINE)(exchange)

    upstream = Upstream(then=slow)
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        await until(lambda: upstream.seen)
        await waiting.held(len(waiting.pieces) + 2)
        go.set()
        assert events(await waiting.got()) == want()


async def test_a_stream_that_is_only_passed_on_is_held_as_well() -> None:
    upstream = Upstream(then=stream(EVENT, EVENT, DONE))
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running, {"stream": True, "n": 2})
        await waiting.held()
        running.know(upstream.endpoint("a"))
        assert without_comments((await waiting.got()).body) == EVENT + EVENT + DONE


@pytest.mark.parametrize(
    ("body", "config"),
    [
        ({"stream": False}, SOON),
        ({"messages": []}, SOON),
        (ASKED, {"sse_keep_alive": 0}),
        (ASKED, {"sse_keep_alive": 60}),
    ],
)
async def test_others_wait_in_silence_and_keep_their_status(body: dict[str, Any], config: dict[str, float]) -> None:
    async with gateway(queue_timeout=0.3, **config) as running:
        running.know()
        got = await ask(running, body).got()
        assert (got.status, got.error["code"]) == (503, "no_group")


async def test_a_stream_that_gets_its_group_soon_is_begun_by_the_group() -> None:
    upstream = Upstream(then=says(ENGINE))
    async with upstreams(upstream), gateway(sse_keep_alive=30) as running:
        running.know()
        waiting = ask(running)
        await until(lambda: running.server.load().waiting == 1)
        running.know(endpoint(upstream, "a"))
        got = await waiting.got()
        assert (seen(got.body), got.headers["x-llama-group"]) == (want(), "0")


async def test_the_deadline_is_told_inside() -> None:
    async with gateway(queue_timeout=0.3, **SOON) as running:
        running.know()
        got = await ask(running).got()
        error = error_of(got)
        assert (got.status, got.broken) == (200, False)
        assert (error["code"], error["type"], error["status"]) == ("no_group", "server_error", 503)
        assert error["message"].startswith("no group became available within 0.3 s: 0 groups known")
        assert await running.totals() == {"rejected_deadline": 1}
        text = (await running.admin("/metrics")).body.decode()
    assert 'llama_gateway_requests_total{code="503"} 1.0\n' in text


async def chunked_refusal(exchange: Any) -> None:
    await exchange.send(head(400, "transfer-encoding: chunked"))
    await exchange.chunk(REFUSED[:10])
    await exchange.chunk(REFUSED[10:])
    await exchange.send(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(400, REFUSED), {"message": "too long", "type": "BadRequestError", "code": 400, "status": 400}),
        (chunked_refusal, {"message": "too long", "type": "BadRequestError", "code": 400, "status": 400}),
        (
            answer(404, b"what?\n"),
            {
                "message": "the group answered 404 with 6 bytes that are not an OpenAI error",
                "type": "invalid_request_error",
                "code": 404,
                "status": 404,
            },
        ),
        (answer(422, b'{"error": {"code": "odd"}}'), {"code": "odd", "status": 422}),
    ],
)
async def test_an_engine_that_refuses_is_told_inside(script: Script, error: dict[str, Any]) -> None:
    upstream = Upstream(then=script)
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        got = await waiting.got()
        assert (error_of(got), got.status, got.broken) == (error, 200, False)
        assert await running.totals() == {"finished": 1}
        text = (await running.admin("/metrics")).body.decode()
    assert f'llama_gateway_requests_total{{code="{error["status"]}"}} 1.0\n' in text
    assert len(upstream.seen) == 1


async def test_an_answer_that_is_no_stream_becomes_an_event() -> None:
    upstream = Upstream(then=answer())
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        first, *rest = without_comments((await waiting.got()).body).split(b"\n\n")
    assert json.loads(first.removeprefix(b"data: ")) == json.loads(OK_BODY)
    assert rest == [b"data: [DONE]", b""]


@pytest.mark.parametrize(
    ("script", "config", "code", "tries"),
    [
        (answer(500, b"dead"), {}, 500, 2),
        (hangs, {"first_byte_timeout": 0.2}, "group_failed", 1),
    ],
)
async def test_a_request_that_no_group_answers_is_told_inside(
    script: Script, *, config: dict[str, Any], code: object, tries: int
) -> None:
    upstream = Upstream(then=script)
    async with upstreams(upstream), gateway(**SOON, **config) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        error = error_of(await waiting.got())
        assert (error["code"], error["type"]) == (code, "server_error")
    assert len(upstream.seen) == tries


async def test_failed_attempts_are_repeated_while_the_client_is_held() -> None:
    bad, good = Upstream(then=answer(503), probe=answer(503)), Upstream([answer(500)], then=says(ENGINE))
    async with upstreams(bad, good), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(bad, "bad"))
        await until(lambda: bad.seen and running.server.load().waiting == 1)
        await waiting.held(len(waiting.pieces) + 2)
        running.know(endpoint(good, "good"))
        assert events(await waiting.got()) == want()
        assert await running.totals() == {"finished": 1, "retried": 2}


async def test_a_stream_that_was_held_is_continued() -> None:
    """It breaks at many places, once it is held also while it waits for the group that goes on."""
    for cut in range(300, 2300, 333):
        bad, good = Upstream(then=says(ENGINE, dies_after=cut, name="bad")), Upstream(then=says(ENGINE))
        async with upstreams(bad, good), gateway(**SOON) as running:
            running.know()
            waiting = ask(running)
            await waiting.held()
            running.know(endpoint(bad, "bad"))
            await until(lambda: bad.seen)  # noqa: B023
            running.know(endpoint(bad, "bad", ready=False), endpoint(good, "good"))
            got = await waiting.got()
            assert replace(events(got), ids=frozenset()) == replace(want(), ids=frozenset())
            assert (len(events(got).ids), got.broken) == (1, False)


async def test_a_stream_that_was_held_and_broke_off_says_so() -> None:
    upstream = Upstream([says(ENGINE, dies_after=900)], then=answer(400))
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        got = await waiting.got()
        assert got.broken
        assert "the engine answered 400 to the request for its rest" in events(got).error
        assert await running.totals() == {"broken": 1}


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_client_that_goes_away_leaves_the_line(is_held: bool) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(**(SOON if is_held else {})) as running:
        running.know()
        waiting = ask(running)
        await until(lambda: running.server.load().waiting == 1)
        if is_held:
            await waiting.held()
        waiting.task.cancel()
        await until(lambda: running.server.load().waiting == 0)
        assert await running.totals() == {"cancelled": 1}
        running.know(upstream.endpoint("a"))
        assert (await running.request()).status == 200
    assert len(upstream.seen) == 1


async def test_a_client_that_goes_away_while_it_is_held_stops_the_engine() -> None:
    upstream = Upstream(then=hangs)
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        await until(lambda: upstream.seen)
        waiting.task.cancel()
        await until(lambda: upstream.open_connections == 0)
        await until(lambda: running.server.load().in_flight == 0)
        assert await running.totals() == {"cancelled": 1}


async def test_an_older_http_gets_comments_without_frames() -> None:
    upstream = Upstream(then=stream(EVENT, DONE))
    body = b'{"stream": true, "n": 2}'
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        reader, writer = await connect(running)
        writer.write(f"POST {CHAT} HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        begun = await reader.readuntil(COMMENT + COMMENT)
        running.know(upstream.endpoint("a"))
        rest = await reader.read()
        writer.close()
    assert begun.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"chunked" not in begun
    assert without_comments(rest) == EVENT + DONE


async def test_one_connection_carries_a_held_stream_and_the_next_request() -> None:
    upstream = Upstream([says(ENGINE)], then=answer())
    async with upstreams(upstream), gateway(**SOON) as running:
        running.know()
        waiting = ask(running, headers={"x-request-id": "first"})
        await waiting.held()
        running.know(endpoint(upstream, "a"))
        assert (await waiting.got()).headers["x-request-id"] == "first"
        assert (await running.request()).body == OK_BODY
    assert len(upstream.seen) == 2


async def test_a_polite_end_at_zero_groups_loses_nothing() -> None:
    """What waits when the signal comes, and what comes before the listener closes, is held until a group is there."""

    async def answers(exchange: Exchange) -> None:
        await (says(ENGINE) if b'"stream"' in exchange.body else answer())(exchange)

    upstream = Upstream(then=answers)
    async with upstreams(upstream), gateway(lame_duck=0.5, drain=15, **SOON) as running:
        running.know()
        streams, plain = [ask(running)], [asyncio.create_task(running.request())]
        await streams[0].held()
        running.server.handle_exit()
        await until(lambda: running.server.load().draining)
        streams.append(ask(running))
        plain.append(asyncio.create_task(running.request()))
        await until(lambda: running.server.load().waiting == 4)
        await until(lambda: refuses(running.port))
        await streams[1].held()
        assert (await running.admin("/ready")).status == 503
        load = await running.load()
        assert (load.draining, load.waiting, load.waits.requests, load.arrived.requests) == (True, 4, 4, 4)
        running.know(endpoint(upstream, "a", ready=False))
        running.know(endpoint(upstream, "a"))
        assert [events(await one.got()) for one in streams] == [want()] * 2
        assert [(await one).body for one in plain] == [OK_BODY] * 2
        assert (await streams[1].got()).headers["connection"] == "close"


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was about to be accepted when the listener closed
        return False
    writer.close()
    return False


async def test_what_waits_when_the_drain_is_over_is_told_inside() -> None:
    async with gateway(lame_duck=0, drain=0.3, **SOON) as running:
        running.know()
        waiting = ask(running)
        await waiting.held()
        running.server.handle_exit()
        error = error_of(await waiting.got())
    assert (error["code"], error["status"]) == ("no_group", 503)
    assert error["message"] == "the gateway is shutting down (drain limit 0.3 s)"


async def test_a_line_of_held_streams_is_served_in_order() -> None:
    upstream = Upstream(then=says(ENGINE))
    async with upstreams(upstream), gateway(max_in_flight_per_group=1, **SOON) as running:
        running.know()
        clients = []
        for number in range(5):
            clients.append(ask(running, headers={"x-request-id": str(number)}))
            await until(lambda n=number: running.server.load().waiting == n + 1)  # type: ignore[misc]
        for client in clients:
            await client.held()
        running.know(endpoint(upstream, "a"))
        assert [events(await client.got()) for client in clients] == [want()] * 5
    assert [exchange.headers["x-request-id"] for exchange in upstream.seen] == list("01234")
