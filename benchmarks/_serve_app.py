"""Ray Serve with the answers of ``_upstream`` as its app; runs in the serving environment.

``python -m benchmarks._serve_app PORT`` starts a Ray of its own on this machine, prints the process id of Serve's HTTP
proxy and serves until its input ends.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from ray import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks._own_serve import own_serve
from benchmarks._upstream import ANSWER, DONE, EVENT, EVENTS, PACE, PATH_ANSWER, PATH_STREAM


async def whole(_: Request) -> Response:
    """Answer at once."""
    return Response(ANSWER, media_type="application/json")


async def stream(_: Request) -> Response:
    """Answer in paced events."""
    return StreamingResponse(_events(), media_type="text/event-stream")


async def _events() -> AsyncIterator[bytes]:
    for _ in range(EVENTS):
        yield EVENT
        await asyncio.sleep(PACE)
    yield DONE


class Answers:
    """One replica whose own ASGI app answers, as in a cell."""


def _proxy_pid() -> int:
    """Return the process of Serve's HTTP proxy: its title is its actor's class, this process its ancestor."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _title(int(entry.name)).startswith("ray::ProxyActor"):
            ancestor = int(entry.name)
            while ancestor > 1 and ancestor != os.getpid():
                ancestor = _parent(ancestor)
            if ancestor == os.getpid():
                return int(entry.name)
    raise RuntimeError("no process of Serve's HTTP proxy was found")


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # it ended
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def main(port: int) -> None:
    """Serve until the input ends."""
    with own_serve(port, slots=2):
        routes = [Route(PATH_ANSWER, whole, methods=["POST"]), Route(PATH_STREAM, stream, methods=["POST"])]
        app = serve.ingress(Starlette(routes=routes))(Answers)
        serve.run(serve.deployment(max_ongoing_requests=1000)(app).bind(), route_prefix="/")
        print(_proxy_pid(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
