"""A client whose requests are dear to read, beside others: it waits for its turn, and everybody is answered."""

import asyncio
import gc
import json
import ssl
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]  # what is counted
from pathlib import Path

import pytest

from llama_serving.gateway.connections.protocol import BoundedProtocol
from tests.component.gateway.running import CHAT, Gateway, gateway, until
from tests.component.gateway.scripted import OK_BODY, Upstream, upstreams
from tests.component.gateway.tls.certificates import Mounted, make_pair

_DEADLINE_S = 30.0


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def request(framed: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (CHAT.encode(), framed)


async def ask(
    port: int, raw: bytes, *, source: str = "127.0.0.1", times: int = 1, tls: ssl.SSLContext | None = None
) -> list[tuple[int, bytes]]:
    """Send the same request some times on one connection; return statuses and bodies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), ssl=tls)
    got = []
    try:
        async with asyncio.timeout(_DEADLINE_S):
            for _ in range(times):
                writer.write(raw)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                got.append((int(head.split(b" ")[1]), await reader.readexactly(length)))
    finally:
        writer.close()
    return got


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the peers of connections that were read on after they had to wait."""
    peers: list[str] = []
    real = BoundedProtocol.read_on

    def read_on(self: BoundedProtocol) -> None:
        peers.append(self.peer)
        real(self)

    monkeypatch.setattr(BoundedProtocol, "read_on", read_on)
    return peers


async def metric(running: Gateway, name: str) -> float:
    lines = (await running.admin("/metrics")).body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def some_paused(running: Gateway) -> bool:
    return await metric(running, "llama_gateway_connections_paused") > 0


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Return a folder with a certificate, as the kubelet mounts it."""
    mounted = Mounted(tmp_path / "tls")
    certificate, key = make_pair(tmp_path / "pair", "first")
    mounted.put(crt=certificate, key=key)
    return mounted.folder


@pytest.mark.parametrize("encrypted", [False, True])
async def test_who_is_dear_waits_beside_others_and_everybody_is_answered(
    held: list[str], certificates: Path, *, encrypted: bool
) -> None:
    trust = ssl.create_default_context(cafile=str(certificates / "tls.crt"))
    tls = trust if encrypted else None
    upstream = Upstream()
    dear = json.dumps({"model": "m", "messages": ["x" * 40_000]}).encode()
    cheap = b'{"model":"m"}'
    answers: list[tuple[int, bytes]] = []
    ended = asyncio.Event()

    async def client(port: int, body: bytes, source: str) -> None:
        while not ended.is_set():
            answers.extend(await ask(port, request(chunked(body, 60)), source=source, times=10, tls=tls))

    # A loop that is never idle, as far as the gateway can tell.
    async with (
        upstreams(upstream),
        gateway(upstream.endpoint("a"), idle=lambda: 0.0, tls=encrypted, certificates=certificates) as running,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(8):
            tasks.create_task(client(running.port, dear, "127.0.0.2"))
        tasks.create_task(client(running.port, cheap, "127.0.0.3"))
        await until(lambda: held.count("127.0.0.2") > 50, seconds=_DEADLINE_S, shows=lambda: held[-20:])
        assert await metric(running, "llama_gateway_loop_load") > 0.7
        await until(lambda: some_paused(running), seconds=_DEADLINE_S)
        ended.set()
    assert set(answers) == {(200, OK_BODY)}
    assert {seen.body for seen in upstream.seen} == {dear, cheap}


async def test_a_connection_whose_client_leaves_while_it_waits_is_closed(held: list[str]) -> None:
    upstream = Upstream()
    raw = request(chunked(b"x" * 40_000, 60))
    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle=lambda: 0.0) as running:

        async def clients() -> None:
            async with asyncio.TaskGroup() as tasks:
                for source in ("127.0.0.2", "127.0.0.3") * 4:
                    tasks.create_task(ask(running.port, raw, source=source, times=10_000))

        asking = asyncio.create_task(clients())
        await until(lambda: len(held) > 20, seconds=_DEADLINE_S)
        asking.cancel()
        await asyncio.wait([asking])
        await until(lambda: running.server.connections == 0 and running.server.open_requests == 0)
        assert running.server.held_by_connections == 0
        assert await metric(running, "llama_gateway_connections_paused") == 0


async def test_requests_that_wait_to_be_read_are_answered_when_the_gateway_ends(held: list[str]) -> None:
    upstream = Upstream()
    raw = request(chunked(b"x" * 40_000, 60))
    answered: list[tuple[int, bytes]] = []

    async def client(port: int, source: str) -> None:
        while True:
            answered.extend(await ask(port, raw, source=source))

    async with upstreams(upstream), gateway(upstream.endpoint("a"), idle=lambda: 0.0, drain=20) as running:
        asking = [
            asyncio.create_task(client(running.port, source)) for source in ("127.0.0.2", "127.0.0.3") for _ in range(8)
        ]
        await until(lambda: some_paused(running), seconds=_DEADLINE_S)
        running.server.handle_exit()
        done, _ = await asyncio.wait(asking, timeout=_DEADLINE_S)
    assert set(answered) == {(200, OK_BODY)}
    # Whoever had sent a request got its answer; a later connection is refused, or closed before it was read.
    errors = {type(task.exception()).__name__ for task in done}
    assert len(done) == 16
    assert errors <= {"ConnectionRefusedError", "ConnectionResetError", "IncompleteReadError"}
    assert held


async def test_a_loop_with_time_to_spare_holds_nobody(held: list[str]) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        asking = [
            ask(running.port, request(chunked(b"x" * 40_000, 60)), source=f"127.0.0.{n}", times=5) for n in (2, 3)
        ]
        assert [got for answered in await asyncio.gather(*asking) for got in answered] == [(200, OK_BODY)] * 10
    assert held == []


@pytest.mark.parametrize("size", [2, 6, 10])
async def test_a_body_in_very_small_chunks_is_refused_with_the_remedy(size: int) -> None:
    upstream = Upstream()
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        ((status, answered),) = await ask(running.port, request(chunked(b"x" * 600_000, size)))
        error = json.loads(answered)["error"]
        assert (status, error["code"]) == (400, "chunks_too_small")
        assert "send larger chunks" in error["message"]
        assert (await running.request()).status == 200
    assert len(upstream.seen) == 1


@pytest.mark.parametrize(
    ("length", "size"), [(6_000, 2), (20_000, 8), (400_000, 32), (3_000_000, 1000), (9_000_000, 9_000_000)]
)
async def test_a_body_in_usual_chunks_arrives_as_it_is(length: int, size: int) -> None:
    upstream = Upstream()
    body = bytes(range(256)) * (length // 256)
    async with upstreams(upstream), gateway(upstream.endpoint("a")) as running:
        assert await ask(running.port, request(chunked(body, size)), times=2) == [(200, OK_BODY)] * 2
    assert [seen.body == body for seen in upstream.seen] == [True, True]


async def test_connections_and_refused_requests_leave_nothing_to_the_garbage_collector() -> None:
    def left() -> int:
        return sum(isinstance(one, _SelectorSocketTransport) and one.get_protocol() is None for one in gc.get_objects())

    async with gateway() as running:
        raw = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n" + b"X-A: %b\r\n" % (b"a" * 40_000) + b"\r\n"

        async def refused() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(raw)
            answered = await reader.read()
            writer.close()
            return answered

        await refused()
        gc.collect()
        gc.disable()
        try:
            before = left()
            for _ in range(20):
                assert b" 431 " in await refused()
            await until(lambda: running.server.connections == 0)
            # The clients' own ends of the 21 connections stay: asyncio leaves them.
            await until(lambda: left() - before <= 21)
            errors = [one for one in gc.get_objects() if type(one).__name__ in {"HeadRefusedError", "LineTooLong"}]
            assert errors == []
        finally:
            gc.enable()
