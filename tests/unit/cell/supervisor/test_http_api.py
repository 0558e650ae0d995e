"""The routes of a supervisor, over HTTP: probes, state, and the desired state that the operator puts."""

import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from llama_serving.cell.shared.engine_metrics import EngineReading, WatchReading
from llama_serving.cell.supervisor.http_api import metrics_app, state_app
from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.config import names
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState
from llama_serving.config.state import CellState
from tests.unit.cell.fakes import FakeControl
from tests.unit.cell.supervisors import Leader

HOST = "127.0.0.1"


async def served(supervisor: Supervisor, path: str, *, method: str = "GET", **request: Any) -> tuple[int, str]:
    return await asked(state_app(supervisor, token=lambda: "secret"), path, method=method, **request)


async def asked(app: web.Application, path: str, *, method: str = "GET", **request: Any) -> tuple[int, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        url = f"http://{HOST}:{runner.addresses[0][1]}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, **request) as answer:
            return answer.status, await answer.text()
    finally:
        await runner.cleanup()


ALLOWED = {"Authorization": "Bearer secret"}
DESIRED = DesiredState(serve=WeightsRef(path="/models/w2", id="w2", served_name="llama"))


async def put(world: Leader, body: str, headers: dict[str, str]) -> tuple[int, str]:
    return await served(world.supervisor, names.ROUTE_DESIRED, method="PUT", data=body, headers=headers)


async def test_a_desired_state_is_stored_and_shown() -> None:
    world = Leader()
    for _ in range(2):
        assert await put(world, DESIRED.model_dump_json(), ALLOWED) == (200, json.dumps({"desired": DESIRED.key}))
    assert (world.control.desired_now, world.supervisor.state().desired) == (DESIRED, DESIRED.key)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer other"}, {"Authorization": "secret"}])
async def test_a_desired_state_needs_the_groups_token(headers: dict[str, str]) -> None:
    world = Leader()
    status, said = await put(world, DESIRED.model_dump_json(), headers)
    assert (status, "bearer token" in said, world.control.desired_now) == (401, True, None)


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
async def test_a_desired_state_that_is_not_valid_is_refused_with_the_field(body: str, words: str) -> None:
    world = Leader(control=FakeControl(DESIRED))
    status, said = await put(world, body, ALLOWED)
    assert (status, world.control.desired_now) == (400, DESIRED)
    assert words in json.loads(said)["message"]


async def test_a_desired_state_that_cannot_be_stored_does_not_hold() -> None:
    world = Leader(control=FakeControl(full=True))
    status, said = await put(world, DESIRED.model_dump_json(), ALLOWED)
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


def nothing_watched() -> WatchReading:
    return WatchReading({}, {})


ENGINE_TEXT = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="llama"} 2.0'


@pytest.mark.parametrize(("text", "up"), [(ENGINE_TEXT, 1), (ENGINE_TEXT + b"\n", 1), (b"", 1), (None, 0)])
async def test_the_metrics_port_shows_the_engines_metrics(text: bytes | None, *, up: int) -> None:
    async def read() -> EngineReading:
        return EngineReading(text)

    status, shown = await asked(metrics_app(read, nothing_watched), names.ROUTE_METRICS)
    samples = {
        sample.name: sample.value for family in text_string_to_metric_families(shown) for sample in family.samples
    }
    expected = {"llama_cell_engine_up": up} | ({"vllm:num_requests_running": 2.0} if text else {})
    assert (status, samples, shown.endswith("\n")) == (200, expected, True)


@pytest.mark.parametrize("path", ["/", names.ROUTE_STATE, names.ROUTE_DESIRED, names.ROUTE_LIVE, "/v1/models"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_the_metrics_port_has_nothing_else(path: str, *, method: str) -> None:
    async def read() -> EngineReading:
        raise AssertionError("nobody asked for metrics")

    status, _ = await asked(metrics_app(read, nothing_watched), path, method=method)
    assert status == 404
