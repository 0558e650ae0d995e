"""A client that reads an answer strictly, and what may be in it."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from llama_serving.gateway.continuation.pure.event_check import PARSED_BELOW
from llama_serving.gateway.upstream.exchange import WHOLE_BELOW
from tests.component.gateway.garbage.answers import CHAT, DONE, SECOND, TEXT, TOKENS, mark, marked

KINDS = ("chat", "text", "replayed", "chat json", "text json")


@dataclass(frozen=True)
class Got:
    """An answer; ``whole``: its end came as HTTP has it. ``extra``: bytes behind the end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    extra: bytes


def question(seed: int) -> tuple[str, str, bytes]:
    """Return the kind of request that a seed makes, its path and its body."""
    kind = KINDS[seed % len(KINDS)]
    asked: dict[str, Any] = {"seed": seed, "model": "m"}
    if "json" not in kind:
        asked |= {"stream": True} | ({"stream_options": {"include_usage": True}} if seed % 3 else {})
    if kind == "replayed":
        asked["response_format"] = {"type": "json_object"}
    path = TEXT if kind.startswith("text") else CHAT
    asked |= {
        "max_tokens": 50,
        **({"prompt": "x"} if path == TEXT else {"messages": [{"role": "user", "content": "x"}]}),
    }
    return kind, path, json.dumps(asked).encode()


async def ask(port: int, path: str, body: bytes, *, seconds: float) -> Got:
    """Send a request, and read until the gateway closes the connection."""
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            raw = b""
            try:
                while piece := await reader.read(1 << 16):
                    raw += piece
            except ConnectionError:
                pass
        finally:
            writer.close()
    return parse(raw)


def parse(raw: bytes) -> Got:
    """Read an answer; raises ValueError where it is no HTTP."""
    head, found, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = re.fullmatch(rb"HTTP/1\.[01] ([1-9]\d\d) [\x20-\x7e]*", first)
    if not found or status is None:
        raise ValueError(f"no head: {raw[:200]!r}")
    headers = {}
    for line in lines:
        named = re.fullmatch(rb"([!-9;-~]+):[ \t]*([^\x00\r\n]*)", line)
        if named is None:
            raise ValueError(f"no header: {line[:200]!r}")
        headers[named[1].decode().lower()] = named[2].decode("latin-1")
    if int(status[1]) in (204, 304):
        return Got(int(status[1]), headers, b"", whole=True, extra=rest)
    body, whole, extra = _chunked(rest) if "transfer-encoding" in headers else _sized(rest, headers)
    return Got(int(status[1]), headers, body, whole, extra)


def _sized(rest: bytes, headers: dict[str, str]) -> tuple[bytes, bool, bytes]:
    length = int(headers["content-length"])
    return rest[:length], len(rest) >= length, rest[length:]


def _chunked(rest: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        size = re.match(rb"([0-9a-f]+)\r\n", rest)
        if size is None:
            if rest.strip(b"0123456789abcdef\r"):
                raise ValueError(f"no chunk: {rest[:200]!r}")
            return body, False, b""
        length, rest = int(size[1], 16), rest[size.end() :]
        if length == 0:
            return body, rest.startswith(b"\r\n"), rest[2:]
        body += rest[:length]
        if len(rest) < length + 2:
            return body, False, b""
        if rest[length : length + 2] != b"\r\n":
            raise ValueError(f"no end of a chunk: {rest[length:][:200]!r}")
        rest = rest[length + 2 :]


def outcome(seed: int, got: Got) -> str:
    """Return a word for what became of a request; raises AssertionError for what no client may get."""
    kind, path, _ = question(seed)
    assert not got.extra, "bytes behind the answer"
    assert SECOND.encode() not in got.body or not got.whole, "a second answer"
    foreign = marked(got.body) - {seed}
    assert not foreign, f"the answers of {foreign}"
    if got.status != 200:
        return _refused(got)
    if "json" in kind:
        return _is_json(got)
    return _is_stream(seed, got, chat=path == CHAT)


def _refused(got: Got) -> str:
    if got.status < 400:
        return "odd status"
    assert b'"internal_error"' not in got.body, "a bug of the gateway"
    return "error"


def _is_json(got: Got) -> str:
    if got.headers.get("content-type", "").startswith("application/json") and "content-encoding" not in got.headers:
        if not got.whole:
            return "broken"
        if len(got.body) > WHOLE_BELOW:
            return "long"  # passed on as it comes, so nobody has looked at it
        assert isinstance(json.loads(got.body), dict)
        return "answer"
    return "other type"


def _is_stream(seed: int, got: Got, *, chat: bool) -> str:
    if not got.headers.get("content-type", "").startswith("text/event-stream") or "content-encoding" in got.headers:
        return "other type" if "event-stream" in got.headers.get("content-type", "") else _is_json(got)
    *events, rest = got.body.split(b"\n\n")
    if any(len(event) > PARSED_BELOW for event in events):
        return "long"  # looked at from outside only
    said = [json.loads(event.removeprefix(b"data: ")) for event in events if _has_json(event)]
    assert not rest or not got.whole, f"ended within an event: {rest[:200]!r}"
    if not got.whole or any("error" in event for event in said):
        return "broken"
    assert got.body.endswith(DONE), "ended without its end"
    text = "".join(_text(event, chat=chat) for event in said if event["choices"])
    return "answer" if text == f"{mark(seed)}." * len(TOKENS) else "changed"


def _has_json(event: bytes) -> bool:
    return not event.startswith(b":") and event != DONE.strip()


def _text(event: dict[str, Any], *, chat: bool) -> str:
    (choice,) = event["choices"]
    text: str = (choice["delta"].get("content") or "") if chat else choice["text"]
    return text
