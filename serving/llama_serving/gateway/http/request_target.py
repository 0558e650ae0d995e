"""Which paths the gateway serves."""

from typing import Final
from urllib.parse import unquote

from aiohttp import web

PREFIX: Final = "/v1/"


def raw_target(request: web.BaseRequest) -> str:
    """Return path and query as received, without what stands before the path in absolute form."""
    target = request.raw_path
    return target if target.startswith("/") else request.rel_url.raw_path_qs


def raw_path(request: web.BaseRequest) -> str:
    """Return the path as received."""
    return raw_target(request).partition("?")[0]


def request_target(request: web.BaseRequest) -> str | None:
    """Return path and query as received, or None when the path is not below the prefix."""
    target = raw_target(request)
    path = target.partition("?")[0]
    # An engine that resolves dot segments would leave the prefix.
    if not path.startswith(PREFIX) or any(part in (".", "..") for part in unquote(path).split("/")):
        return None
    return target
