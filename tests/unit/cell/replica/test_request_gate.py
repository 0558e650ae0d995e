"""The request gate: what is counted, what waits, what is rejected, and which weights an answer names."""

import asyncio
from typing import Any

import pytest

from llama_serving.cell.replica.request_gate import RequestGate, RequestGateMiddleware

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


class App:
    """An ASGI app whose answer ends when a test says so."""

    def __init__(self, *, fails: bool = False, status: int = 200) -> None:
        self.fails = fails
        self.status = status
        self.goes_on = asyncio.Event()
        self.called = 0

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.called += 1
        await send({**START, "status": self.status})
        await self.goes_on.wait()
        if self.fails:
            raise ConnectionResetError


async def nothing() -> Any: ...


def begin(app: Any, gate: RequestGate, *, path: str = "/v1/completions", kind: str = "http") -> tuple[Any, list[Any]]:
    """A request that runs, and what was sent to its client."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    return asyncio.create_task(RequestGateMiddleware(app, gate=gate)({"type": kind, "path": path}, nothing, send)), sent


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "kind", "counted"),
    [
        ("/v1/chat/completions", "http", 1),
        ("/v1/models", "http", 1),
        ("/generative_scoring", "http", 1),
        ("/tokenize", "http", 1),
        ("/llama/state", "http", 0),
        ("/health", "http", 0),
        ("/v1/completions", "lifespan", 0),
    ],
)
async def test_requests_of_users_are_counted(path: str, kind: str, counted: int) -> None:
    app, gate = App(), RequestGate("w1")
    task, sent = begin(app, gate, path=path, kind=kind)
    await settle()
    assert gate.in_flight == counted
    app.goes_on.set()
    await task
    assert gate.in_flight == 0
    named = (b"x-llama-weights", b"w1") in sent[0]["headers"]
    assert named is bool(counted)


async def test_a_request_that_breaks_is_not_counted_for_ever() -> None:
    app, gate = App(fails=True), RequestGate("w1")
    task, _ = begin(app, gate)
    await settle()
    app.goes_on.set()
    with pytest.raises(ConnectionResetError):
        await task
    assert gate.in_flight == 0
    await asyncio.wait_for(gate.wait_until_empty(), 1)


async def test_a_request_at_a_closed_gate_waits_and_is_answered_by_the_new_weights() -> None:
    app, gate = App(), RequestGate("w1")
    inside, before = begin(app, gate)
    await settle()
    gate.close()
    outside, after = begin(app, gate)
    await settle()
    assert (app.called, gate.waiting, gate.admitted) == (1, 1, 1)
    emptied = asyncio.create_task(gate.wait_until_empty())
    await settle()
    assert not emptied.done(), "an answer is still being written"
    app.goes_on.set()
    await asyncio.wait_for(emptied, 1)
    assert app.called == 1
    gate.open("w2")
    await asyncio.gather(inside, outside)
    assert (b"x-llama-weights", b"w1") in before[0]["headers"]
    assert (b"x-llama-weights", b"w2") in after[0]["headers"]


async def test_a_gate_that_is_closed_again_before_a_request_was_admitted_holds_it() -> None:
    app, gate = App(), RequestGate("w1")
    gate.close()
    task, _ = begin(app, gate)
    await settle()
    gate.open("w2")
    gate.close()
    await settle()
    assert (app.called, gate.waiting) == (0, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert gate.in_flight == 0


async def test_a_gate_rejects_every_request_until_it_opens() -> None:
    app, gate = App(), RequestGate("w1")
    gate.close()
    waits, sent = begin(app, gate)
    await settle()
    gate.reject()
    await waits
    late, sent_late = begin(app, gate)
    await late
    assert [messages[0]["status"] for messages in (sent, sent_late)] == [503, 503]
    assert (app.called, gate.in_flight) == (0, 0)
    gate.close()
    gate.open("w1")
    task, sent_then = begin(app, gate)
    app.goes_on.set()
    await task
    assert sent_then[0]["status"] == 200


@pytest.mark.parametrize(
    ("status", "died", "sent_status"), [(500, True, 503), (500, False, 500), (200, True, 200), (400, True, 400)]
)
async def test_what_a_dead_engine_fails_is_not_the_requests_fault(status: int, died: bool, sent_status: int) -> None:
    app, gate = App(status=status), RequestGate("w1", engine_died=lambda: died)
    app.goes_on.set()
    task, sent = begin(app, gate)
    await task
    assert sent[0]["status"] == sent_status
