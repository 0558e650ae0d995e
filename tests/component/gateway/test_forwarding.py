"""What goes through unchanged, what does not, and what the gateway adds."""

import asyncio
import io
from pathlib import Path

import pytest

from tests.component.gateway.running import gateway
from tests.component.gateway.scripted import DONE, EVENT, OK_BODY, Exchange, Upstream, answer, head, stream, upstreams


async def test_method_path_query_and_body_go_through_as_they_are() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request("/v1/completions?b=2&a=%20x&b", data=b"\x00\xff")
    seen = upstream.seen[0]
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/completions?b=2&a=%20x&b", b"\x00\xff")


async def test_headers_of_the_request() -> None:
    upstream = Upstream()
    sent = {
        "content-type": "application/json",
        "x-request-id": "mine-1",
        "x-own": "kept",
        "authorization": "Bearer secret",
        "cookie": "session=secret",
        "connection": "keep-alive, x-hop",
        "x-hop": "dropped",
        "te": "trailers",
    }
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request(headers=sent)
    seen = upstream.seen[0].headers
    assert seen["content-type"] == "application/json"
    assert seen["x-own"] == "kept"
    assert seen["x-request-id"] == got.headers["x-request-id"] == "mine-1"
    assert not {"authorization", "cookie", "connection", "x-hop", "te"} & seen.keys()


async def test_engines_get_the_key_from_the_gateway_and_never_one_from_a_client(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc123")
    upstream, client = Upstream(), {"x-llama-engine-key": "guessed"}
    async with upstreams(upstream), gateway(upstream.endpoint("a"), engine_key=tmp_path / "key") as running:
        got = await running.request(headers=client)
        await running.request(headers=client, data=b"x" * 200_000)
    assert [one.headers["x-llama-engine-key"] for one in upstream.seen] == ["abc123", "abc123"]
    assert "abc123" not in str(got)
    plain = Upstream()
    async with upstreams(plain), gateway(plain.endpoint("a")) as running:
        await running.request(headers=client)
    assert "x-llama-engine-key" not in plain.seen[0].headers


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "ü"])
async def test_a_request_id_is_made_when_there_is_no_usable_one(given: str | None) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request(headers={} if given is None else {"x-request-id": given})
    made = got.headers["x-request-id"]
    assert made == upstream.seen[0].headers["x-request-id"]
    assert len(made) == 32


async def test_headers_of_the_answer() -> None:
    script = answer(
        200,
        OK_BODY,
        "x-own: kept",
        "connection: x-hop",
        "x-hop: dropped",
        "server: engine",
        "set-cookie: a",
        "set-cookie: b",
    )
    upstream = Upstream(then=script)
    async with upstreams(upstream), gateway(upstream.endpoint("a", ordinal=7)) as running:
        got = await running.request()
    assert got.status == 200
    assert got.headers["x-own"] == "kept"
    assert got.headers["server"] == "engine"
    assert (got.headers["x-llama-group"], got.headers["x-llama-weights"]) == ("7", "weights-of-a")
    assert "x-hop" not in got.headers


async def test_an_encoded_answer_stays_encoded() -> None:
    upstream = Upstream(then=answer(200, b"not really gzip", "content-encoding: gzip"))
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        raw = await reader.read()
        writer.close()
    assert b"content-encoding: gzip" in raw.lower()
    assert raw.endswith(b"not really gzip")


async def test_an_encoded_body_stays_encoded() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        await running.request(data=b"not really gzip", headers={"content-encoding": "gzip"})
    assert upstream.seen[0].body == b"not really gzip"


async def test_a_stream_is_passed_on_piece_by_piece() -> None:
    upstream = Upstream()

    async def waits_for_the_client(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        for _ in range(3):
            upstream.relayed.clear()
            await exchange.chunk(EVENT)
            await upstream.relayed.wait()
        await exchange.chunk(DONE)
        await exchange.send(b"0\r\n\r\n")

    upstream.then = waits_for_the_client
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        async with asyncio.timeout(10):
            got = await running.request(on_piece=upstream.relayed.set)
    assert (got.body, got.broken) == (EVENT * 3 + DONE, False)


async def test_a_slow_drip_is_no_fault() -> None:
    upstream = Upstream(then=stream(*[b"data: x\n\n"] * 20, pause=0.02))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle_timeout=0.2) as running:
        got = await running.request()
        assert (got.body, got.broken) == (b"data: x\n\n" * 20, False)


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_go_through_both_ways(chunked: bool) -> None:
    large = bytes(range(256)) * (6 << 12)

    async def echo(exchange: Exchange) -> None:
        if chunked:
            await exchange.send(head(200, "transfer-encoding: chunked"))
            await exchange.chunk(exchange.body)
            await exchange.send(b"0\r\n\r\n")
        else:
            await answer(200, exchange.body)(exchange)

    upstream = Upstream(then=echo)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request(data=io.BytesIO(large))
        assert got.body == large


async def test_an_answer_without_length_ends_with_its_connection() -> None:
    async def until_the_end(exchange: Exchange) -> None:
        await exchange.send(head(200) + b'{"all": "of it"}')
        exchange.close()

    upstream = Upstream(then=until_the_end)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request()
        assert (got.body, got.broken) == (b'{"all": "of it"}', False)


async def test_head_has_a_length_and_no_body() -> None:
    async def length_only(exchange: Exchange) -> None:
        await exchange.send(head(200, "content-length: 500"))

    upstream = Upstream(then=length_only)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request("/v1/models", method="HEAD", data=b"")
        assert (got.status, got.headers["content-length"], got.body) == (200, "500", b"")
        assert (await running.request("/v1/models", method="HEAD", data=b"")).status == 200
    assert upstream.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body(status: int) -> None:
    async def nothing(exchange: Exchange) -> None:
        await exchange.send(head(status))

    upstream = Upstream(then=nothing)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request("/v1/models", method="GET", data=b"")
        assert (got.status, got.body, got.broken) == (status, b"", False)


async def test_announcements_before_the_head_are_not_taken_for_it() -> None:
    async def announces(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        await answer()(exchange)

    upstream = Upstream(then=announces)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request()
        assert (got.status, got.body) == (200, OK_BODY)


async def test_a_header_that_is_no_text_does_not_break_the_answer() -> None:
    async def odd(exchange: Exchange) -> None:
        await exchange.send(head(200, "content-length: 2")[:-2] + b"x-odd: \xff\x80\r\n\r\n{}")

    upstream = Upstream(then=odd)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        got = await running.request()
        assert (got.status, got.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1", "not_found"),
        ("/metrics", "not_supported"),
        ("/health/", "not_found"),
        ("/load", "not_supported"),
        ("/v2/x", "not_found"),
        ("/llama/state", "not_found"),
        ("/v1/../metrics", "not_found"),
        ("/v1/%2e%2e/metrics", "not_found"),
        ("//v1/x", "not_found"),
    ],
)
async def test_nothing_but_the_listed_routes_is_served(path: str, code: str) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        raw = await reader.read()
        writer.close()
    assert raw.startswith(b"HTTP/1.1 404 ")
    assert f'"code": "{code}"'.encode() in raw
    assert upstream.seen == []


async def test_a_target_in_absolute_form_is_understood() -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET http://gateway/v1/models?x=1 HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert upstream.seen[0].target == "/v1/models?x=1"
