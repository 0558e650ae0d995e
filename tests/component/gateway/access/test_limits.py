"""What a client may take, over real HTTP, and what it is told when it has taken it."""

import asyncio
import json

import pytest

from llama_serving.config.access.rules import AccessLimits, AccessRules
from tests.component.gateway.access.world import ASKED, ask, key, keys, let_in
from tests.component.gateway.running import Answer, Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Upstream, answer, upstreams

USED = {"prompt_tokens": 300, "completion_tokens": 200, "total_tokens": 500}


def using(**usage: int) -> bytes:
    return json.dumps({"object": "chat.completion", "choices": [], "usage": usage}).encode()


async def test_requests_per_minute() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a", requests_per_minute=2), key("b")))
        first = await ask(running, "a")
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert (await ask(running, "a")).status == 200
        got = await ask(running, "a")
        assert (got.status, got.error["type"], got.error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
        assert got.error["message"] == "a: the limit of 2 requests per minute is reached; try again in 30 s"
        assert got.headers["retry-after"] == "30"
        assert got.headers["x-llama-limit"] == "requests_per_minute=2"
        assert "x-ratelimit-limit-requests" not in (await ask(running, "b")).headers
        text = (await running.admin("/metrics")).body.decode()
        assert 'llama_gateway_key_refused_total{key="a",limit="requests_per_minute"} 1.0' in text
        assert (await running.load()).arrived.requests == 3, "what a limit holds off is no demand"
    assert len(upstream.seen) == 3


async def test_a_request_over_its_limit_is_refused_before_its_body_is_read() -> None:
    async with gateway(max_body=1000) as running:
        let_in(running, keys(key("a", requests_per_minute=1)))
        assert (await ask(running, "a", body="x" * 2000)).status == 413
        assert (await ask(running, "a", body="x" * 2000)).status == 429


async def test_tokens_per_minute_are_reserved_and_settled_by_what_the_engine_counts() -> None:
    upstream = Upstream(then=answer(200, using(**USED)))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a", tokens_per_minute=700)))
        got = await ask(running, "a")
        assert (got.status, got.headers["x-ratelimit-limit-tokens"]) == (200, "700")
        assert 600 < int(got.headers["x-ratelimit-remaining-tokens"]) < 700, "some 80 are expected of it"
        got = await ask(running, "a")
        assert got.status == 200
        assert int(got.headers["x-ratelimit-remaining-tokens"]) <= 200
        got = await ask(running, "a")
        assert got.status == 429
        assert "the limit of 700 tokens per minute is reached" in got.error["message"]
        assert 15 <= int(got.headers["retry-after"]) <= 60
    assert len(upstream.seen) == 2


async def test_a_request_that_got_nothing_is_given_back_its_tokens() -> None:
    async with gateway(queue_timeout=0.05) as running:
        running.know()
        let_in(running, keys(key("a", tokens_per_minute=100)))
        for _ in range(4):
            assert (await ask(running, "a")).status == 503


async def test_concurrent_requests() -> None:
    release = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await release.wait()
        await answer()(exchange)

    upstream = Upstream(then=held)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a", concurrent_requests=2)))
        tasks = [asyncio.create_task(ask(running, "a")) for _ in range(2)]
        await until(lambda: len(upstream.seen) == 2)
        got = await ask(running, "a")
        assert (got.status, got.headers["x-llama-limit"]) == (429, "concurrent_requests=2")
        assert 'llama_gateway_key_in_flight{key="a"} 2.0' in (await running.admin("/metrics")).body.decode()
        release.set()
        await asyncio.gather(*tasks)
        assert (await ask(running, "a")).status == 200


async def waiting(running: Gateway, name: str, count: int) -> list[asyncio.Task[Answer]]:
    before = running.server.queue_length
    tasks: list[asyncio.Task[Answer]] = [asyncio.create_task(ask(running, name)) for _ in range(count)]
    await until(lambda: running.server.queue_length == before + count)
    return tasks


async def test_a_full_queue_drops_the_newest_of_who_has_the_most_there() -> None:
    async with gateway(max_queue_length=4) as running:
        running.know()
        let_in(running, keys(key("flooder"), key("user")))
        flood = await waiting(running, "flooder", 4)
        user = asyncio.create_task(ask(running, "user"))
        await until(lambda: any(task.done() for task in flood))
        dropped = [task.result() for task in flood if task.done()]
        assert [(got.status, got.error["code"]) for got in dropped] == [(429, "queue_full")]
        assert "this one was the newest of the client with the most" in dropped[0].error["message"]
        assert not user.done()
        assert running.server.queue_length == 4
        assert (await ask(running, "flooder")).status == 429
        for task in (*flood, user):
            task.cancel()


@pytest.mark.parametrize("mode", ["keys", "open"])
async def test_who_waits_with_few_is_served_between_those_of_who_waits_with_many(mode: str) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(max_in_flight_per_group=1) as running:
        running.know()
        rules = keys(key("flooder"), key("user")) if mode == "keys" else AccessRules(client_header="x-user")
        let_in(running, rules)

        async def send(name: str, text: str) -> None:
            messages = [{"role": "user", "content": text}]
            await ask(running, name, body={**ASKED, "messages": messages}, headers={"x-user": name})

        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(send("flooder", f"f{number}")))
            await until(lambda n=number: running.server.queue_length == n + 1)  # type: ignore[misc]
        tasks.append(asyncio.create_task(send("user", "u")))
        await until(lambda: running.server.queue_length == 11)
        running.know(upstream.endpoint("a"))
        await asyncio.gather(*tasks)
    order = [json.loads(exchange.body)["messages"][0]["content"] for exchange in upstream.seen]
    assert order.index("u") <= 2
    assert [text for text in order if text != "u"] == [f"f{number}" for number in range(10)]


async def test_clients_without_keys_have_limits_of_their_own() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, AccessRules(client=AccessLimits(requests_per_minute=1), client_header="x-user"))
        for name in ("ann", "bob"):
            assert (await ask(running, headers={"x-user": name})).status == 200
            assert (await ask(running, headers={"x-user": name})).status == 429
        text = (await running.admin("/metrics")).body.decode()
        assert 'llama_gateway_key_requests_total{key="(open)"} 2.0' in text
        assert "ann" not in text
