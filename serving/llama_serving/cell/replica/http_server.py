"""The engine's port: an HTTP server of the replica's own, on the pod's address.

Neither Serve's proxy (a second process and a second hop) nor its direct ingress (the port of a replica that died is not
free for its successor, see docs/explanation/decisions/0005-engine-port.md).
"""

import asyncio
import errno
import logging
import socket
import time
from typing import Final

import uvicorn
from fastapi import FastAPI

logger = logging.getLogger("ray.serve")

_BIND_SECONDS: Final = 20.0  # a replica that is being replaced may hold the port this long
_KEEP_ALIVE: Final = 90  # seconds; longer than a gateway keeps an idle connection, so that the gateway closes first


async def serve_forever(app: FastAPI, sock: socket.socket) -> None:
    """Answer requests on a bound socket until the process ends.

    Raises:
        RuntimeError: the server has ended, which it never should.
    """
    # uvicorn's access log would have a line for each request of the supervisor, two a second.
    config = uvicorn.Config(app, access_log=False, log_config=None, timeout_keep_alive=_KEEP_ALIVE)
    await uvicorn.Server(config).serve(sockets=[sock])
    raise RuntimeError("the engine's HTTP server has ended")


async def bind(host: str, *, port: int) -> socket.socket:
    """Return a socket bound to the address, once no predecessor holds it any more.

    Raises:
        OSError: the address is not this pod's, or is still held after ``_BIND_SECONDS``.
    """
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            logger.info("waiting for port %d of %s, which is still in use", port, host)
            await asyncio.sleep(0.2)
        else:
            return sock
