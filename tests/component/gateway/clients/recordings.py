"""The fake engine's answers to requests with tools, schemas and responses: what a real one sent, see ``record.py``."""

import json
from pathlib import Path
from typing import Any, Final

from tests.component.gateway.clients.cases import CHAT, RESPONSES
from tests.component.gateway.scripted import Exchange, answer, stream

FOLDER: Final = Path(__file__).parent / "recorded"


def case_of(path: str, body: dict[str, Any]) -> str | None:
    """Return which recorded answer fits a request; None for a chat of plain text, and for anything else."""
    if path == RESPONSES:
        kind = body.get("text", {}).get("format", {}).get("type")
        return "response-call" if body.get("tools") else "response-schema" if kind == "json_schema" else "response-text"
    if path != CHAT:
        return None
    if body.get("tools"):
        return _call_of(body)
    return "schema" if body.get("response_format", {}).get("type") == "json_schema" else None


def _call_of(body: dict[str, Any]) -> str:
    choice = body.get("tool_choice", "auto")
    if body["messages"][-1]["role"] == "tool":
        return "after-call"
    return "named-call" if isinstance(choice, dict) else "required-call" if choice == "required" else "call"


async def play(case: str, exchange: Exchange) -> None:
    """Answer as the real engine did."""
    if json.loads(exchange.body).get("stream"):
        events = (FOLDER / f"{case}.sse").read_text(encoding="utf-8").split("\n\n")
        await stream(*[f"{event}\n\n".encode() for event in events if event])(exchange)
    else:
        await answer(200, (FOLDER / f"{case}.json").read_bytes())(exchange)
