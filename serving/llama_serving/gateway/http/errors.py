"""The gateway's own errors, in the shape that OpenAI's clients expect."""

import json

from aiohttp import web


def error_kind(status: int) -> str:
    """Return OpenAI's ``type`` of an error with this status."""
    return "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"


def error_body(message: str, *, kind: str, code: str, param: str | None = None) -> bytes:
    """Return the JSON of an error; ``kind`` is OpenAI's ``type``, ``param`` what of the request was wrong."""
    wrong = {} if param is None else {"param": param}
    return json.dumps({"error": {"message": message, "type": kind, **wrong, "code": code}}).encode()


def error_event(message: str, *, code: str) -> bytes:
    """Return the server-sent event that ends a broken stream."""
    return b"data: " + error_body(message, kind="server_error", code=code) + b"\n\n"


def error_response(
    status: int, message: str, *, code: str, retry_after: int | None = None, param: str | None = None
) -> web.Response:
    """Return an error of the gateway itself; ``param`` is what of the request was wrong."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    body = error_body(message, kind=error_kind(status), code=code, param=param)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
