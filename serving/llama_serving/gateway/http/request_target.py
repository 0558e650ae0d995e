"""Which paths the gateway serves."""

from typing import Final
from urllib.parse import unquote

from aiohttp import web

PREFIX: Final = "/v1/"


def request_target(request: web.BaseRequest) -> str | None:
    """Return path and query as received, or None when the path is not below the prefix."""
    target = request.raw_path
    if not target.startswith("/"):
        target = request.rel_url.raw_path_qs
    path = target.partition("?")[0]
    # An engine that resolves dot segments would leave the prefix.
    if not path.startswith(PREFIX) or any(part in (".", "..") for part in unquote(path).split("/")):
        return None
    return target
