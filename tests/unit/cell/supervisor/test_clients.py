"""The adapters against real HTTP servers: what they ask, and what they make of each answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llama_serving.cell.shared.engine_metrics import EngineReading
from llama_serving.cell.supervisor import clients
from llama_serving.cell.supervisor.clients import EngineClient, RayClient, StageClient
from llama_serving.cell.supervisor.ports import StageUnreachableError
from llama_serving.cell.supervisor.verification import EngineError, EngineRefusedError
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from tests.unit.cell.fakes import replica
from tests.unit.cell.supervisors import Leader
from tests.unit.cell.worlds import OLD

HOST = "127.0.0.1"
RECORDED: list[WeightsRef] = []
HANGS = object()
Handler = Callable[[web.Request], Any]


class Server:
    """Routes that a test sets; remembers what was asked. Its port replaces one of the fixed ones."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, dict(request.headers), body))
        answer = self.answers.get((request.method, request.path))
        if answer is HANGS:
            await asyncio.Event().wait()
        if answer is None:
            return web.Response(status=404)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    world = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", world.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    world.port = runner.addresses[0][1]
    for name in ("PORT_ENGINE", "PORT_STATE", "PORT_RAY_DASHBOARD"):
        monkeypatch.setattr(names, name, world.port)
    yield world
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def ray(session: aiohttp.ClientSession) -> RayClient:
    return RayClient(session, host=HOST, token=lambda: "secret", record=RECORDED.append)


def node(name: str, *, stage: str | None, state: str = "ALIVE") -> dict[str, Any]:
    return {"node_id": name, "state": state, "labels": None if stage is None else {"stage": stage}}


def nodes(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"result": {"result": list(listed)}}}


async def test_nodes_that_are_alive_by_stage(server: Server, session: aiohttp.ClientSession) -> None:
    listed = (node("a", stage="0"), node("b", stage="1"), node("c", stage="1", state="DEAD"), node("d", stage=None))
    server.answers["GET", "/api/v0/nodes"] = nodes(*listed)
    assert await ray(session).nodes(HOST) == {"a": 0, "b": 1}
    assert server.asked[0][2]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("answer", [None, {"data": None}, nodes({"node_id": "a"}), web.Response(status=401)])
async def test_a_cluster_that_gives_no_list(server: Server, session: aiohttp.ClientSession, answer: Any) -> None:
    server.answers["GET", "/api/v0/nodes"] = answer
    assert await ray(session).nodes(HOST) is None


async def test_serve_accepts_the_app(server: Server, session: aiohttp.ClientSession) -> None:
    server.answers["PUT", "/api/serve/applications/"] = {}
    assert await ray(session).deploy({"applications": []}, OLD) is True
    assert RECORDED[-1] == OLD, "for a replica that Serve starts later"
    assert server.asked[0][3] == {"applications": []}


@pytest.mark.parametrize("status", [400, 401, 500, 503])
async def test_serve_does_not_accept_the_app(server: Server, session: aiohttp.ClientSession, status: int) -> None:
    server.answers["PUT", "/api/serve/applications/"] = web.Response(status=status, text="no")
    assert await ray(session).deploy({}, OLD) is False


def app_details(status: str, message: str, *, deployment: str = "") -> dict[str, Any]:
    details = {"status": status, "message": message, "deployments": {"cell": {"message": deployment}}}
    return {"applications": {"llama": details}}


@pytest.mark.parametrize(
    ("details", "failed", "refused", "error"),
    [
        (app_details("RUNNING", ""), False, False, ""),
        (app_details("DEPLOYING", ""), False, False, ""),
        (app_details("DEPLOY_FAILED", "", deployment="x\nValueError: no"), True, False, "ValueError: no"),
        (
            app_details("DEPLOY_FAILED", "", deployment="x.ConfigRefusedError: the engine refuses: heads"),
            True,
            True,
            "ConfigRefusedError: the engine refuses: heads",
        ),
        (
            app_details("DEPLOY_FAILED", "", deployment="RuntimeError: Failed to create vLLM engine config: no device"),
            True,
            False,
            "RuntimeError: Failed to create vLLM engine config: no device",
        ),
        ({"applications": {}}, False, False, ""),
    ],
)
async def test_the_status_of_the_app(
    *,
    server: Server,
    session: aiohttp.ClientSession,
    details: dict[str, Any],
    failed: bool,
    refused: bool,
    error: str,
) -> None:
    server.answers["GET", "/api/serve/applications/"] = details
    app = await ray(session).app()
    assert app is not None
    assert (app.failed, app.refused, app.error) == (failed, refused, error)


async def test_a_replica_that_answers(server: Server, session: aiohttp.ClientSession) -> None:
    state = replica(in_flight=4)
    server.answers["GET", "/llama/state"] = state.model_dump()
    assert await EngineClient(session, host=HOST, served_name="llama").state() == state


@pytest.mark.parametrize("answer", [None, {}, web.Response(text="busy"), web.Response(status=500)])
async def test_a_replica_that_does_not(server: Server, session: aiohttp.ClientSession, answer: Any) -> None:
    server.answers["GET", "/llama/state"] = answer
    assert await EngineClient(session, host=HOST, served_name="llama").state() is None


@pytest.mark.parametrize(
    ("answer", "came"),
    [({"choices": [{"text": "!"}]}, True), ({"choices": []}, False), ({}, False), (web.Response(status=500), False)],
)
async def test_the_first_token(*, server: Server, session: aiohttp.ClientSession, answer: Any, came: bool) -> None:
    server.answers["POST", "/v1/completions"] = answer
    assert await EngineClient(session, host=HOST, served_name="llama").first_token() is came
    assert server.asked[0][3]["max_tokens"] == 1


async def test_a_question_and_its_answer(server: Server, session: aiohttp.ClientSession) -> None:
    server.answers["POST", "/v1/completions"] = {"choices": []}
    engine = EngineClient(session, host=HOST, served_name="llama")
    assert await engine.ask("/v1/completions", {"prompt": "x"}) == {"choices": []}
    server.answers["POST", "/v1/completions"] = web.Response(status=400, text="too long")
    with pytest.raises(EngineRefusedError, match="refused /v1/completions with status 400: too long"):
        await engine.ask("/v1/completions", {})
    said = {"error": {"message": '"auto" tool choice requires\n--enable-auto-tool-choice.', "code": 400}}
    server.answers["POST", "/v1/completions"] = web.json_response(said, status=422)
    with pytest.raises(EngineRefusedError, match=r'status 422: "auto" tool choice requires --enable-auto-tool-choice$'):
        await engine.ask("/v1/completions", {})
    server.answers["POST", "/v1/completions"] = web.Response(status=500, text="broken")
    with pytest.raises(EngineError, match="status 500: broken") as raised:
        await engine.ask("/v1/completions", {})
    assert not isinstance(raised.value, EngineRefusedError), "it may answer the next time"
    server.answers["POST", "/v1/completions"] = web.Response(text="busy", content_type="application/json")
    with pytest.raises(EngineError, match="did not answer"):
        await engine.ask("/v1/completions", {})


async def test_the_metrics_of_the_engine(server: Server, session: aiohttp.ClientSession) -> None:
    engine = EngineClient(session, host=HOST, served_name="llama")
    assert await engine.metrics() == EngineReading(None), "404 while the engine starts"
    text = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{} 1.0\n" + "# padding\n" * 100_000
    server.answers["GET", "/metrics"] = web.Response(text=text)
    assert await engine.metrics() == EngineReading(text.encode())


@pytest.mark.usefixtures("server")
async def test_nobody_listens(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT_ENGINE", "PORT_STATE", "PORT_RAY_DASHBOARD"):
        monkeypatch.setattr(names, name, 1)
    engine = EngineClient(session, host=HOST, served_name="llama")
    assert await engine.state() is None
    assert await engine.metrics() == EngineReading(None)
    assert await engine.first_token() is False
    assert await ray(session).nodes(HOST) is None
    assert await ray(session).app() is None
    with pytest.raises(StageUnreachableError, match="connection refused"):
        await StageClient(session).state(HOST)


async def test_another_stage(server: Server, session: aiohttp.ClientSession) -> None:
    state = Leader().supervisor.state()
    server.answers["GET", "/llama/state"] = state.model_dump(mode="json")
    assert await StageClient(session).state("localhost") == (HOST, state)


async def test_a_name_that_does_not_resolve(session: aiohttp.ClientSession) -> None:
    with pytest.raises(StageUnreachableError, match="does not resolve"):
        await StageClient(session).state("stage-0.nowhere.invalid")


async def test_a_stage_that_hangs(
    server: Server, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_QUICK", aiohttp.ClientTimeout(total=0.2))
    server.answers["GET", "/llama/state"] = HANGS
    with pytest.raises(StageUnreachableError, match="no answer in time"):
        await StageClient(session).state(HOST)
