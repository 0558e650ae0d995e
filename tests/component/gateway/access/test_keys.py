"""Who is let in, over real HTTP: what clients get, what the engine sees, what is logged."""

import asyncio
import gc
import io
import json
import logging
import time
from typing import Any

import pytest

from llama_serving.config.access.rules import AccessLimits, AccessRules
from llama_serving.gateway.access.visit import Visit
from llama_serving.gateway.http.request_context import RequestContext
from tests.component.gateway.access.world import ASKED, ask, key, keys, let_in
from tests.component.gateway.running import gateway, until
from tests.component.gateway.scripted import EVENT, Exchange, Upstream, head, upstreams


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"authorization": "Bearer sk-wrong"}, "invalid_api_key"),
        ({"authorization": "Basic c2stYTo="}, "missing_api_key"),
        ({"api-key": "sk-wrong"}, "invalid_api_key"),
        ({"authorization": "Bearer " + "x" * 4000}, "invalid_api_key"),
        ({"authorization": "Bearer sk-old"}, "expired_api_key"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/nothing"])
async def test_without_a_key_that_counts_nobody_is_let_in(headers: dict[str, str], code: str, path: str) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a"), key("old", expires=time.time() - 60)))
        got = await running.request(path, headers=headers)
        assert (got.status, got.error["code"], got.error["type"]) == (401, code, "invalid_request_error")
        assert got.headers["www-authenticate"] == "Bearer"
        assert b"sk-wrong" not in got.body
        assert b"xxxx" not in got.body
        text = (await running.admin("/metrics")).body.decode()
        assert f'llama_gateway_access_denied_total{{code="{code}"}} 1.0' in text
    assert upstream.seen == []


@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key"])
async def test_a_key_lets_in_and_goes_no_further(header: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = Upstream()
    sent = {header: "Bearer sk-a" if header == "authorization" else "sk-a", "x-other": "kept"}
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a")))
        assert (await running.request(headers=sent)).status == 200
        upstream.then = failing
        await running.request(headers=sent)
    seen = [text for exchange in upstream.seen for text in (*exchange.headers, *exchange.headers.values())]
    assert "kept" in seen
    assert not any("sk-a" in text or text in ("authorization", "api-key", "x-api-key") for text in seen)
    logged = [str(vars(record)) for record in caplog.records]
    assert logged
    assert not any("sk-a" in line for line in logged)


async def failing(exchange: Exchange) -> None:
    await exchange.send(head(404, "content-length: 2") + b"{}")


async def test_health_and_preflights_need_no_key() -> None:
    async with gateway(access=True) as running:
        assert (await running.request("/health", method="GET", data=None)).status == 200
        assert (await running.request("/v1/models", method="OPTIONS", data=None)).status == 204


async def test_a_gateway_that_must_have_rules_is_closed_until_it_has() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), access=True) as running:
        got = await ask(running, "a")
        assert (got.status, got.error["code"], got.headers["retry-after"]) == (503, "access_unknown", "2")
        assert b"llama_gateway_access_open 0.0" in (await running.admin("/metrics")).body
        let_in(running, keys(key("a")))
        assert (await ask(running, "a")).status == 200
        let_in(running, None)
        assert (await ask(running, "a")).status == 503, "rules that are gone let nobody in"


async def test_without_rules_and_without_a_need_for_them_nothing_is_asked() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert (await ask(running)).status == 200
        assert b"llama_gateway_access_rules 0.0" in (await running.admin("/metrics")).body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "secret"}',
        b'{"model": "llama", "model": "secret"}',
        b'{"mod\\u0065l": "secret"}',
        b'{"model": "llama", "\\u006dodel": "secret"}',
        b'{"x": "' + b"y" * (5 << 20) + b'", "mode\\u006c": "secret"}',
        b"[]",
    ],
)
async def test_a_key_asks_for_its_models_only(body: bytes) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), served_name="llama") as running:
        let_in(running, keys(key("a", models=("style",)), key("b", models=("llama",))))
        got = await running.request(data=io.BytesIO(body), headers={"api-key": "sk-a"})
        assert (got.status, got.error["code"], got.error["param"]) == (403, "model_not_allowed", "model")
        assert (await ask(running, "b")).status == 200
        zipped = await running.request(data=b"\x1f\x8b", headers={"api-key": "sk-b", "content-encoding": "gzip"})
        assert zipped.status == 403
    assert len(upstream.seen) == 1


async def test_models_that_a_key_may_not_ask_for_are_not_listed() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a", style="s@1"), served_name="llama") as running:
        let_in(running, keys(key("all"), key("some", models=("style", "gone"))))
        for name, listed in (("all", ["llama", "style"]), ("some", ["style"])):
            got = await ask(running, name, path="/v1/models", method="GET")
            assert [model["id"] for model in json.loads(got.body)["data"]] == listed
        assert (await ask(running, "some", path="/v1/models/style", method="GET")).status == 200
        assert (await ask(running, "some", path="/v1/models/llama", method="GET")).status == 404
        assert (await ask(running, "all", path="/v1/models/llama", method="GET")).status == 200
    assert upstream.seen == []


async def test_a_revoked_key_stops_where_it_waits_and_where_it_is_answered() -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        await exchange.chunk(EVENT)
        await exchange.until_closed()

    upstream = Upstream(then=endless)
    first = asyncio.Event()
    async with upstreams(upstream), gateway(upstream.endpoint("a"), max_in_flight_per_group=1) as running:
        let_in(running, keys(key("a"), key("b")))
        answered = asyncio.create_task(ask(running, "a", body={**ASKED, "n": 2, "stream": True}, on_piece=first.set))
        await first.wait()
        waiting = asyncio.create_task(ask(running, "a"))
        other = asyncio.create_task(ask(running, "b"))
        await until(lambda: running.server.queue_length == 2)
        let_in(running, keys(key("b")))
        got = await waiting
        assert (got.status, got.error["code"]) == (401, "invalid_api_key")
        stream = await answered
        assert stream.broken
        assert b'"code": "invalid_api_key"' in stream.body
        await until(lambda: len(upstream.seen) == 2, shows=lambda: "the other key's request was not answered")
        assert (await ask(running, "a")).status == 401
        other.cancel()


async def test_a_rotated_key_ends_what_the_old_one_began() -> None:
    async with gateway() as running:
        running.know()
        let_in(running, keys(key("a")))
        waiting = asyncio.create_task(ask(running, "a"))
        await until(lambda: running.server.queue_length == 1)
        let_in(running, keys(key("a", secret="sk-new")))
        assert (await waiting).status == 401
        assert running.server.queue_length == 0


@pytest.mark.parametrize(
    ("header", "sent", "same"),
    [
        ("", [{"x-forwarded-for": "1.1.1.1"}, {"x-forwarded-for": "2.2.2.2"}], True),
        ("x-forwarded-for", [{"x-forwarded-for": "9.9.9.9, 1.1.1.1"}, {"x-forwarded-for": "8.8.8.8, 1.1.1.1"}], True),
        ("x-forwarded-for", [{"x-forwarded-for": "1.1.1.1"}, {"x-forwarded-for": "2.2.2.2"}], False),
        ("X-User", [{"x-user": "ann"}, {"x-user": "bob"}], False),
        ("X-User", [{"x-user": "ann"}, {"x-user": "ann"}], True),
    ],
)
async def test_without_keys_clients_are_told_apart_by_what_a_client_cannot_make_up(
    header: str, sent: list[dict[str, str]], same: bool
) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, AccessRules(client=AccessLimits(requests_per_minute=1), client_header=header))
        statuses = [(await ask(running, headers=headers)).status for headers in sent]
        assert statuses == [200, 429 if same else 200]


@pytest.mark.parametrize("asked", [ASKED, {**ASKED, "stream": True}], ids=["answer", "stream"])
async def test_a_request_that_has_ended_is_gone_without_the_garbage_collector(asked: dict[str, Any]) -> None:
    """Cycles cost a third of what keys cost in all."""

    def left() -> list[object]:
        return [one for one in gc.get_objects() if isinstance(one, (Visit, RequestContext))]

    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        let_in(running, keys(key("a")))
        await running.request(headers={"authorization": "Bearer sk-a"}, data=json.dumps(asked))
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                got = await running.request(headers={"authorization": "Bearer sk-a"}, data=json.dumps(asked))
                assert got.status == 200
            await until(lambda: not left(), seconds=2, shows=left)
        finally:
            gc.enable()
