"""Answers of pods that mean no good: read up to a limit, never inflated, never followed, never for ever."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from llama_operator.adapters.gateways import HttpGateways
from llama_operator.adapters.pod_answers import AT_A_TIME, FREE, SUPERVISOR_ANSWER, ReadBudget
from llama_operator.adapters.supervisors import HttpSupervisors
from llama_operator.bounds.json_text import OverLimitError
from llama_operator.ports import Seal, SupervisorAnswer
from llama_operator.supervisor_cache import KEPT, SMALL, SupervisorCache
from llama_serving.config.desired import DesiredState
from tests.fakes.cluster import START
from tests.unit.operator.worlds import cell, serve_of, stage

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD = cell().state.model_dump_json().encode()  # type: ignore[union-attr]


@asynccontextmanager
async def answering(handler: Handler, port: int) -> AsyncIterator[HttpSupervisors]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with ClientSession() as session:
            yield HttpSupervisors(session, port=port)
    finally:
        await runner.cleanup()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" " * (1 << 20))


PACKED = gzip.compress(b" " * (32 << 20))


async def unpacked(_: web.Request) -> web.Response:
    return web.Response(body=PACKED, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})


def always(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    return answer


BAD: dict[str, tuple[Handler, str]] = {
    "endless": (endless, "has more than 1048576 bytes, which is the limit"),
    "gzip": (unpacked, "is encoded as 'gzip', which was not asked for"),
    "br": (always(b"x", headers={"Content-Encoding": "br"}), "is encoded as 'br', which was not asked for"),
    "deep": (always(b"[" * 40_000), "is nested 40000 levels deep, the limit is 32"),
    "many": (always(b"[" + b"[]," * 300_000 + b"0]"), "elements of JSON, the limit is 50000"),
    "digits": (always(GOOD.replace(b'"group":0', b'"group":1' + b"0" * 4000)), "has the number 1000"),
    "infinite": (always(GOOD.replace(b'"uptime_seconds":', b'"uptime_seconds":1e999,"x":')), "has the number"),
    "redirect": (always(b"", 302, {"Location": "http://169.254.169.254/"}), "its supervisor answers HTTP 302"),
    "no state": (always(b"{}"), "deployment is missing"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_answer_is_one_sentence_and_little_memory(name: str, unused_tcp_port: int) -> None:
    handler, said = BAD[name]
    async with answering(handler, unused_tcp_port) as supervisors:
        tracemalloc.start()
        try:
            found = await supervisors.state("127.0.0.1")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found.state is None
    assert said in found.error
    assert peak < 24 << 20, "what this process serves is counted too"


async def test_a_redirect_is_not_followed(unused_tcp_port: int) -> None:
    asked: list[str] = []

    async def away(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{unused_tcp_port}/elsewhere"})

    async with answering(away, unused_tcp_port) as supervisors:
        await supervisors.state("127.0.0.1")
        said = await supervisors.put_desired_state("127.0.0.1", DesiredState(serve=serve_of().weights), token="t")
    assert "/elsewhere" not in asked
    assert said.startswith("HTTP 307")


@pytest.mark.parametrize("name", ["endless", "gzip", "deep", "many", "redirect"])
async def test_a_gateway_that_means_no_good_is_one_that_could_not_be_asked(name: str, unused_tcp_port: int) -> None:
    async with answering(BAD[name][0], unused_tcp_port), ClientSession() as session:
        assert await HttpGateways(session, port=unused_tcp_port).load("127.0.0.1") is None


async def test_a_refusal_is_quoted_up_to_a_limit(unused_tcp_port: int) -> None:
    wish = DesiredState(serve=serve_of().weights)
    long = json.dumps({"message": "no " * 300_000}).encode()
    async with answering(always(long, 409), unused_tcp_port) as supervisors:
        assert await supervisors.put_desired_state("127.0.0.1", wish, token="t") == "HTTP 409 (Conflict)"


async def test_a_large_answer_that_is_good_is_read(unused_tcp_port: int) -> None:
    state = json.loads(GOOD) | {"message": "x" * (SUPERVISOR_ANSWER.size - len(GOOD) - 100)}
    async with answering(always(json.dumps(state).encode()), unused_tcp_port) as supervisors:
        found = await supervisors.state("127.0.0.1")
    assert found.state is not None
    assert found.size > SUPERVISOR_ANSWER.size // 2


def test_what_all_answers_of_a_moment_hold_is_bounded_and_small_ones_are_always_read() -> None:
    budget = ReadBudget(limit=FREE)
    with budget.share() as large, budget.share() as other, budget.share() as small:
        large.take(2 * FREE)
        with pytest.raises(OverLimitError, match=f"all answers of a moment have {FREE} bytes"):
            other.take(FREE + 1)
        small.take(FREE)
    assert budget.held == 0
    assert AT_A_TIME < 64 << 20


async def test_what_the_stages_of_a_deployment_keep_is_bounded() -> None:
    class Large:
        async def state(self, address: str) -> SupervisorAnswer:
            await asyncio.sleep(0)
            return SupervisorAnswer(cell().state, size=SMALL if address == "small" else 1 << 20)

        async def accepts(self, address: str, port: int) -> bool:
            raise NotImplementedError

        async def put_desired_state(
            self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
        ) -> str:
            raise NotImplementedError

    pods = [stage(number, 0, ip="small" if number % 2 else "large") for number in range(40)]
    answers = await SupervisorCache().ask(pods, Large(), rest=False, now=START)
    heard = [one for one in answers if one.state is not None]
    assert sum(one.size for one in heard if one.size > SMALL) == KEPT
    assert len(heard) == 20 + KEPT // (1 << 20)
    assert {one.error for one in answers if one.state is None} == {
        f"the answer of its supervisor is left out: those of all stages have more than {KEPT} bytes"
    }
