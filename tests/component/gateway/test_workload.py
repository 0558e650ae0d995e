"""What /load and /metrics say of the work that comes in and is done."""

import asyncio
import json
from typing import Any

import pytest

from llama_serving.config.gateway import GatewayLoad, WorkCount
from llama_serving.gateway.telemetry.workload import FIRST_MEAN, MARGIN
from tests.component.gateway.running import CHAT, Gateway, gateway, until
from tests.component.gateway.scripted import DONE, EVENT, Upstream, answer, stream, upstreams
from tests.component.gateway.streams.test_continuation import ASKED, ENGINE, endpoint, says
from tests.component.gateway.test_waiting import when
from tests.unit.gateway.continuation.engine import tokens_of

BODY = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30}).encode()
MADE = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 21}}).encode()


async def settled(running: Gateway, served: int) -> GatewayLoad:
    """Wait until so many requests were counted as served: a client has its answer a moment before."""
    await until(lambda: running.server.load().served.requests == served)
    return await running.load()


async def test_a_request_is_counted_when_it_arrives_and_when_it_was_served() -> None:
    release = asyncio.Event()
    upstream = Upstream([when(release)], then=answer(200, MADE))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), max_in_flight_per_group=1) as running:
        tasks = [asyncio.create_task(running.request(data=BODY)) for _ in range(2)]
        await until(lambda: running.server.load().waiting == 1)
        load = await running.load()
        prompt = len(BODY) // 4
        assert load.arrived == WorkCount(requests=2, prompt_tokens=2 * prompt, answer_tokens=60)
        assert load.waits == WorkCount(requests=1, prompt_tokens=prompt, answer_tokens=30)
        assert load.served == WorkCount()
        await until(lambda: running.server.load().uptime > load.uptime)
        release.set()
        await asyncio.gather(*tasks)
        load = await settled(running, 2)
        assert load.arrived.requests == 2
        assert load.waits == WorkCount()
        assert (load.served.prompt_tokens, load.served.answer_tokens) == (2 * prompt, 21)
        assert 0 < load.served.seconds < load.uptime
        text = (await running.admin("/metrics")).body.decode()
    assert "llama_gateway_arrived_total 2.0\n" in text
    assert "llama_gateway_served_answer_tokens_total 21.0\n" in text
    assert "llama_gateway_waiting_answer_tokens 0.0\n" in text


async def test_retries_do_not_count_again_and_their_seconds_do() -> None:
    upstream = Upstream([answer(503), answer(503)], then=answer(200, MADE))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert (await running.request(data=BODY)).status == 200
        load = await settled(running, 1)
        assert (load.totals["retried"], load.arrived.requests, load.served.answer_tokens) == (2, 1, 21)


async def test_a_request_that_is_refused_has_arrived() -> None:
    async with gateway(max_queue_length=1) as running:
        running.know()
        task = asyncio.create_task(running.request(data=BODY))
        await until(lambda: running.server.load().waiting == 1)
        assert (await running.request(data=BODY)).status == 429
        load = await running.load()
        assert (load.arrived.requests, load.waits.requests) == (2, 1)
        task.cancel()
        await until(lambda: running.server.load().waits == WorkCount())
        assert running.server.load().served == WorkCount()


async def test_a_request_that_only_reads_is_no_work() -> None:
    release = asyncio.Event()
    upstream = Upstream(then=when(release))
    async with upstreams(upstream), gateway(served_name="") as running:  # no list of its own to answer with
        running.know()
        look = asyncio.create_task(running.request("/v1/models", method="GET", data=None))
        await until(lambda: running.server.queue_length == 1)
        load = await running.load()
        assert (load.waiting, load.oldest_wait, load.arrived, load.waits) == (0, 0.0, WorkCount(), WorkCount())
        running.know(upstream.endpoint("a"))
        await until(lambda: upstream.seen)
        load = await running.load()
        assert (load.in_flight, load.groups[0].in_flight) == (0, 1)
        release.set()
        assert (await look).status == 200
        assert (await running.load()).served == WorkCount()


async def test_at_zero_groups_the_list_of_models_is_what_an_engine_said_last() -> None:
    listed = b'{"object": "list", "data": [{"id": "llama"}]}'
    upstream = Upstream(then=answer(200, listed))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert (await running.request("/v1/models", method="GET", data=None)).body == listed
        running.know()
        got = await running.request("/v1/models", method="GET", data=None)
        assert (got.status, got.body, "x-request-id" in got.headers) == (200, listed, True)
        assert len(upstream.seen) == 1


@pytest.mark.parametrize("cut", [None, 900])
async def test_tokens_of_a_stream_are_counted_also_of_one_that_was_continued(cut: int | None) -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=cut)), Upstream(then=says(ENGINE))
    body = {**ASKED, "return_token_ids": True}
    async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(running.request(data=json.dumps(body).encode()))
        await until(lambda: bad.seen)
        running.know(endpoint(good, "good"))
        got = await request
        load = await settled(running, 1)
    made = len(tokens_of(got.body))
    assert made > 10
    assert (load.arrived.requests, load.arrived.answer_tokens, load.served.answer_tokens) == (1, 50, made)
    assert load.totals["continued"] == (cut is not None)


async def test_a_stream_that_is_only_passed_on_is_counted_by_its_events() -> None:
    upstream = Upstream(then=stream(*[EVENT] * 9, DONE))
    body = json.dumps({"stream": True, "n": 2}).encode()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request(data=body)
        load = await settled(running, 1)
    assert (load.arrived.answer_tokens, load.served.answer_tokens) == (FIRST_MEAN, 8)


async def test_a_request_without_a_limit_is_expected_to_get_what_others_got() -> None:
    upstream = Upstream(then=answer(200, MADE))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request(data=BODY)
        await settled(running, 1)
        running.know()
        bodies: list[Any] = [b"{}", b'{"max_tokens": 4000}', b'{"max_tokens": 4}']
        tasks = [asyncio.create_task(running.request(CHAT, data=body)) for body in bodies]
        await until(lambda: running.server.load().waiting == 3)
        mean = (FIRST_MEAN + 21) / 2
        assert running.server.load().waits.answer_tokens == 2 * -(-mean * MARGIN // 1) + 4
        for task in tasks:
            task.cancel()
