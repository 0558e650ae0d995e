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
from llama_serving.gateway.continuation.pure.chunk import END
from llama_serving.gateway.continuation.pure.event_check import NO_EVENT, good_part, is_object
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
_MOST_INTERIM = 8
_QUOTED = re.compile(r":?\s*(?:\(?\bb['\"]|<Raw).*", re.DOTALL)
_NO_TIME = 1e-3  # seconds; 0 would be no timeout
_INTERIM = frozenset({100, 102, 103})  # 101 would switch to another protocol
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding"})
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
_END_LENGTH = 3
EVENT_STREAM = "text/event-stream"
JSON = "application/json"
_DIGITS = 12  # of the longest length that is looked at
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

    ``whole_event``: the first piece of a stream is at least one whole event; its events are known. ``checked``: its
    answer is JSON or a stream. ``adapter``: id of the LoRA adapter that the engine must answer with; empty: none.
    ``memory``: where there is none left, no more of an answer is read than what has come; None: its answers are short.
    """

    head: bytes
    body: Body
    expects_body: bool
    first_byte_timeout: float
    whole_event: bool = False
    checked: bool = False
    adapter: str = ""
    memory: AnswerMemory | None = None

    def for_adapter(self, adapter_id: str) -> "Call":
        """Return the call with the adapter that must answer it."""
        line = f"{names.HEADER_ADAPTER}: {adapter_id}\r\n\r\n".encode()
        return replace(self, head=self.head[:-2] + line, adapter=adapter_id)


@dataclass(slots=True)
class Reply:
    """The beginning of an answer: head and first piece; ``first`` is empty when there is no body.

    ``adapter``, ``checked`` and ``whole_event``: as in its call.
    """

    message: RawResponseMessage
    content: StreamReader
    first: bytes
    connection: Connection
    pool: ConnectionPool
    adapter: str = ""
    checked: bool = False
    whole_event: bool = False
    ended: bool = False
    memory: AnswerMemory | None = None
    reserved: int = 0
    sending: "asyncio.Task[None] | None" = None

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a readable stream of server-sent events."""
        headers = self.message.headers
        return headers.get("content-type", "").startswith(EVENT_STREAM) and "content-encoding" not in headers

    @property
    def is_good(self) -> bool:
        """Whether the answer is no error, as far as it has come."""
        return self.message.code < 400 and not (self.is_event_stream and self.first.startswith(_ERROR_EVENT))

    @property
    def is_checked_stream(self) -> bool:
        """Whether it is one of the streams whose events are known."""
        return self.whole_event and self.message.code == 200 and self.is_event_stream

    def fault(self) -> AttemptFault | None:
        """Return why another group may answer better; None when this answer is for the client."""
        status = self.message.code
        if self.adapter and (absent := self._absent_adapter()):
            return AttemptFault(FaultKind.ADAPTER_ABSENT, absent, status)
        if status in RETRIED_STATUSES:
            return AttemptFault(FaultKind.STATUS, f"answered {status}", status)
        if self.checked and (wrong := self._wrong_form()):
            return AttemptFault(FaultKind.PROTOCOL_ERROR, wrong, status)
        # An engine that dies between head and first token reports it in its first event.
        is_error = status == 200 and self.is_event_stream and self.first.startswith(_ERROR_EVENT)
        if is_error and _CLIENT_ERROR_CODE.search(self.first) is None:
            return AttemptFault(FaultKind.STATUS, "began its stream with an error", 500)
        return None

    def _wrong_form(self) -> str:
        """Say why no client could read the answer; empty where one can, or where it is an error of the engine."""
        headers, code = self.message.headers, self.message.code
        if code >= 400 or "content-encoding" in headers:
            return ""
        kind = headers.get("content-type", "")
        if code != 200:
            return f"answered {code}, which is no answer"
        if len(headers.getall("content-type", ())) > 1:
            return "answered with more than one content type"
        if self.is_event_stream:
            whole = self.first[: self.first.rfind(END) + len(END)] if END in self.first else b""
            return (
                ""
                if not self.whole_event or (whole and good_part(whole)[1])
                else f"began its stream badly: it {NO_EVENT}"
            )
        if not kind.startswith(JSON):
            return f"answered with the content type {kind[:80]!r}"
        is_json = not self.content.at_eof() or is_object(self.first)
        return "" if is_json else f"answered with {len(self.first)} bytes that are no JSON object"

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
        message, content = await _read_head(connection, call.first_byte_timeout)
        connection.body = content
        first = b"" if content.at_eof() else await content.readany()
    except BaseException:
        if sending is not None:
            sending.cancel()
        raise
    reply = Reply(
        message,
        content,
        first,
        connection,
        pool,
        call.adapter,
        checked=call.checked,
        whole_event=call.whole_event,
        memory=call.memory,
        sending=sending,
    )
    try:
        await _read_on(reply, call)
    except BaseException:
        reply.end()
        raise
    # The pump that forwards the rest has its own timer.
    connection.end_timeout()
    return reply


async def _read_head(connection: Connection, timeout: float) -> tuple[RawResponseMessage, StreamReader]:
    """Read the head of the answer, and leave out those that only announce it (100, 103)."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout
    for _ in range(_MOST_INTERIM + 1):
        message, content = await connection.read()
        if message.code >= 200:
            return message, content
        if message.code not in _INTERIM or not _BODY_HEADERS.isdisjoint(map(str.lower, message.headers)):
            raise HttpProcessingError(code=message.code, message="a status below 200 that announces no answer")
        connection.read_timeout = max(deadline - clock(), _NO_TIME)
        connection.start_timeout()  # aiohttp ends its timer with each head that has no body
    raise HttpProcessingError(message=f"more than {_MOST_INTERIM} heads that only announce another")


async def _read_on(reply: Reply, call: Call) -> None:
    """Read a whole event, or a short answer completely, before anything is forwarded."""
    if reply.is_event_stream:
        if call.whole_event:
            await _read_event(reply)
        return
    headers = reply.message.headers
    length = headers.get("content-length", "")
    is_short = length.isdigit() and len(length) < _DIGITS and int(length) <= WHOLE_BELOW
    is_long = length.isdigit() and not is_short
    is_json = call.checked and not is_long and headers.get("content-type", "").startswith(JSON)
    if is_short and reply.reserve(int(length)):
        await _read_whole(reply, counted=True)
    elif is_json and not is_short:
        await _read_whole(reply, counted=False)


async def _read_whole(reply: Reply, *, counted: bool) -> None:
    """Read to the end, or until it is more than WHOLE_BELOW; ``counted``: its memory is reserved."""
    pieces, size = [reply.first], len(reply.first)
    has_room = counted or reply.reserve(size)
    while has_room and not reply.content.at_eof() and size <= WHOLE_BELOW:
        piece = await reply.content.readany()
        has_room = counted or reply.reserve(len(piece))
        pieces.append(piece)
        size += len(piece)
    reply.first = b"".join(pieces)


async def _read_event(reply: Reply) -> None:
    """Read on until there is a whole event, or no memory."""
    pieces, length, end = [reply.first], len(reply.first), reply.first
    has_room = reply.reserve(length)
    while has_room and not any(mark in end for mark in _EVENT_ENDS):
        if length > _FIRST_EVENT_BELOW:
            raise ClientPayloadError(f"its first event has more than {_FIRST_EVENT_BELOW} bytes")
        if reply.content.at_eof():
            raise ClientPayloadError("the stream ended within its first event")
        piece = await reply.content.readany()
        has_room = reply.reserve(len(piece))
        pieces.append(piece)
        length += len(piece)
        end = end[-_END_LENGTH:] + piece  # an end may come in two pieces
    reply.first = b"".join(pieces)


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
            return AttemptFault(FaultKind.PROTOCOL_ERROR, f"did not answer in HTTP: {without_bytes(error)}")
        case ClientError() | OSError():
            return AttemptFault(FaultKind.RESET, f"closed the connection before the first byte: {without_bytes(error)}")
        case _:
            return None


def without_bytes(error: BaseException) -> str:
    """Return what an error says in one line, without what it quotes of the engine: that may be another's answer."""
    return " ".join(_QUOTED.sub("", str(error)).split())[:200] or type(error).__name__
