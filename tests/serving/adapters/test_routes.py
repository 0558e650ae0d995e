"""The routes by which a supervisor tells its replica about adapters: with the group's token, and in bounds."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("fastapi", reason="needs the serving environment")
httpx = pytest.importorskip("httpx", reason="needs the serving environment")

from fastapi import FastAPI  # noqa: E402

from llama_serving.cell.replica.adapters.routes import GroupToken, add_routes  # noqa: E402
from llama_serving.cell.replica.adapters.table import Adapters, Meaning  # noqa: E402
from llama_serving.cell.shared.adapters.engine_adapter import (  # noqa: E402
    ROUTE_ADAPTERS,
    ROUTE_LOAD,
    ROUTE_UNLOAD,
    AdapterTable,
    EngineAdapter,
)

ADAPTER = EngineAdapter(name="a", digest="sha256:" + "1" * 64, id="a@1")
RIGHT = {"authorization": "Bearer secret"}


class Ranks:
    async def load_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()

    async def unload_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()


class World:
    def __init__(self, folder: Path) -> None:
        self.adapters = Adapters(Ranks(), base_name="llama", base="b", capacity=1, tensor=1)
        self.token = folder / "token"
        self.token.write_text("secret\n", encoding="ascii")
        self.app = FastAPI()
        add_routes(self.app, self.adapters, GroupToken(self.token))

    async def send(self, method: str, route: str, body: bytes, *, headers: dict[str, str] | None = None) -> Any:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return await client.request(method, route, content=body, headers=RIGHT if headers is None else headers)


async def test_an_adapter_is_loaded_served_and_unloaded(tmp_path: Path) -> None:
    world, message = World(tmp_path), ADAPTER.model_dump_json().encode()
    assert (await world.send("POST", ROUTE_LOAD, message)).json() == {"error": ""}
    table = AdapterTable(known=("a",), served=(ADAPTER,), base="b")
    assert (await world.send("PUT", ROUTE_ADAPTERS, table.model_dump_json().encode())).status_code == 200
    assert world.adapters.choose("a").meaning is Meaning.ADAPTER
    assert (await world.send("POST", ROUTE_UNLOAD, message)).json() == {"error": "adapter a serves"}
    await world.send("PUT", ROUTE_ADAPTERS, AdapterTable(base="b").model_dump_json().encode())
    assert (await world.send("POST", ROUTE_UNLOAD, message)).json() == {"error": ""}
    assert world.adapters.loaded == ()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer other"}, {"authorization": "secret"}])
async def test_nobody_else_changes_the_engine(tmp_path: Path, headers: dict[str, str]) -> None:
    world = World(tmp_path)
    for method, route in (("POST", ROUTE_LOAD), ("POST", ROUTE_UNLOAD), ("PUT", ROUTE_ADAPTERS)):
        assert (await world.send(method, route, ADAPTER.model_dump_json().encode(), headers=headers)).status_code == 401
    world.token.unlink()
    assert (await world.send("POST", ROUTE_LOAD, ADAPTER.model_dump_json().encode())).status_code == 401
    assert world.adapters.loaded == ()


async def test_a_message_that_is_none_or_too_long_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert (await world.send("POST", ROUTE_LOAD, b'{"name": ""}')).status_code == 400
    assert (await world.send("PUT", ROUTE_ADAPTERS, b" " * (5 << 20))).status_code == 413
