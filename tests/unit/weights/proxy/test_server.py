"""The fetch proxy over real sockets of this machine: who passes, what passes, and what it never keeps."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from llama_serving.config import names
from llama_serving.weights.proxy.command import use_proxy
from llama_serving.weights.proxy.server import LIMITS, FetchProxy, ProxyLimits
from llama_serving.weights.source.addresses import AddressRules

AUTH = "proxy-authorization: Basic " + base64.b64encode(b"stager:abc123").decode()
LOCAL = AddressRules(networks=(ip_network("127.0.0.0/8"),))


@asynccontextmanager
async def proxy(limits: ProxyLimits = LIMITS, rules: AddressRules = LOCAL) -> AsyncIterator[int]:
    serving = FetchProxy(lambda: b"abc123", rules=rules, limits=limits)
    server = await asyncio.start_server(serving.handle, "127.0.0.1", 0, limit=limits.head_bytes)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def origin() -> AsyncIterator[tuple[int, list[str]]]:
    """A server of files, and the headers of its requests."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(" ".join(request.headers))
        return web.Response(body=b"x" * 300_000)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], asked
    finally:
        await runner.cleanup()


async def said(port: int, text: str) -> str:
    """The whole answer to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    async with asyncio.timeout(20):
        found = await reader.read()
    writer.close()
    return found.decode("latin-1")


async def test_a_client_with_the_key_reads_through_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the stager's own client does: by the variables of the process."""
    (tmp_path / "key").write_text("abc123")
    async with origin() as (behind, asked), proxy() as port:
        environment = {names.ENV_FETCH_PROXY: f"127.0.0.1:{port}"}
        use_proxy(environment, key=tmp_path / "key")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with aiohttp.ClientSession(trust_env=True) as session:
            for _ in range(2):
                async with session.get(f"http://127.0.0.1:{behind}/file") as answer:
                    assert len(await answer.read()) == 300_000
        assert len(asked) == 2
        assert not any("roxy" in headers for headers in asked)


async def test_a_tunnel_carries_bytes_both_ways() -> None:
    async with origin() as (behind, _), proxy() as port:
        text = f"CONNECT 127.0.0.1:{behind} HTTP/1.1\r\n{AUTH}\r\n\r\n"
        request = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        found = await said(port, text + request)
        assert found.startswith("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK")
        assert found.endswith("x" * 1000)


async def test_without_the_key_the_host_is_not_even_looked_up() -> None:
    async with origin() as (behind, asked), proxy() as port:
        found = await said(port, f"GET http://127.0.0.1:{behind}/a HTTP/1.1\r\nhost: a\r\n\r\n")
        assert found.startswith("HTTP/1.1 407 ")
        assert "proxy-authenticate: Basic" in found
        assert asked == []


async def test_addresses_that_no_source_has_are_refused() -> None:
    async with origin() as (behind, asked), proxy(rules=AddressRules()) as port:
        for target in (f"127.0.0.1:{behind}", f"localhost:{behind}", f"[::ffff:127.0.0.1]:{behind}"):
            found = await said(port, f"CONNECT {target} HTTP/1.1\r\n{AUTH}\r\n\r\n")
            assert found.startswith(("HTTP/1.1 403 ", "HTTP/1.1 502 "))
        assert asked == []


async def test_what_comes_behind_a_plain_request_is_not_forwarded() -> None:
    async with origin() as (behind, asked), proxy() as port:
        one = f"GET http://127.0.0.1:{behind}/a HTTP/1.1\r\nhost: a\r\n{AUTH}\r\n\r\n"
        assert (await said(port, one * 3)).count("HTTP/1.1 200 OK") == 1
        assert len(asked) == 1


async def test_heads_are_bounded_in_bytes_and_seconds_and_connections_in_number() -> None:
    limits = ProxyLimits(connections=2, head_bytes=2000, head_seconds=0.3)
    async with proxy(limits) as port:
        assert (await said(port, "GET http://a/ HTTP/1.1\r\n" + "x: " + "y" * 5000)).startswith("HTTP/1.1 431 ")
        assert (await said(port, "GET http://a/")).startswith("HTTP/1.1 408 ")
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        answers = [await said(port, "")]
        assert any(answer.startswith(("HTTP/1.1 503 ", "HTTP/1.1 408 ")) for answer in answers)
        for _, writer in held:
            writer.close()


def test_a_stager_that_cannot_read_its_key_says_so(tmp_path: Path) -> None:
    environment = {names.ENV_FETCH_PROXY: "proxy:3128"}
    with pytest.raises(ValueError, match="holds no key"):
        use_proxy(environment, key=tmp_path / "none")
    nothing: dict[str, str] = {}
    use_proxy(nothing, key=tmp_path / "none")
    assert nothing == {}
