"""The adapters against real HTTP servers: what they ask, and what they make of each answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llama_serving.cell.shared.weights_ref import Load
from llama_serving.cell.supervisor import clients
from llama_serving.cell.supervisor.clients import EngineRest, RayRest, StageRest
from llama_serving.cell.supervisor.http_api import state_app
from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.cell.supervisor.ports import StageUnreachableError
from llama_serving.cell.supervisor.verification import EngineError
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState
from llama_serving.config.state import CellState
from tests.unit.cell.fakes import FakeControl, replica
from tests.unit.cell.test_supervisor import Leader
from tests.unit.cell.worlds import OLD

HOST = "127.0.0.1"
TOLD: list[Load] = []
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


def ray(session: aiohttp.ClientSession) -> RayRest:
    return RayRest(session, host=HOST, token=lambda: "secret", tell=TOLD.append)


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


async def test_serve_takes_the_app(server: Server, session: aiohttp.ClientSession) -> None:
    server.answers["PUT", "/api/serve/applications/"] = {}
    assert await ray(session).deploy({"applications": []}, OLD) is True
    assert TOLD[-1] == OLD, "for a replica that Serve starts later"
    assert server.asked[0][3] == {"applications": []}


@pytest.mark.parametrize("status", [400, 401, 500, 503])
async def test_serve_does_not_take_the_app(server: Server, session: aiohttp.ClientSession, status: int) -> None:
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
            app_details("DEPLOY_FAILED", "", deployment="RuntimeError: Failed to create vLLM engine config: heads"),
            True,
            True,
            "RuntimeError: Failed to create vLLM engine config: heads",
        ),
        ({"applications": {}}, False, False, ""),
    ],
)
async def test_serves_word_on_the_app(
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
    assert await EngineRest(session, host=HOST, served_name="llama").state() == state


@pytest.mark.parametrize("answer", [None, {}, web.Response(text="busy"), web.Response(status=500)])
async def test_a_replica_that_does_not(server: Server, session: aiohttp.ClientSession, answer: Any) -> None:
    server.answers["GET", "/llama/state"] = answer
    assert await EngineRest(session, host=HOST, served_name="llama").state() is None


@pytest.mark.parametrize(
    ("answer", "came"),
    [({"choices": [{"text": "!"}]}, True), ({"choices": []}, False), ({}, False), (web.Response(status=500), False)],
)
async def test_the_first_token(server: Server, session: aiohttp.ClientSession, answer: Any, came: bool) -> None:
    server.answers["POST", "/v1/completions"] = answer
    assert await EngineRest(session, host=HOST, served_name="llama").first_token() is came
    assert server.asked[0][3]["max_tokens"] == 1


async def test_a_question_and_its_answer(server: Server, session: aiohttp.ClientSession) -> None:
    server.answers["POST", "/v1/completions"] = {"choices": []}
    engine = EngineRest(session, host=HOST, served_name="llama")
    assert await engine.ask("/v1/completions", {"prompt": "x"}) == {"choices": []}
    server.answers["POST", "/v1/completions"] = web.Response(status=400, text="too long")
    with pytest.raises(EngineError, match="refused /v1/completions with 400: too long"):
        await engine.ask("/v1/completions", {})
    server.answers["POST", "/v1/completions"] = web.Response(text="busy", content_type="application/json")
    with pytest.raises(EngineError, match="did not answer"):
        await engine.ask("/v1/completions", {})


async def test_nobody_listens(server: Server, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT_ENGINE", "PORT_STATE", "PORT_RAY_DASHBOARD"):
        monkeypatch.setattr(names, name, 1)
    engine = EngineRest(session, host=HOST, served_name="llama")
    assert await engine.state() is None
    assert await engine.first_token() is False
    assert await ray(session).nodes(HOST) is None
    assert await ray(session).app() is None
    with pytest.raises(StageUnreachableError, match="connection refused"):
        await StageRest(session).state(HOST)


async def test_another_stage(server: Server, session: aiohttp.ClientSession) -> None:
    state = Leader().supervisor.state()
    server.answers["GET", "/llama/state"] = state.model_dump(mode="json")
    assert await StageRest(session).state("localhost") == (HOST, state)


async def test_a_name_that_does_not_resolve(session: aiohttp.ClientSession) -> None:
    with pytest.raises(StageUnreachableError, match="does not resolve"):
        await StageRest(session).state("stage-0.nowhere.invalid")


async def test_a_stage_that_hangs(
    server: Server, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_QUICK", aiohttp.ClientTimeout(total=0.2))
    server.answers["GET", "/llama/state"] = HANGS
    with pytest.raises(StageUnreachableError, match="no answer in time"):
        await StageRest(session).state(HOST)


async def served(supervisor: Supervisor, path: str, *, method: str = "GET", **request: Any) -> tuple[int, str]:
    runner = web.AppRunner(state_app(supervisor, token=lambda: "secret"))
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        url = f"http://{HOST}:{runner.addresses[0][1]}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, **request) as answer:
            return answer.status, await answer.text()
    finally:
        await runner.cleanup()


ALLOWED = {"Authorization": "Bearer secret"}
WISH = DesiredState(serve=WeightsRef(path="/models/w2", id="w2", served_name="llama"))


async def put(world: Leader, body: str, headers: dict[str, str]) -> tuple[int, str]:
    return await served(world.supervisor, names.ROUTE_DESIRED, method="PUT", data=body, headers=headers)


async def test_a_wish_is_kept_and_shown() -> None:
    world = Leader()
    for _ in range(2):
        assert await put(world, WISH.model_dump_json(), ALLOWED) == (200, json.dumps({"desired": WISH.key}))
    assert (world.control.wish_now, world.supervisor.state().desired) == (WISH, WISH.key)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}])
async def test_a_wish_needs_the_groups_token(headers: dict[str, str]) -> None:
    world = Leader()
    status, said = await put(world, WISH.model_dump_json(), headers)
    assert (status, "bearer token" in said, world.control.wish_now) == (401, True, None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "the desired state is not valid: the body is not valid JSON"),
        ("{}", "the desired state is not valid: serve is missing"),
        (
            '{"serve": {"path": "/m", "id": "w", "served_name": 3}}',
            "serve.served_name has another type",
        ),
        ('{"serve": {"path": "/m", "id": "w", "served_name": "x", "more": 1}}', "serve.more is not a known field"),
    ],
)
async def test_a_wish_that_is_none_is_refused_with_the_field(body: str, words: str) -> None:
    world = Leader(control=FakeControl(WISH))
    status, said = await put(world, body, ALLOWED)
    assert (status, world.control.wish_now) == (400, WISH)
    assert words in json.loads(said)["message"]


async def test_a_wish_that_cannot_be_kept_does_not_hold() -> None:
    world = Leader(control=FakeControl(full=True))
    status, said = await put(world, WISH.model_dump_json(), ALLOWED)
    assert (status, json.loads(said)["message"]) == (
        507,
        "the desired state cannot be stored in /run/llama: disk full",
    )


async def test_the_supervisors_routes() -> None:
    world = Leader()
    assert (await served(world.supervisor, names.ROUTE_READY))[0] == 503
    assert (await served(world.supervisor, names.ROUTE_LIVE))[0] == 200
    await world.serving()
    assert (await served(world.supervisor, names.ROUTE_READY))[0] == 200
    status, body = await served(world.supervisor, names.ROUTE_STATE)
    assert (status, CellState.model_validate_json(body)) == (200, world.supervisor.state())
    world.clock.now += 1000
    assert (await served(world.supervisor, names.ROUTE_LIVE))[0] == 503
