"""What a client of the proxy asks for, read from the head of its request; pure.

Two forms (RFC 9110, 9112): ``CONNECT host:port`` makes a tunnel, whose bytes, credentials among them, the proxy cannot
read; ``GET http://host/path`` is repeated to the host. No more than GET and HEAD without a body pass in the clear: what
would follow a head is never forwarded, so no second request with the proxy's key in it can follow either.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Final

USER: Final = "stager"
_PLAIN_METHODS: Final = frozenset({"GET", "HEAD"})
_NOT_FORWARDED: Final = frozenset(
    {"connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"}
)
_BODY_HEADERS: Final = frozenset({"content-length", "transfer-encoding"})


class BadRequest(Exception):
    """The request is answered with this status and sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ProxyRequest:
    """Where to, and what is sent there first: nothing for a tunnel."""

    host: str
    port: int
    tunnel: bool
    head: bytes = b""


def parse_request(head: bytes, *, key: bytes) -> ProxyRequest:
    """Return what a head asks for. Raises BadRequest; nothing of it is looked at before the key is right."""
    line, *fields = head.split(b"\r\n")
    headers = [_field(field) for field in fields if field]
    given = [value for name, value in headers if name == "proxy-authorization"]
    if not key or len(given) != 1 or not _is_right(given[0], key):
        raise BadRequest(407, "the proxy answers stagers only, by their key")
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "the request has no request line of HTTP/1")
    method, target, _ = parts
    if method == "CONNECT":
        host, port = split_authority(target, default=0)
        return ProxyRequest(host, port, tunnel=True)
    return _plain(method, target, headers)


def _plain(method: str, target: str, headers: list[tuple[str, bytes]]) -> ProxyRequest:
    scheme, _, rest = target.partition("://")
    if scheme.lower() != "http" or not rest:
        raise BadRequest(400, "the target must be http://host/path, or a CONNECT to host:port")
    if method not in _PLAIN_METHODS or any(name in _BODY_HEADERS and value != b"0" for name, value in headers):
        raise BadRequest(405, "only GET and HEAD without a body pass without TLS")
    authority, slash, path = rest.partition("/")
    host, port = split_authority(authority, default=80)
    lines = [f"{method} /{path if slash else ''} HTTP/1.1".encode("latin-1")]
    lines += [name.encode("latin-1") + b": " + value for name, value in headers if name not in _NOT_FORWARDED]
    if not any(name == "host" for name, _ in headers):
        lines.append(b"host: " + authority.encode("latin-1"))
    return ProxyRequest(host, port, tunnel=False, head=b"\r\n".join([*lines, b"connection: close", b"", b""]))


def split_authority(text: str, *, default: int) -> tuple[str, int]:
    """Return host and port. Raises BadRequest; ``default`` 0: a port must be named."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else default if not port else 0
    if not host or "@" in text or not 0 < number < 65536:
        raise BadRequest(400, "the target names no host and port")
    return host, number


def _field(field: bytes) -> tuple[str, bytes]:
    name, colon, value = field.partition(b":")
    if not colon or name != name.strip() or not name:
        raise BadRequest(400, "a header is no name with a value")
    return name.decode("latin-1").lower(), value.strip()


def _is_right(authorization: bytes, key: bytes) -> bool:
    kind, _, text = authorization.partition(b" ")
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except binascii.Error:
        return False
    return kind.lower() == b"basic" and hmac.compare_digest(user + b":" + password, USER.encode() + b":" + key)
