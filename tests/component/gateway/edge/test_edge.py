"""What the gateway answers alone: CORS, OPTIONS, health and models, at zero groups too."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from llama_serving.config.gateway import WorkCount
from llama_serving.gateway import attempts
from llama_serving.gateway.http.cors import MAX_AGE
from tests.component.gateway.running import CHAT, Answer, Gateway, gateway, until
from tests.component.gateway.scripted import DONE, EVENT, OK_BODY, Exchange, Upstream, answer, head, stream, upstreams

UI = "https://chat.example.com"
STRANGER = "https://stranger.example.org"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
MODELS = "/v1/models"
LISTED = {"object": "list", "data": [{"id": "other", "object": "model", "max_model_len": 8}]}


async def options(running: Gateway, origin: str = UI, path: str = CHAT, **headers: str) -> Answer:
    return await running.request(path, method="OPTIONS", data=None, headers={"origin": origin, **PREFLIGHT, **headers})


async def get(running: Gateway, path: str, *, method: str = "GET", **headers: str) -> Answer:
    return await running.request(path, method=method, data=None, headers=headers)


async def is_untouched(running: Gateway) -> bool:
    """Whether nothing waits, and nothing came that a group would be started for."""
    load = await running.load()
    return (running.server.queue_length, load.arrived, load.waits) == (0, WorkCount(), WorkCount())


@pytest.mark.parametrize("known", [(), ("a",)])
async def test_a_preflight_is_answered_by_the_gateway_alone(known: Sequence[str]) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(cors_origins=(UI,)) as running:
        running.know(*(upstream.endpoint(name) for name in known))
        got = await options(running)
        assert (got.status, got.body) == (204, b"")
        assert got.headers["access-control-allow-origin"] == UI
        assert got.headers["access-control-allow-credentials"] == "true"
        assert got.headers["access-control-max-age"] == str(MAX_AGE)
        assert "POST" in got.headers["access-control-allow-methods"]
        assert {"authorization", "content-type"} <= set(got.headers["access-control-allow-headers"].split(", "))
        assert "Origin" in got.headers["vary"]
        assert await is_untouched(running)
    assert upstream.seen == []


async def test_a_preflight_allows_what_the_openai_client_sends() -> None:
    async with gateway(cors_origins=("*",)) as running:
        wanted = "authorization,content-type,x-stainless-arch,x-stainless-retry-count,openai-organization"
        got = await options(running, **{"access-control-request-headers": wanted})
        assert set(wanted.split(",")) <= set(got.headers["access-control-allow-headers"].split(", "))
        assert got.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in got.headers


async def test_a_preflight_of_another_origin_is_refused_with_the_field() -> None:
    async with gateway(cors_origins=(UI,)) as running:
        running.know()
        got = await options(running, STRANGER)
        assert (got.status, got.error["code"]) == (403, "origin_not_allowed")
        assert "gateway.cors.origins" in got.error["message"]
        assert STRANGER.encode() not in got.body
        assert (got.headers["vary"], "access-control-allow-origin" in got.headers) == ("Origin", False)
        assert await is_untouched(running)


@pytest.mark.parametrize("path", [CHAT, MODELS, "/", "/health", "/nothing", "*"])
@pytest.mark.parametrize("origins", [(), (UI,)])
async def test_options_without_a_preflight_answers_at_once(path: str, origins: tuple[str, ...]) -> None:
    async with gateway(cors_origins=origins) as running:
        running.know()
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"OPTIONS {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        raw = (await reader.read()).lower()
        writer.close()
        assert raw.startswith(b"http/1.1 204 ")
        assert b"\r\nallow: get, " in raw
        assert b"access-control-allow" not in raw
        assert await is_untouched(running)


async def test_without_the_field_a_preflight_answers_at_once_and_allows_nothing() -> None:
    async with gateway() as running:
        running.know()
        got = await options(running)
        assert got.status == 204
        assert not [name for name in got.headers if name.startswith("access-control-") or name == "vary"]
        assert await is_untouched(running)


def allows(got: Answer, origin: str) -> bool:
    return got.headers.get("access-control-allow-origin") == origin and got.headers["vary"] == "Origin"


async def test_every_answer_allows_the_page_to_read_it() -> None:
    upstream = Upstream([answer(200), answer(400, b'{"error": {}}'), stream(EVENT, DONE)], then=answer(500))
    asked: Any = {"headers": {"origin": UI}}
    async with upstreams(upstream), gateway(cors_origins=(UI,), queue_timeout=0.1, max_retries=1) as running:
        running.know()
        refused = await running.request(**asked)
        missing = await running.request("/nothing", **asked)
        models, one = await get(running, MODELS, origin=UI), await get(running, f"{MODELS}/x", origin=UI)
        health = await get(running, "/health", origin=UI)
        running.know(upstream.endpoint("a"))
        passed = [await running.request(**asked) for _ in range(3)]
        failed = await running.request(**asked)
        answers = [refused, missing, models, one, health, *passed, failed]
        assert [got.status for got in answers] == [503, 404, 200, 404, 200, 200, 400, 200, 500]
        assert all(allows(got, UI) for got in answers)
        assert all("x-request-id" in got.headers["access-control-expose-headers"] for got in answers)
        assert (await running.request(headers={"origin": STRANGER})).headers.get("access-control-allow-origin") is None
    assert not [name for exchange in upstream.seen for name in exchange.headers if name == "origin"]


async def test_a_stream_that_the_gateway_begins_is_allowed_too() -> None:
    async with gateway(cors_origins=(UI,), sse_keep_alive=0.05, queue_timeout=0.3) as running:
        running.know()
        got = await running.request(data=b'{"stream": true, "n": 2}', headers={"origin": UI})
        assert (got.status, allows(got, UI)) == (200, True)
        assert (got.headers["x-accel-buffering"], got.headers["cache-control"]) == ("no", "no-cache")


@pytest.mark.parametrize("origins", [(), (UI,)])
async def test_what_an_engine_says_of_cors_reaches_nobody(origins: tuple[str, ...]) -> None:
    said = ("Access-Control-Allow-Origin: *", "access-control-allow-credentials: true", "vary: Accept-Encoding")
    upstream = Upstream(then=answer(200, OK_BODY, *said))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), cors_origins=origins) as running:
        got = await running.request(headers={"origin": STRANGER})
    assert "access-control-allow-origin" not in got.headers
    assert "access-control-allow-credentials" not in got.headers
    assert got.headers["vary"] == ("Accept-Encoding, Origin" if origins else "Accept-Encoding")


@pytest.mark.parametrize("path", ["/", "/health", "/health?verbose=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_public_port_says_that_it_takes_requests(path: str, method: str) -> None:
    async with gateway() as running:
        running.know()
        got = await get(running, path, method=method)
        assert (got.status, got.body) == (200, b"" if method == "HEAD" else b'{"status": "ok"}')
        assert await is_untouched(running)
        assert (await running.request("/health")).error["code"] == "method_not_allowed"


async def test_a_gateway_that_ends_says_so_on_its_public_port() -> None:
    async with gateway(lame_duck=5) as running:
        running.know()
        running.server.handle_exit()
        await until(lambda: running.server.load().draining)
        for path in ("/", "/health"):
            got = await get(running, path)
            assert (got.status, got.error["code"], got.headers["connection"]) == (503, "draining", "close")


async def test_the_list_of_models_is_that_of_the_spec_until_an_engine_answers() -> None:
    upstream = Upstream(then=answer(200, json.dumps(LISTED).encode()))
    async with upstreams(upstream), gateway(served_name="meta-llama/Llama-3.1-8B") as running:
        running.know()
        got = await get(running, MODELS)
        listed = json.loads(got.body)
        assert (got.status, got.headers["content-type"].split(";")[0]) == (200, "application/json")
        assert listed["object"] == "list"
        assert [(model["id"], model["object"]) for model in listed["data"]] == [("meta-llama/Llama-3.1-8B", "model")]
        assert {"created", "owned_by"} <= listed["data"][0].keys()
        head_only = await get(running, MODELS, method="HEAD")
        assert (head_only.status, head_only.body) == (200, b"")
        assert await is_untouched(running)
        running.know(upstream.endpoint("a"))
        assert json.loads((await get(running, MODELS)).body) == LISTED
        running.know(upstream.endpoint("a", ready=False))
        assert json.loads((await get(running, MODELS)).body) == LISTED
    assert len(upstream.seen) == 1


async def test_one_model_is_found_by_its_name_and_no_other() -> None:
    async with gateway(served_name="meta-llama/Llama-3.1-8B") as running:
        running.know()
        for name in ("meta-llama/Llama-3.1-8B", "meta-llama%2FLlama-3.1-8B"):
            got = await get(running, f"{MODELS}/{name}")
            assert (got.status, json.loads(got.body)["id"]) == (200, "meta-llama/Llama-3.1-8B")
        for name in ("", "llama", "%22%3Cb%3E"):
            got = await get(running, f"{MODELS}/{name}")
            assert (got.status, got.error["code"], got.error["param"]) == (404, "model_not_found", "model")
            assert got.error["type"] == "invalid_request_error"
        assert await is_untouched(running)


async def test_the_name_of_a_deployment_is_that_of_its_model() -> None:
    async with gateway() as running:
        running.know()
        assert [model["id"] for model in json.loads((await get(running, MODELS)).body)["data"]] == ["d"]


@pytest.mark.parametrize("full", [False, True])
async def test_the_list_does_not_wait_behind_requests_that_do(full: bool) -> None:
    async with gateway(max_queue_length=1 if full else 10) as running:
        running.know()
        waiting = asyncio.create_task(running.request())
        await until(lambda: running.server.queue_length == 1)
        assert (await get(running, MODELS)).status == 200
        waiting.cancel()


@pytest.mark.parametrize("config", [{"ejection": 60}, {"max_retries": 0}])
async def test_the_list_does_not_wait_for_a_group_that_broke(config: dict[str, int]) -> None:
    async def breaks(exchange: Exchange) -> None:
        exchange.reset()

    upstream = Upstream(then=breaks)
    async with upstreams(upstream), gateway(upstream.endpoint("a"), **config) as running:
        got = await get(running, MODELS)
        assert (got.status, json.loads(got.body)["data"][0]["id"]) == (200, "d")


async def test_the_list_does_not_wait_for_a_group_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(exchange: Exchange) -> None:
        await exchange.until_closed()
        exchange.close()

    monkeypatch.setattr(attempts, "AT_ONCE", 0.05)
    upstream = Upstream([hangs], then=answer())
    async with upstreams(upstream), gateway(upstream.endpoint("a"), ejection=60) as running:
        got = await get(running, MODELS)
        assert (got.status, json.loads(got.body)["data"][0]["id"]) == (200, "d")
        (group,) = (await running.load()).groups
        assert (group.ejected, group.in_flight) == (False, 0), "a group that computes a long prompt is not to blame"
        assert (await running.request()).status == 200


async def test_where_no_name_is_known_the_list_is_the_engines() -> None:
    upstream = Upstream(then=answer(200, json.dumps(LISTED).encode()))
    async with upstreams(upstream), gateway(served_name="") as running:
        running.know()
        asked = asyncio.create_task(get(running, MODELS))
        await until(lambda: running.server.queue_length == 1)
        running.know(upstream.endpoint("a"))
        assert json.loads((await asked).body) == LISTED
        assert (await get(running, f"{MODELS}/other")).status == 200


@pytest.mark.parametrize("said", [b"[]", b'{"data": 1}', b"no json", b'{"object": "error"}'])
async def test_an_engine_that_lists_nothing_changes_nothing(said: bytes) -> None:
    upstream = Upstream(then=answer(200, said))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert (await get(running, MODELS)).body == said
        running.know()
        assert json.loads((await get(running, MODELS)).body)["data"][0]["id"] == "d"


@pytest.mark.parametrize("keep", [True, False])
async def test_http_1_0_is_answered_with_and_without_keep_alive(keep: bool) -> None:
    upstream = Upstream(then=answer())
    line = b"connection: keep-alive\r\n" if keep else b""
    request = b"POST /v1/completions HTTP/1.0\r\n%bcontent-length: 2\r\n\r\n{}" % line
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for _ in range(2 if keep else 1):
            writer.write(request)
            raw = await reader.readuntil(OK_BODY)
            assert raw.startswith(b"HTTP/1.0 200 ")
            assert (b"connection: keep-alive" in raw.lower(), b"chunked" in raw.lower()) == (keep, False)
        if not keep:
            assert await reader.read() == b""
        writer.close()


async def test_http_1_0_with_keep_alive_gets_a_stream_that_ends_with_its_connection() -> None:
    upstream = Upstream(then=stream(EVENT, EVENT, DONE))
    body = b'{"stream": true, "n": 2}'
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        ask = b"POST %b HTTP/1.0\r\nconnection: keep-alive\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n%b"
        writer.write(ask % (CHAT.encode(), len(body), body))
        raw = await reader.read()
        writer.close()
    start, _, rest = raw.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.0 200 ")
    assert b"chunked" not in start.lower()
    assert b"connection: keep-alive" not in start.lower()
    assert rest == EVENT + EVENT + DONE


async def test_streams_ask_proxies_not_to_collect_them() -> None:
    async def says_itself(exchange: Exchange) -> None:
        await exchange.send(head(200, "cache-control: no-store", "content-length: 0", kind="text/event-stream"))

    upstream = Upstream([stream(EVENT), says_itself], then=answer())
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        first, second, third = [await running.request() for _ in range(3)]
    told: list[tuple[Any, Any]] = [
        (got.headers.get("x-accel-buffering"), got.headers.get("cache-control")) for got in (first, second, third)
    ]
    assert told == [("no", "no-cache"), ("no", "no-store"), (None, None)]


async def test_a_version_of_http_that_is_not_spoken_is_refused() -> None:
    async with gateway() as running:
        with socket.create_connection(("127.0.0.1", running.port)) as raw:
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, b"GET /health HTTP/2.0\r\nhost: x\r\n\r\n")
            assert b" 505 " in await loop.sock_recv(raw, 4096)
