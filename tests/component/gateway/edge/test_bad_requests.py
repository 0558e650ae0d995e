"""Requests that are no HTTP, or too long: told which rule they broke, with nothing of them in answer or log."""

import asyncio
import json
import logging
from typing import Final

import pytest

from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import Upstream, upstreams

SECRET: Final = b"SECRET"
LONG: Final = SECRET * 1500
HUGE: Final = SECRET * 200_000  # more than one read of the server takes

REQUESTS: Final[dict[str, tuple[int, str, bytes]]] = {
    "long value": (431, "headers_too_large", b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: %b\r\n\r\n" % LONG),
    "huge value": (431, "headers_too_large", b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: %b\r\n\r\n" % HUGE),
    "long name": (431, "headers_too_large", b"GET /v1/models HTTP/1.1\r\nhost: x\r\n%b: x\r\n\r\n" % LONG),
    "many": (431, "headers_too_large", b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % (b"x: SECRET\r\n" * 200)),
    "long target": (414, "target_too_long", b"GET /v1/models?%b HTTP/1.1\r\nhost: x\r\n\r\n" % LONG),
    "huge target": (414, "target_too_long", b"GET /v1/models?%b HTTP/1.1\r\nhost: x\r\n\r\n" % HUGE),
    "TLS": (400, "bad_request", b"\x16\x03\x01 SECRET\r\n\r\n"),
    "method": (400, "bad_request", b"SECRET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"),
    "version": (505, "http_version_not_supported", b"GET /SECRET HTTP/7.3\r\nhost: x\r\n\r\n"),
    "protocol": (400, "bad_request", b"GET /SECRET SECRET/1.1\r\nhost: x\r\n\r\n"),
    "HTTP/2": (505, "http_version_not_supported", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nSECRET"),
    "HTTP/2 in text": (505, "http_version_not_supported", b"GET /SECRET HTTP/2.0\r\nhost: x\r\n\r\n"),
    "HTTP/0.9": (505, "http_version_not_supported", b"GET /SECRET\r\n\r\n"),
    "no host": (400, "bad_request", b"GET /SECRET HTTP/1.1\r\n\r\n"),
    "two hosts": (400, "bad_request", b"GET /v1/models HTTP/1.1\r\nhost: x\r\nhost: SECRET\r\n\r\n"),
    "name with a space": (400, "bad_request", b"GET / HTTP/1.1\r\nhost: x\r\nSEC RET: SECRET\r\n\r\n"),
    "no colon": (400, "bad_request", b"GET / HTTP/1.1\r\nhost: x\r\nSECRET\r\n\r\n"),
    "NUL": (400, "bad_request", b"GET / HTTP/1.1\r\nhost: x\r\nx: SECRET\0SECRET\r\n\r\n"),
    "bare LF": (400, "bad_request", b"GET / HTTP/1.1\nhost: SECRET\n\n"),
    "old WebSocket": (400, "bad_request", b"GET / HTTP/1.1\r\nhost: x\r\nsec-websocket-key1: SECRET\r\n\r\n"),
    "target": (400, "bad_request", b"GET SECRET HTTP/1.1\r\nhost: x\r\n\r\n"),
    "target with a bad host": (400, "bad_request", b"GET http://[SECRET/ HTTP/1.1\r\nhost: x\r\n\r\n"),
    "length": (400, "bad_request", b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: SECRET\r\n\r\n"),
    "encoding": (400, "bad_request", b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: SECRET\r\n\r\n"),
    "chunk": (
        400,
        "bad_request",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nSECRET\r\n",
    ),
}


async def answer_to(running: Gateway, *pieces: bytes) -> bytes:
    """Send pieces, each after the gateway has taken the last; return what comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request_that_cannot_be_read_is_told_why(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    status, code, request = REQUESTS[kind]
    caplog.set_level(logging.DEBUG)
    async with gateway(cors_origins=("https://a.example", "*")) as running:
        running.know()
        start, _, body = (await answer_to(running, request)).partition(b"\r\n\r\n")
        text = (await running.admin("/metrics")).body.decode()
    assert start.split(b" ")[1] == str(status).encode()
    assert b"access-control-allow-origin: *" in start.lower(), "a page can read why"
    error = json.loads(body)["error"]
    assert error["code"] == code
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert SECRET not in start + body
    assert f'llama_gateway_requests_total{{code="{status}"}} 1.0\n' in text
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    for record in caplog.records:
        shown = f"{record.getMessage()} {getattr(record, 'fields', '')} {record.exc_info}"
        # The path of a request that could be read is in the log of those that fail.
        assert "SECRET" not in shown or "path" in getattr(record, "fields", {}), shown


async def test_headers_at_the_limit_pass() -> None:
    value = b"x" * (8190 - len("authorization"))
    async with gateway() as running:
        request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: %b\r\n\r\n"
        assert b" 200 OK" in await answer_to(running, request % value)
        assert b" 431 " in await answer_to(running, request % (value + b"x" * 100))


async def test_a_body_that_stops_being_http_later_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream = Upstream()
    begun = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"
    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle_timeout=60) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(begun)
        async with asyncio.timeout(10):
            await until(lambda: running.server.open_requests)
            writer.write(b"SECRET\r\n")
            raw = await reader.read()
        writer.close()
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert SECRET not in raw
    assert upstream.seen == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "SECRET" not in caplog.text
