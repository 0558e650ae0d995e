"""What a client is told when a bug of ours ends its request, and how errors of the parser are sorted."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.connections.fair_share import FairShare
from llama_serving.gateway.connections.limits import connection_limits
from llama_serving.gateway.connections.server import ClientServer
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.http.bad_requests import BUG, MAX_HEADER, MAX_TARGET, Refusal, refusal_of

REQUEST = b"GET /v1/x HTTP/1.1\r\nhost: x\r\nauthorization: SECRET\r\n\r\n"
Handler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler, told: list[Refusal]) -> AsyncIterator[int]:
    config = GatewayConfig(deployment="d", namespace="n")
    table = ConnectionTable(connection_limits(config, memory=None, descriptors=1024))
    share = FairShare(clock=time.monotonic, idle=time.monotonic)
    server = ClientServer(handler, table=table, share=share, on_refusal=lambda _, refusal, __: told.append(refusal))
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(1.0)


async def answer_of(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_a_bug_is_an_error_in_openais_shape_and_stands_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("this is a bug")

    told: list[Refusal] = []
    async with served(breaks, told) as port:
        start, _, body = (await answer_of(port)).partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 500 ")
    error = json.loads(body)["error"]
    assert (error["code"], error["type"], told) == ("internal_error", "server_error", [BUG])
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "SECRET" not in caplog.text


async def test_a_bug_in_the_middle_of_an_answer_cuts_it_off() -> None:
    async def breaks(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"half")
        raise RuntimeError("this is a bug")

    told: list[Refusal] = []
    async with served(breaks, told) as port:
        raw = await answer_of(port)
    assert raw.endswith(b"half\r\n"), "no end of the body, and no second head"
    assert (raw.count(b"HTTP/1.1"), told) == (1, [])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LineTooLong(b"GET /SECRET", MAX_TARGET), 414),
        (LineTooLong(b"SECRET", MAX_HEADER), 431),
        (BadHttpMessage("Too many headers received"), 431),
        (BadHttpMessage("something new in a later version: SECRET"), 400),
        (ValueError("SECRET"), 500),
    ],
)
def test_what_is_told_has_nothing_of_the_error(error: Exception, status: int) -> None:
    refusal = refusal_of(error)
    assert (refusal.status, "SECRET" in refusal.message) == (status, False)
