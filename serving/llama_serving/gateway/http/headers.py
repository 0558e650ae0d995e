"""Which headers the gateway forwards, and which it drops.

Hop-by-hop headers, and those that a Connection header names, belong to one connection. ``content-length`` is written
anew because the body was read whole. ``authorization``, other headers with keys and ``cookie`` are dropped: the engine
needs none, and clients of OpenAI's API always send a key, often a real one for another service. CORS is decided by the
gateway (cors.py), so neither its requests' nor its answers' headers pass.
"""

import os
import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy

from llama_serving.config import names
from llama_serving.gateway.http.cors import add_cors, is_cors_header
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.upstream.exchange import EVENT_STREAM

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_TO_ENGINE = _HOP_BY_HOP | {
    "api-key",
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "origin",
    names.HEADER_ADAPTER,
    names.HEADER_ENGINE_KEY,
    names.HEADER_REQUEST_ID,
    "x-api-key",
}
_NOT_TO_ENGINE_RAW = frozenset(name.encode() for name in _NOT_TO_ENGINE)
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
#: Proxies such as nginx would collect a stream's events, and caches would keep them.
_NOT_BUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
#: No client could be sent a value with one.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_USABLE_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(headers: CIMultiDictProxy[str]) -> str:
    """Return the client's request id if it is short printable ASCII, else a new one."""
    given = headers.get(names.HEADER_REQUEST_ID)
    if given is not None and _USABLE_ID.fullmatch(given):
        return given
    return os.urandom(16).hex()


def request_head(request: web.BaseRequest, *, target: str, request_id: str, body_length: int) -> bytes:
    """Return the request line and headers for the engine; ``target`` is path and query as received."""
    dropped = _NOT_TO_ENGINE_RAW | _named_by_connection(request.headers)
    lines = [f"{request.method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")]
    lines += [name + b": " + value for name, value in request.raw_headers if name.lower() not in dropped]
    lines.append(f"{names.HEADER_REQUEST_ID}: {request_id}".encode())
    if "host" not in request.headers:
        lines.append(b"host: llama-gateway")
    if body_length or request.method in _BODY_METHODS:
        lines.append(b"content-length: %d" % body_length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def response_headers(
    message: RawResponseMessage, *, endpoint: Endpoint, request_id: str, cors: Mapping[str, str]
) -> CIMultiDict[str]:
    """Return the engine's headers for the client, with the group and the weights that answered, and those of CORS.

    The weights that the engine names itself take precedence: those of discovery may be a moment old.
    """
    dropped = _HOP_BY_HOP
    if "connection" in message.headers:
        dropped = dropped | {name.decode("latin-1") for name in _named_by_connection(message.headers)}
    headers = CIMultiDict[str]()
    for name, value in message.headers.items():
        lower = name.lower()
        if lower not in dropped and not is_cors_header(lower) and not _CONTROL.search(value):
            headers.add(name, value)
    headers[names.HEADER_REQUEST_ID] = request_id
    headers[names.HEADER_GROUP] = str(endpoint.ordinal)
    headers.setdefault(names.HEADER_WEIGHTS, endpoint.weights)
    # Without it aiohttp would send its own name and version.
    headers.setdefault("server", "llama-gateway")
    if headers.get("content-type", "").startswith(EVENT_STREAM):
        headers.popall("content-length", None)  # events may be taken out, and others come behind the engine's
        for name, value in _NOT_BUFFERED.items():
            headers.setdefault(name, value)
    add_cors(headers, cors)
    return headers


def event_stream_headers(request_id: str, cors: Mapping[str, str]) -> CIMultiDict[str]:
    """Return the headers of a stream that begins before a group has answered, so they name no group."""
    return CIMultiDict(
        {
            "content-type": f"{EVENT_STREAM}; charset=utf-8",
            **_NOT_BUFFERED,
            names.HEADER_REQUEST_ID: request_id,
            "server": "llama-gateway",
            **cors,
        }
    )


def _named_by_connection(headers: CIMultiDictProxy[str]) -> frozenset[bytes]:
    if "connection" not in headers:
        return frozenset()
    values = ",".join(headers.getall("connection"))
    return frozenset(name.strip().lower().encode("latin-1", "replace") for name in values.split(","))
