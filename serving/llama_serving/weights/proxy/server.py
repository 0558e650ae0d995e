"""Connections of the fetch proxy: a head within a deadline, one connection out, then bytes both ways.

Whatever it keeps is bounded: connections, a head's bytes, and what lies between reading and writing.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from llama_serving.weights.proxy.request import BadRequest, ProxyRequest, parse_request
from llama_serving.weights.source.addresses import AddressRules

logger = logging.getLogger("llama_serving.fetch_proxy")

_PIECE: Final = 64 << 10


@dataclass(frozen=True)
class ProxyLimits:
    """Bounds of the proxy. Seconds, and bytes."""

    connections: int = 512
    head_bytes: int = 32 << 10
    head_seconds: float = 10.0
    connect_seconds: float = 15.0
    idle_seconds: float = 300.0


LIMITS: Final = ProxyLimits()


class FetchProxy:
    """Answers clients with the key. ``key`` gives the present one; ``rules`` say where a source may be."""

    def __init__(self, key: Callable[[], bytes], *, rules: AddressRules, limits: ProxyLimits = LIMITS) -> None:
        self._key = key
        self._limits = limits
        self._rules = rules
        self._open = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end. Never raises for what a client or a host does."""
        self._open += 1
        try:
            if self._open > self._limits.connections:
                raise BadRequest(503, f"the proxy has {self._limits.connections} connections, which is all it takes")
            request = parse_request(await self._head(reader), key=self._key())
            await self._pass_on(request, reader, writer)
        except BadRequest as refusal:
            with contextlib.suppress(OSError):
                writer.write(_refusal(refusal))
                await writer.drain()
        except (OSError, TimeoutError) as error:
            logger.info("a connection ended: %r", error)
        finally:
            self._open -= 1
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                return (await reader.readuntil(b"\r\n\r\n"))[:-4]
        except asyncio.LimitOverrunError:
            raise BadRequest(431, f"a head has at most {self._limits.head_bytes} bytes") from None
        except TimeoutError:
            raise BadRequest(408, f"no head came within {self._limits.head_seconds:g} s") from None
        except asyncio.IncompleteReadError:
            raise BadRequest(400, "the connection ended within its head") from None

    async def _pass_on(self, request: ProxyRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await self._connect(request)
        logger.info("%s to %s:%d", "a tunnel" if request.tunnel else "a request", request.host, request.port)
        try:
            if not request.tunnel:
                far_writer.write(request.head)
                await self._copy(far_reader, writer)
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            out = asyncio.create_task(self._copy(reader, far_writer))
            back = asyncio.create_task(self._copy(far_reader, writer))
            await asyncio.wait([out, back], return_when=asyncio.FIRST_EXCEPTION)
            for task in (out, back):
                task.cancel()
            await asyncio.gather(out, back, return_exceptions=True)
        finally:
            far_writer.close()

    async def _connect(self, request: ProxyRequest) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to an address that was judged, so that no second look-up of the name gives another one."""
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(request.host, request.port, type=socket.SOCK_STREAM)
                addresses = [str(one[4][0]) for one in found]
                allowed = [address for address in addresses if not self._rules.refusal(address)]
                if not allowed:
                    why = self._rules.refusal(addresses[0])
                    raise BadRequest(403, f"{request.host} is at {addresses[0]}, {why}: no source may be there")
                return await asyncio.open_connection(allowed[0], request.port, limit=_PIECE)
        except TimeoutError:
            text = (
                f"{request.host}:{request.port} did not accept a connection within {self._limits.connect_seconds:g} s"
            )
            raise BadRequest(504, text) from None
        except (OSError, UnicodeError) as error:
            raise BadRequest(502, f"{request.host}:{request.port} is not reached: {error}") from None

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(self._limits.idle_seconds):
                piece = await source.read(_PIECE)
            if not piece:
                break
            sink.write(piece)
            async with asyncio.timeout(self._limits.idle_seconds):
                await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _refusal(refusal: BadRequest) -> bytes:
    text = "".join(char for char in str(refusal) if char.isprintable())[:500]
    body = f"{text}\n".encode()
    ask = 'proxy-authenticate: Basic realm="stagers"\r\n' if refusal.status == 407 else ""
    phrase = HTTPStatus(refusal.status).phrase
    head = (
        f"HTTP/1.1 {refusal.status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n{ask}\r\n"
    )
    return head.encode("latin-1", "replace") + body
