"""The way out, with real signals to a real process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from llama_serving.config.gateway import GatewayConfig, GatewayLoad
from tests.component.gateway.apiserver import ApiServer, pod, running
from tests.component.gateway.running import CHAT, until
from tests.component.gateway.scripted import OK_BODY, Exchange, Script, Upstream, answer, upstreams


@dataclass
class Process:
    """A gateway of its own, found through the ports that it logs."""

    process: asyncio.subprocess.Process
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{CHAT}"

    def term(self) -> None:
        os.kill(self.process.pid, signal.SIGTERM)

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def status(self, session: aiohttp.ClientSession, path: str) -> int:
        async with session.get(f"http://127.0.0.1:{self.admin_port}{path}") as response:
            return response.status


@asynccontextmanager
async def process(
    upstream: Upstream, folder: Path, *, kubeconfig: Path | None = None, **config: Any
) -> AsyncIterator[Process]:
    """Run a gateway that knows ``upstream``, or what the API server of ``kubeconfig`` tells it."""
    path = folder / "gateway.json"
    path.write_text(GatewayConfig.model_validate({"deployment": "d", "namespace": "n", **config}).model_dump_json())
    arguments = ["--config", str(path), "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    if kubeconfig is None:
        arguments += ["--static", f"a=http://127.0.0.1:{upstream.port}"]
    else:
        environment["KUBECONFIG"] = str(kubeconfig)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llama_serving.gateway", *arguments, stderr=asyncio.subprocess.PIPE, env=environment
    )
    assert child.stderr is not None
    logged: list[str] = []
    try:
        async with asyncio.timeout(20):
            while "gateway started" not in (logged[-1] if logged else ""):
                logged.append((await child.stderr.readline()).decode())
                assert logged[-1], f"the gateway ended: {logged}"
        line = json.loads(logged[-1])
        reader = asyncio.create_task(child.stderr.read())
        yield Process(child, line["port"], line["admin_port"])
        reader.cancel()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


def when(event: asyncio.Event) -> Script:
    async def script(exchange: Exchange) -> None:
        await event.wait()
        await answer()(exchange)

    return script


async def request(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes, str]:
    async with session.post(url, data=b"{}") as response:
        return response.status, await response.read(), response.headers.get("connection", "")


async def test_an_idle_gateway_ends_with_0(tmp_path: Path) -> None:
    upstream = Upstream()
    async with upstreams(upstream), process(upstream, tmp_path, lame_duck=0) as gateway:
        gateway.term()
        assert await gateway.ended() == 0


async def test_it_accepts_during_the_lame_duck_time_and_closes_connections_politely(tmp_path: Path) -> None:
    upstream = Upstream()
    async with upstreams(upstream), process(upstream, tmp_path, lame_duck=1) as gateway:
        async with aiohttp.ClientSession() as session:
            assert await request(session, gateway.url) == (200, OK_BODY, "")
            assert await gateway.status(session, "/ready") == 200
            gateway.term()

            async def is_red() -> bool:
                return await gateway.status(session, "/ready") == 503

            await until(is_red)
            assert await gateway.status(session, "/live") == 200
            assert await request(session, gateway.url) == (200, OK_BODY, "close")
        async with aiohttp.ClientSession() as another:
            assert await request(another, gateway.url) == (200, OK_BODY, "close")
        assert await gateway.ended() == 0


async def test_what_is_in_flight_and_what_waits_is_finished_and_nothing_new_accepted(tmp_path: Path) -> None:
    release = asyncio.Event()
    upstream = Upstream(then=when(release))
    settings: dict[str, Any] = {"lame_duck": 0, "max_in_flight_per_group": 1}
    async with upstreams(upstream), process(upstream, tmp_path, **settings) as gateway:
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(request(session, gateway.url)) for _ in range(3)]
            await until(lambda: upstream.seen)
            gateway.term()

            async def refuses() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:  # it was about to be accepted when the listener closed
                    return False
                writer.close()
                return False

            await until(refuses)
            assert gateway.process.returncode is None
            release.set()
            assert await asyncio.gather(*tasks) == [(200, OK_BODY, "close")] * 3
        assert await gateway.ended() == 0


async def test_the_drain_has_an_end(tmp_path: Path) -> None:
    upstream = Upstream(then=when(asyncio.Event()))
    settings: dict[str, Any] = {"lame_duck": 0, "drain": 0.3, "max_in_flight_per_group": 1}
    async with upstreams(upstream), process(upstream, tmp_path, **settings) as gateway:
        async with aiohttp.ClientSession() as session:
            tasks = [asyncio.create_task(request(session, gateway.url)) for _ in range(2)]
            await until(lambda: upstream.seen)
            gateway.term()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert await gateway.ended() == 0
    in_flight, waiting = sorted(results, key=lambda result: isinstance(result, tuple))
    assert isinstance(in_flight, aiohttp.ClientError)
    assert isinstance(waiting, tuple)
    assert (waiting[0], json.loads(waiting[1])["error"]["code"]) == (503, "no_group")


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    upstream = Upstream(then=when(asyncio.Event()))
    async with (
        upstreams(upstream),
        process(upstream, tmp_path, lame_duck=60, drain=600) as gateway,
        aiohttp.ClientSession() as session,
    ):
        task = asyncio.create_task(request(session, gateway.url))
        await until(lambda: upstream.seen)
        gateway.term()

        async def is_red() -> bool:
            return await gateway.status(session, "/ready") == 503

        await until(is_red)
        gateway.term()
        assert await gateway.ended() == 0
        assert isinstance(await asyncio.gather(task, return_exceptions=True), list)


async def test_a_restart_of_one_of_two_loses_no_request(tmp_path: Path) -> None:
    """Clients behind a Service: new connections go to a replica that accepts, kept ones stay where they are."""
    upstream = Upstream()
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    failed: list[object] = []
    done = 0
    async with (
        upstreams(upstream),
        process(upstream, folders[0], lame_duck=1) as one,
        process(upstream, folders[1]) as two,
    ):
        endpoints = [one, two]
        stop = asyncio.Event()

        async def client(number: int) -> None:
            nonlocal done
            async with aiohttp.ClientSession() as session:
                while not stop.is_set():
                    # What kube-proxy does: a connection that exists is kept, a new one goes to an endpoint.
                    url = endpoints[number % len(endpoints)].url
                    try:
                        status, _, _ = await request(session, url)
                        failed.extend([status] if status != 200 else [])
                    except aiohttp.ClientError as error:
                        failed.append(error)
                    done += 1

        clients = [asyncio.create_task(client(number)) for number in range(8)]
        await until(lambda: done > 50)
        one.term()
        await until(lambda: done > 150)
        endpoints.remove(one)  # the endpoint goes some time after the signal
        assert await one.ended() == 0
        await until(lambda: done > 300)
        stop.set()
        await asyncio.gather(*clients)
    assert failed == []


async def test_it_learns_its_groups_from_the_api_server_and_keeps_them_when_that_goes(tmp_path: Path) -> None:
    server = ApiServer()
    kubeconfig = tmp_path / "kubeconfig"
    async with running(server), aiohttp.ClientSession() as session:
        context_length = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        clusters = [{"name": "c", "cluster": {"server": server.url}}]
        users = [{"name": "c", "user": {"token": "t"}}]
        kubeconfig.write_text(
            json.dumps({"current-context": "c", "contexts": [context_length], "clusters": clusters, "users": users})
        )
        async with process(Upstream(), tmp_path, kubeconfig=kubeconfig, lame_duck=0) as gateway:

            async def groups() -> list[tuple[str, int, bool]]:
                async with session.get(f"http://127.0.0.1:{gateway.admin_port}/load") as response:
                    load = GatewayLoad.model_validate_json(await response.read())
                return [(group.name, group.group, group.ready) for group in load.groups]

            async def is_known() -> bool:
                return await groups() == [("leader", 6, True)]

            await until(lambda: server.watches)
            assert await gateway.status(session, "/ready") == 200
            await server.event("ADDED", pod("leader", group="6"))
            await until(is_known)
            server.refuse_list = server.refuse_watch = 503
            asked = len(server.requests)
            server.watches[0].end(abort=True)
            await until(lambda: len(server.requests) > asked)
            assert await groups() == [("leader", 6, True)]
            gateway.term()
            assert await gateway.ended() == 0


async def test_a_config_that_cannot_be_read_ends_with_2(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llama_serving.gateway",
        "--config",
        str(tmp_path / "missing.json"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await child.communicate()
    assert child.returncode == 2
    assert b"missing.json" in errors
