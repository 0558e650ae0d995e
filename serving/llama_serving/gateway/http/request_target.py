"""The path and query of a request, as received."""

from aiohttp import web


def raw_target(request: web.BaseRequest) -> str:
    """Return path and query as received, without what stands before the path in absolute form."""
    target = request.raw_path
    return target if target.startswith("/") else request.rel_url.raw_path_qs


def raw_path(request: web.BaseRequest) -> str:
    """Return the path as received."""
    return raw_target(request).partition("?")[0]
