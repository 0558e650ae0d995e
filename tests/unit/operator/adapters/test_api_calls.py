"""Requests to the API server: how many writes at once, what counts against a deadline, and who may write."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio import client

from llama_operator.adapters import api_calls
from llama_operator.adapters.api_calls import WRITES, ApiCalls, Call, Fence, unfenced
from llama_operator.ports import Forbidden, Manifest, Retry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
WRITE = Call(body={}, namespace="team")


@asynccontextmanager
async def served(handler: Handler, *, port: int, fence: Fence = unfenced) -> AsyncIterator[ApiCalls]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    async with client.ApiClient(configuration) as api:
        yield ApiCalls(api, fence=fence)
    await runner.cleanup()


class Busy:
    """Answers one write at a time, and counts those that are under way."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.turn = asyncio.Event()
        self.full = asyncio.Event()

    async def answer(self, _: web.Request) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == WRITES:
            self.full.set()
        await self.turn.wait()
        self.now -= 1
        return web.json_response({})


async def test_writes_run_in_turns_and_reads_pass_them(unused_tcp_port: int) -> None:
    busy = Busy()

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}) if request.method == "GET" else await busy.answer(request)

    async with served(answer, port=unused_tcp_port) as calls:
        writes = [asyncio.create_task(calls.send("POST", "/x", WRITE)) for _ in range(5 * WRITES)]
        async with asyncio.timeout(20):
            await busy.full.wait()
            assert await calls.send("GET", "/x") == {}
            busy.turn.set()
            assert await asyncio.gather(*writes) == [{}] * len(writes)
    assert busy.most == WRITES


async def test_waiting_for_a_turn_does_not_count_against_the_deadline(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer takes a fourth of the deadline, so the last of many comes long after it."""
    monkeypatch.setattr(api_calls, "DEADLINE", 3.0)

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.8)
        return web.json_response({})

    async with served(slow, port=unused_tcp_port) as calls:
        found = await asyncio.gather(*(calls.send("POST", "/x", WRITE) for _ in range(5 * WRITES)))
    assert found == [{}] * (5 * WRITES)


async def test_nothing_is_written_without_the_lease(unused_tcp_port: int) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.json_response({})

    left = {"team": 0.0, "other": 5.0}
    async with served(answer, port=unused_tcp_port, fence=left.__getitem__) as calls:
        with pytest.raises(Retry, match="lease of namespace team is not held"):
            await calls.send("PATCH", "/x", WRITE)
        assert asked == []
        await calls.send("GET", "/x")
        await calls.send("PATCH", "/x", Call(body={}, namespace="other"))
    assert asked == ["GET", "PATCH"]


async def test_a_write_that_waited_for_its_turn_until_the_lease_was_lost_is_not_sent(unused_tcp_port: int) -> None:
    busy, left = Busy(), {"team": 60.0}
    async with served(busy.answer, port=unused_tcp_port, fence=left.__getitem__) as calls:
        first = [asyncio.create_task(calls.send("POST", "/x", WRITE)) for _ in range(WRITES)]
        async with asyncio.timeout(20):
            await busy.full.wait()
            late = asyncio.create_task(calls.send("POST", "/x", WRITE))
            await asyncio.sleep(0)
            left["team"] = 0.0
            busy.turn.set()
            await asyncio.gather(*first)
            with pytest.raises(Retry, match="not held"):
                await late


async def test_a_watch_reads_lines_of_any_length_until_the_server_ends_it(unused_tcp_port: int) -> None:
    sent: list[Manifest] = [{"type": "ADDED", "object": {"metadata": {"name": "x" * 3_000_000}}}, {"type": "BOOKMARK"}]

    async def stream(_: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(_)
        await response.write(b"\n".join(json.dumps(one).encode() for one in sent) + b"\n")
        return response

    async with served(stream, port=unused_tcp_port) as calls:
        assert [event async for event in calls.watch("/x", {})] == sent


async def test_a_watch_that_is_refused_says_so(unused_tcp_port: int) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "no right"}, status=403)

    async with served(refuse, port=unused_tcp_port) as calls:
        with pytest.raises(Forbidden, match="no right"):
            assert [event async for event in calls.watch("/x", {})] == []
