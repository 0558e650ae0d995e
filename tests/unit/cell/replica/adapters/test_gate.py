"""Which adapter answers a request: chosen once behind the request gate, named in the answer, or refused uncomputed."""

import json
from typing import Any

import pytest

from llama_serving.cell.replica.adapters.gate import AdapterGate
from llama_serving.cell.replica.adapters.table import CHOSEN, Adapters
from llama_serving.cell.shared.adapters.engine_adapter import AdapterTable, EngineAdapter
from llama_serving.config import names

OLD = EngineAdapter(name="a", digest="sha256:1111111111111111", id="a@1")
NEW = EngineAdapter(name="a", digest="sha256:2222222222222222", id="a@2")


class Engine:
    async def load_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()

    async def unload_adapter(self, _: EngineAdapter) -> tuple[()]:
        return ()


class World:
    """A replica that serves OLD as ``a`` and has NEW loaded; ``b`` exists and is not here."""

    def __init__(self) -> None:
        self.adapters = Adapters(Engine(), base_name="llama", base="base", capacity=3, tensor=1)
        self.seen: list[tuple[Any, bytes, tuple[int, ...]]] = []
        self.gate = AdapterGate(self.app, adapters=self.adapters, is_supervisor=lambda header: header == b"ours")

    async def start(self) -> "World":
        await self.adapters.load(OLD)
        await self.adapters.load(NEW)
        self.serve(OLD)
        return self

    def serve(self, adapter: EngineAdapter) -> None:
        self.adapters.hold_table(AdapterTable(known=("a", "b"), served=(adapter,), base="base"))

    @property
    def in_flight(self) -> tuple[int, ...]:
        return tuple(loaded.in_flight for loaded in self.adapters.loaded)

    async def app(self, _scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"] if receive is not None else b""
        self.seen.append((CHOSEN.get(), body, self.in_flight))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"said"})

    async def ask(self, body: Any, *, method: str = "POST", path: str = "/v1/completions", **headers: str) -> list[Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        parts = [content[: len(content) // 2], content[len(content) // 2 :]]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self.gate({"type": "http", "method": method, "path": path, "headers": named}, receive, send)
        return sent


async def test_a_request_is_answered_by_what_its_name_means_and_the_answer_says_so() -> None:
    world = await World().start()
    body = {"model": "a", "prompt": "Who?"}
    start = (await world.ask(body))[0]
    assert (start["status"], start["headers"]) == (200, [(names.HEADER_ADAPTER.encode(), b"a@1")])
    assert world.seen == [(("a", OLD), json.dumps(body).encode(), (1, 0))]
    assert (world.in_flight, CHOSEN.get()) == ((0, 0), None)
    world.serve(NEW)
    assert (await world.ask(body, x_llama_adapter="a@2"))[0]["headers"] == [(names.HEADER_ADAPTER.encode(), b"a@2")]


@pytest.mark.parametrize(
    ("model", "expected", "status", "code"),
    [
        ("a", "a@2", 409, names.CODE_ADAPTER_ABSENT),  # it changed between routing and arrival
        ("b", "", 409, names.CODE_ADAPTER_ABSENT),
        ("b", "b@1", 409, names.CODE_ADAPTER_ABSENT),
        ("llama", "a@1", 409, names.CODE_ADAPTER_ABSENT),
        ("gone", "gone@1", 409, names.CODE_ADAPTER_ABSENT),
        ("gone", "", 404, names.CODE_MODEL_NOT_FOUND),
        (OLD.internal_name, "", 404, names.CODE_MODEL_NOT_FOUND),
    ],
)
async def test_what_cannot_be_answered_as_asked_is_refused_uncomputed(
    *, model: str, expected: str, status: int, code: str
) -> None:
    world = await World().start()
    start, end = await world.ask({"model": model}, **({"x_llama_adapter": expected} if expected else {}))
    error = json.loads(end["body"])["error"]
    assert (start["status"], error["code"], error["param"]) == (status, code, "model")
    assert world.seen == []


@pytest.mark.parametrize("body", [{"model": "llama"}, {"prompt": "x"}, b"no json", b"[]", {"model": 7}, b"\xff"])
async def test_whatever_names_no_adapter_goes_on_as_it_came(body: Any) -> None:
    world = await World().start()
    assert (await world.ask(body))[0]["headers"] == []
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert world.seen == [(None, content, (0, 0))]


async def test_the_supervisor_asks_an_adapter_that_does_not_serve_yet() -> None:
    world = await World().start()
    await world.ask({"model": NEW.internal_name}, authorization="ours")
    assert world.seen[0][0] == (NEW.internal_name, NEW)


async def test_other_routes_are_left_alone() -> None:
    world = await World().start()
    await world.ask({"model": "gone"}, path="/llama/adapters/load")
    await world.ask({"model": "gone"}, method="GET", path="/v1/models")
    assert [seen[0] for seen in world.seen] == [None, None]


async def test_an_answer_that_breaks_is_counted_as_ended() -> None:
    world = await World().start()

    async def breaks(*_: Any) -> None:
        raise ConnectionResetError

    world.gate = AdapterGate(breaks, adapters=world.adapters, is_supervisor=lambda _: False)
    with pytest.raises(ConnectionResetError):
        await world.ask({"model": "a"})
    assert world.in_flight == (0, 0)
