"""Closes a client's connection so that the client sees an incomplete answer."""

import socket
import struct
from typing import Final

from aiohttp import web

_RESET: Final = struct.pack("ii", 1, 0)


def disconnect(request: web.BaseRequest, *, abort: bool) -> web.StreamResponse:
    """Close the client's connection without the end of the body; return what the server wants returned.

    ``abort``: by a reset, for a client that does not read and for HTTP/1.0, where the end of the connection is the
    end of the body.
    """
    transport = request.transport
    if transport is not None and abort:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
