"""What stands behind every proxy of the benchmark: the same small answer, or the same paced stream of events.

Run as ``python -m benchmarks._upstream PORT``. It is a bare protocol, so that it needs a fraction of any proxy's CPU.
"""

import asyncio
import sys

ANSWER = b'{"id":"x","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Paris."}}]}'
EVENT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
EVENTS = 100
PACE = 0.004  # seconds between the events of one stream
PATH_ANSWER = "/v1/chat/completions"
PATH_STREAM = "/v1/stream"

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
_WHOLE = b"%sapplication/json\r\ncontent-length: %d\r\n\r\n%s" % (_HEAD, len(ANSWER), ANSWER)
_STREAM_HEAD = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class Upstream(asyncio.Protocol):
    """Answers each request as soon as its body is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""
        self._streams: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, rest = self._data.split(b"\r\n\r\n", 1)
            length = _content_length(head)
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if PATH_STREAM.encode() not in head.split(b"\r\n", 1)[0]:
            self._transport.write(_WHOLE)
            return
        task = asyncio.get_running_loop().create_task(self._stream())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _stream(self) -> None:
        self._transport.write(_STREAM_HEAD)
        for _ in range(EVENTS):
            self._transport.write(_CHUNK)
            await asyncio.sleep(PACE)
        self._transport.write(b"0\r\n\r\n")


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
