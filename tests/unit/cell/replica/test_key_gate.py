"""The first thing that a request to an engine meets."""

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.replica.key_gate import EngineKeyMiddleware
from llama_serving.common.engine_key import EngineKey

KEY = (b"x-llama-engine-key", b"abc123")
TOKEN = (b"authorization", b"Bearer group")


async def ask(
    path: Path, *headers: tuple[bytes, bytes], kind: str = "http"
) -> tuple[bool, list[MutableMapping[str, Any]]]:
    """Whether the app was reached, and what was sent."""
    reached, sent = False, list[MutableMapping[str, Any]]()

    async def app(*_: object) -> None:
        nonlocal reached
        reached = True

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("a refused request is not read")

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    gate = EngineKeyMiddleware(app, key=EngineKey(path), is_supervisor=lambda given: given == b"Bearer group")
    await gate({"type": kind, "path": "/v1/models", "headers": list(headers)}, receive, send)
    return reached, sent


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("abc123")
    return path


async def test_the_key_and_the_token_of_the_group_pass(key: Path, tmp_path: Path) -> None:
    for header in (KEY, TOKEN):
        assert await ask(key, header) == (True, [])
    assert await ask(tmp_path / "none") == (True, [])
    assert await ask(key, kind="lifespan") == (True, [])


@pytest.mark.parametrize(
    "header", [(b"x", b"y"), (KEY[0], b"abc"), (b"authorization", b"Bearer abc123"), (KEY[0], b"")]
)
async def test_whoever_has_neither_is_refused_in_the_shape_of_openai(key: Path, header: tuple[bytes, bytes]) -> None:
    reached, (head, body) = await ask(key, header)
    assert not reached
    assert head["status"] == 401
    error = json.loads(body["body"])["error"]
    assert error["code"] == "engine_key_missing"
    assert "abc123" not in str(body)


async def test_a_socket_without_the_key_is_closed(key: Path) -> None:
    assert await ask(key, kind="websocket") == (False, [{"type": "websocket.close", "code": 1008}])
