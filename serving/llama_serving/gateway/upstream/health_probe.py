"""Probes groups that failed, so that no real request has to find out whether they work again.

The same timer lets groups be asked again for an adapter that they had not.

A probe takes the path of a request (same port, same server in front of the engine) and is cheap. Only 200 is good: a
server without its app answers 404.
"""

import asyncio
from collections.abc import Callable

from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.routing.backend import Backend
from llama_serving.gateway.routing.retry_policy import FaultKind
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.upstream.connection import AttemptError, ConnectionPool, no_credential
from llama_serving.gateway.upstream.exchange import Call, attempt

PATH = "/v1/models"
TIMEOUT = 2.0

_CALL = Call(
    head=f"GET {PATH} HTTP/1.1\r\nhost: llama-gateway\r\nuser-agent: llama-gateway-probe\r\n\r\n".encode(),
    body=b"",
    expects_body=True,
    first_byte_timeout=TIMEOUT,
)


class Prober:
    """Runs the probes that are due."""

    def __init__(self, dispatcher: Dispatcher, *, credential: Callable[[], bytes] = no_credential) -> None:
        self._credential = credential
        self._dispatcher = dispatcher
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        try:
            while True:
                self._dispatcher.probe_wanted.clear()
                self._dispatcher.recheck()
                for backend, token in self._dispatcher.router.due_probes(self._dispatcher.clock()):
                    task = asyncio.create_task(self._probe(backend, token))
                    self._running.add(task)
                    task.add_done_callback(self._ended)
                await self._until_next()
        finally:
            for task in self._running:
                task.cancel()

    async def _until_next(self) -> None:
        router = self._dispatcher.router
        at = min((at for at in (router.next_probe(), router.next_recheck()) if at is not None), default=None)
        pause = None if at is None else max(at - self._dispatcher.clock(), 0.0)
        try:
            async with asyncio.timeout(pause):
                await self._dispatcher.probe_wanted.wait()
        except TimeoutError:
            return

    async def _probe(self, backend: Backend, token: int) -> None:
        endpoint = backend.endpoint
        pool = ConnectionPool(
            endpoint.host,
            endpoint.port,
            connect_timeout=TIMEOUT,
            clock=self._dispatcher.clock,
            credential=self._credential,
        )
        good: bool | None = None
        try:
            good, answer = await probe(pool)
        finally:
            self._dispatcher.probed(backend, token=token, good=good)
            self._dispatcher.probe_wanted.set()
        LOGGER.info("probed", extra=fields(group=backend.endpoint.name, answer=answer, ejected=backend.health.ejected))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A bug in the probe: without this line it would end silently.
            LOGGER.error("probe crashed", exc_info=task.exception())


async def probe(pool: ConnectionPool) -> tuple[bool | None, str]:
    """Return whether the engine works, None where nobody knows, and its status or what went wrong.

    ``pool`` without connections makes a new one.
    """
    try:
        reply = await attempt(pool, _CALL)
    except AttemptError as error:
        return None if error.fault.kind is FaultKind.LOCAL else False, error.fault.detail
    reply.connection.abort()
    return reply.message.code == 200, str(reply.message.code)
