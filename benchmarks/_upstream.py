"""What stands behind every proxy of the benchmark: the same small answer, or the same paced stream of events.

Streams are spelled as vLLM spells them, with token ids if they are asked for, as our gateway does.
Run as ``python -m benchmarks._upstream PORT``. It is a bare protocol, so that it needs a fraction of any proxy's CPU.
"""

import asyncio
import os
import sys

ANSWER = b'{"id":"x","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Paris."}}]}'
EVENT_WITH_IDS = (
    b'data: {"id":"cmpl-8349e7f611367bc4","object":"text_completion","created":1795529635,"model":"llama",'
    b'"choices":[{"index":0,"text":" word","logprobs":null,"finish_reason":null,"stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":[2914]}]}\n\n'
)
EVENT = EVENT_WITH_IDS.replace(b"[2914]", b"null")
FIRST_WITH_IDS = EVENT_WITH_IDS.replace(b'"prompt_token_ids":null', b'"prompt_token_ids":[504,1528,43910,327]')
DONE = b"data: [DONE]\n\n"
EVENTS = 100
STREAMED = EVENT * EVENTS + DONE
PACE = float(os.environ.get("STREAM_PACE_S", "0.02"))
"""Seconds between the events of one stream: 50 tokens a second, as engines give them."""
PATH_ANSWER = "/v1/chat/completions"
PATH_STREAM = "/v1/completions"

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
_WHOLE = b"%sapplication/json\r\ncontent-length: %d\r\n\r\n%s" % (_HEAD, len(ANSWER), ANSWER)
_STREAM_HEAD = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


_LAST = _chunk(DONE) + b"0\r\n\r\n"
_CHUNKS = [_chunk(EVENT)] * EVENTS
_CHUNKS_WITH_IDS = [_chunk(FIRST_WITH_IDS), *[_chunk(EVENT_WITH_IDS)] * (EVENTS - 1)]


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
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if PATH_STREAM.encode() not in head.split(b"\r\n", 1)[0]:
            self._transport.write(_WHOLE)
            return
        task = asyncio.get_running_loop().create_task(
            self._stream(_CHUNKS_WITH_IDS if b"return_token_ids" in body else _CHUNKS)
        )
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

    async def _stream(self, chunks: list[bytes]) -> None:
        self._transport.write(_STREAM_HEAD)
        for chunk in chunks:
            self._transport.write(chunk)
            await asyncio.sleep(PACE)
        self._transport.write(_LAST)


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
