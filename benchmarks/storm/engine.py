"""An engine for the storm: ``python -m benchmarks.storm.engine PORT``. It does what words in the body say.

``HANG``: never answers. ``LARGE``: an answer of a mebibyte. ``FLOOD``: a stream without end, as fast as it is taken.
Any other request gets a short answer at once.
"""

import asyncio
import sys
from typing import Final

HANG: Final = b"HANG"
LARGE: Final = b"LARGE"
FLOOD: Final = b"FLOOD"
ANSWER: Final = b'{"object":"chat.completion","choices":[{"message":{"content":"Paris"}}]}'
_EVENT: Final = b'data: {"choices":[{"delta":{"content":"' + b"word " * 1000 + b'"}}]}\n\n'
_CHUNK: Final = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
_STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EDGE: Final = 256  # bytes of a body that are looked at


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            asked = await _beginning(reader, length)
            if HANG in asked:
                await reader.read()
                return
            await answer(asked, writer)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _beginning(reader: asyncio.StreamReader, length: int) -> bytes:
    """Read a body; keep its beginning."""
    first = await reader.readexactly(min(length, _EDGE))
    left = length - len(first)
    while left:
        piece = await reader.read(min(left, 1 << 20))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
    return first


async def answer(asked: bytes, writer: asyncio.StreamWriter) -> None:
    """Answer as the body says."""
    if FLOOD in asked:
        writer.write(_STREAM)
        while True:
            writer.write(_CHUNK)
            await writer.drain()
    body = ANSWER if LARGE not in asked else b"x" * (1 << 20)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=256 << 10, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
