"""One attempt: a request sent to one engine, up to the first piece of its answer.

The head is held back until the first piece of the body (or its end) has arrived: engines send the head of a stream long
before the first token, and until then the request can be retried elsewhere.
"""

import asyncio
import contextlib
import re
from dataclasses import dataclass, replace
from typing import Protocol

from aiohttp import ClientError, ClientPayloadError, ServerTimeoutError
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from llama_serving.config import names
from llama_serving.gateway.fields.scanner import Body
from llama_serving.gateway.routing.retry_policy import RETRIED_STATUSES, AttemptFault, FaultKind
from llama_serving.gateway.upstream.connection import READ_AHEAD, AttemptError, Connection, ConnectionPool

# A reused connection that dies sooner than this was closed by the other side while it was idle.
STALE_WITHIN = 1.0
# Larger bodies are written in pieces of this size, each when the engine has taken the last: what a transport cannot
# send at once it copies.
_JOIN_BELOW = 64 << 10
# Answers up to this length are read whole.
WHOLE_BELOW = 1 << 20
# The first event of a stream has the token ids of the prompt: about 6.5 bytes for each.
_FIRST_EVENT_BELOW = 8 << 20
EVENT_STREAM = "text/event-stream"
_ERROR_EVENT = b'data: {"error"'
_ABSENT = f'"{names.CODE_ADAPTER_ABSENT}"'.encode()
_CLIENT_ERROR_CODE = re.compile(rb'"code":\s*"?4\d\d')


class AnswerMemory(Protocol):
    """Memory for the beginnings of answers, which all requests share."""

    def reserve_answer(self, size: int) -> bool:
        """Reserve ``size`` bytes; return False when there are not so many."""

    def release_answer(self, size: int) -> None:
        """Release ``size`` reserved bytes."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it is sent, the same on every attempt.

    ``whole_event``: the first piece of a stream is at least one whole event. ``adapter``: id of the LoRA adapter that
    the engine must answer with; empty: it is asked for none. ``memory``: where there is none left, no more of an answer
    is read than what has come; None: its answers are short.
    """

    head: bytes
    body: Body
    expects_body: bool
    first_byte_timeout: float
    whole_event: bool = False
    adapter: str = ""
    memory: AnswerMemory | None = None

    def for_adapter(self, adapter_id: str) -> "Call":
        """Return the call with the adapter that must answer it."""
        line = f"{names.HEADER_ADAPTER}: {adapter_id}\r\n\r\n".encode()
        return replace(self, head=self.head[:-2] + line, adapter=adapter_id)


@dataclass(slots=True)
class Reply:
    """The beginning of an answer: head and first piece; ``first`` is empty when there is no body.

    ``adapter``: as in its call.
    """

    message: RawResponseMessage
    content: StreamReader
    first: bytes
    connection: Connection
    pool: ConnectionPool
    adapter: str = ""
    ended: bool = False
    memory: AnswerMemory | None = None
    reserved: int = 0
    sending: "asyncio.Task[None] | None" = None

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a readable stream of server-sent events."""
        headers = self.message.headers
        return headers.get("content-type", "").startswith(EVENT_STREAM) and "content-encoding" not in headers

    def fault(self) -> AttemptFault | None:
        """Return why another group may answer better; None when this answer is for the client."""
        status = self.message.code
        if self.adapter and (absent := self._absent_adapter()):
            return AttemptFault(FaultKind.ADAPTER_ABSENT, absent, status)
        if status in RETRIED_STATUSES:
            return AttemptFault(FaultKind.STATUS, f"answered {status}", status)
        # An engine that dies between head and first token reports it in its first event.
        is_error = status == 200 and self.is_event_stream and self.first.startswith(_ERROR_EVENT)
        if is_error and _CLIENT_ERROR_CODE.search(self.first) is None:
            return AttemptFault(FaultKind.STATUS, "began its stream with an error", 500)
        return None

    def _absent_adapter(self) -> str:
        """Say that the engine has not the adapter that it was asked for; empty where it has."""
        if self.message.code in (409, 503) and _ABSENT in self.first:
            return f"has not the adapter {self.adapter}"
        named = self.message.headers.get(names.HEADER_ADAPTER, self.adapter)
        return "" if named == self.adapter else f"has the adapter {named}, not {self.adapter}"

    def end(self) -> None:
        """Keep the connection if the answer was read to its end, else close it: the engine stops working on it.

        A second call does nothing.
        """
        if not self.ended:
            self.ended = True
            self.drop_first()
            if self.sending is not None and not self.sending.done():
                self.sending.cancel()  # it answered before it had all of the request
                self.connection.abort()
            self.pool.release(self.connection)

    def reserve(self, size: int) -> bool:
        """Reserve memory for ``size`` bytes more of ``first``; return False where there is none."""
        if self.memory is None or not size:
            return True
        if not self.memory.reserve_answer(size):
            return False
        self.reserved += size
        return True

    def drop_first(self) -> None:
        """Keep ``first`` no longer: it was passed on."""
        self.first = b""
        if self.memory is not None and self.reserved:
            self.memory.release_answer(self.reserved)
            self.reserved = 0


async def attempt(pool: ConnectionPool, call: Call) -> Reply:
    """Send the request; raises AttemptError."""
    connection = pool.take()
    if connection is None:
        return await _exchange(await pool.connect(), call, pool)
    sent = pool.clock()
    try:
        return await _exchange(connection, call, pool)
    except AttemptError as error:
        if error.fault.kind is not FaultKind.RESET or pool.clock() - sent > STALE_WITHIN:
            raise
        return await _retry_on_new_connection(pool, call, error)


async def _retry_on_new_connection(pool: ConnectionPool, call: Call, stale: AttemptError) -> Reply:
    """Repeat on a new connection what failed on a reused one."""
    try:
        connection = await pool.connect()
    except AttemptError:
        # The engine no longer listens: it ended while it had the request.
        raise stale from None
    return await _exchange(connection, call, pool)


async def _exchange(connection: Connection, call: Call, pool: ConnectionPool) -> Reply:
    try:
        return await _send_and_read(connection, call, pool)
    except BaseException as error:
        connection.abort()
        fault = _fault_of(error, call)
        if fault is None:
            raise
        raise AttemptError(fault) from error


async def _send_and_read(connection: Connection, call: Call, pool: ConnectionPool) -> Reply:
    connection.set_response_params(
        skip_payload=not call.expects_body,
        read_until_eof=True,
        auto_decompress=False,
        read_timeout=call.first_byte_timeout,
        read_bufsize=READ_AHEAD,
    )
    sending = _write(connection, call, pool.credential())
    connection.start_timeout()
    try:
        message, content = await connection.read()
        while message.code < 200:  # 100 and 103 announce the real head
            message, content = await connection.read()
        connection.body = content
        first = b"" if content.at_eof() else await content.readany()
    except BaseException:
        if sending is not None:
            sending.cancel()
        raise
    reply = Reply(message, content, first, connection, pool, call.adapter, memory=call.memory, sending=sending)
    try:
        await _read_on(reply, call)
    except BaseException:
        reply.end()
        raise
    # The pump that forwards the rest has its own timer.
    connection.read_timeout = None
    connection.start_timeout()
    return reply


async def _read_on(reply: Reply, call: Call) -> None:
    """Read a whole event, or a short answer completely, before anything is forwarded."""
    if reply.is_event_stream:
        if call.whole_event:
            await _read_event(reply)
        return
    length = reply.message.headers.get("content-length", "")
    if not length.isdigit() or int(length) > WHOLE_BELOW or not reply.reserve(int(length)):
        return
    while not reply.content.at_eof():
        reply.first += await reply.content.readany()


async def _read_event(reply: Reply) -> None:
    has_room = reply.reserve(len(reply.first))
    while has_room and not reply.content.at_eof() and not _has_event(reply.first):
        piece = await reply.content.readany()
        has_room = reply.reserve(len(piece))
        reply.first += piece
    if has_room and not _has_event(reply.first):
        raise ClientPayloadError("the stream ended within its first event")


def _has_event(first: bytes) -> bool:
    return b"\n\n" in first or b"\r\n\r\n" in first or len(first) > _FIRST_EVENT_BELOW


def _write(connection: Connection, call: Call, credential: bytes) -> "asyncio.Task[None] | None":
    """Send the request; return what sends the rest of a large body, meanwhile the answer is waited for."""
    transport = connection.transport
    if transport is None:
        raise ConnectionResetError("closed before the request was sent")
    head = call.head[:-2] + credential + b"\r\n" if credential else call.head
    if len(call.body) < _JOIN_BELOW:
        transport.write(head + call.body)
        return None
    transport.write(head)
    return asyncio.get_running_loop().create_task(_send_body(connection, call.body))


async def _send_body(connection: Connection, body: Body) -> None:
    view = memoryview(body)
    with contextlib.suppress(ConnectionError):  # whoever waits for the answer learns it too
        for at in range(0, len(view), _JOIN_BELOW):
            if connection.transport is None:
                return
            connection.transport.write(view[at : at + _JOIN_BELOW])
            await connection.drain()


def _fault_of(error: BaseException, call: Call) -> AttemptFault | None:
    match error:
        case ServerTimeoutError():
            return AttemptFault(
                FaultKind.READ_TIMEOUT, f"sent no byte of an answer within {call.first_byte_timeout:g} s"
            )
        case HttpProcessingError():
            return AttemptFault(FaultKind.PROTOCOL_ERROR, f"did not answer in HTTP: {_one_line(error)}")
        case ClientError() | OSError():
            return AttemptFault(FaultKind.RESET, f"closed the connection before the first byte: {_one_line(error)}")
        case _:
            return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
