"""What prompts of 120,000 tokens cost the gateway's memory: ``python -m benchmarks.long_context``.

One gateway process, one engine that this process plays. So many requests are sent at once, and the gateway's resident
memory is read while none is answered (bodies are held), while all streams run (their events are recorded, so that
another group could continue them), and after their end.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

IDS: Final = [1000 + 997 * number % 127_000 for number in range(120_000)]
WORDS: Final = "ein Satz auf Deutsch, " * 21_900
BODIES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "token ids": ("/v1/completions", {"stream": True, "prompt": IDS, "max_tokens": 8}),
    "text": ("/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": WORDS}]}),
}
_BASE: Final = {"id": "x", "created": 1, "model": "llama"}
_RESIDENT: Final = re.compile(r"^process_resident_memory_bytes (\S+)", re.MULTILINE)
_SECONDS: Final = 600.0  # of a busy machine


@dataclass
class Engine:
    """Answers when told; ``arrived`` counts requests."""

    arrived: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request with the ids of its prompt, and end when told."""
        await request.read()
        self.arrived += 1
        await self.answers.wait()
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-llama-weights": "w"})
        await response.prepare(request)
        await response.write(
            _event({"prompt_token_ids": IDS, "token_ids": [7], "text": "a", "delta": {"content": "a"}})
        )
        await self.ends.wait()
        await response.write(b"data: [DONE]\n\n")
        return response


async def _models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})  # a gateway probes a group with it


def _event(choice: dict[str, Any]) -> bytes:
    body = {**_BASE, "choices": [{"index": 0, "finish_reason": None, **choice}]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def _engine(engine: Engine) -> AsyncIterator[int]:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/{rest:.*}", engine.handle)
    app.router.add_get("/v1/models", _models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _gateway(engine_port: int, port: int) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.json"
        given = {"deployment": "d", "namespace": "n", "lame_duck": 0, "drain": 1, "connect_timeout": 60}
        config.write_text(json.dumps(given), "utf-8")
        command = ("-m", "llama_serving.gateway", "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
        groups = ("--admin-port", str(port + 1), "--static", f"a=http://127.0.0.1:{engine_port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *groups, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def _resident(session: aiohttp.ClientSession, admin: str) -> float:
    async with session.get(f"{admin}/metrics") as answer:
        found = _RESIDENT.search(await answer.text())
    assert found is not None
    return float(found[1])


async def measure(kind: str, count: int, port: int) -> dict[str, float]:
    """Return the bytes of a body, and the gateway's resident memory in four moments."""
    path, body = BODIES[kind]
    data = json.dumps(body).encode()
    engine, admin = Engine(), f"http://127.0.0.1:{port + 1}"
    begun: set[int] = set()

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        async with session.post(f"http://127.0.0.1:{port}{path}", data=data) as answer:
            async for _ in answer.content.iter_any():
                begun.add(number)

    async def ready() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{admin}/ready") as answer:
                return answer.status == 200
        return False

    async def has_arrived() -> bool:
        return engine.arrived == count

    async def has_begun() -> bool:
        return len(begun) == count

    async with _engine(engine) as engine_port, _gateway(engine_port, port), aiohttp.ClientSession() as session:
        await _until(ready)
        found = {"body": float(len(data)), "before": await _resident(session, admin)}
        asked = [asyncio.create_task(ask(session, number)) for number in range(count)]
        await _until(has_arrived)
        found["waiting"] = await _resident(session, admin)
        engine.answers.set()
        await _until(has_begun)
        found["streaming"] = await _resident(session, admin)
        engine.ends.set()
        await asyncio.gather(*asked)
        found["after"] = await _resident(session, admin)
        return found


def main(arguments: list[str]) -> int:
    """Print one line per kind of prompt."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_context", description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="requests at a time")
    parser.add_argument("--port", type=int, default=18450)
    options = parser.parse_args(arguments)
    sys.stdout.write("prompt, requests: MB of a body; resident MB before, waiting, streaming, after\n")
    for kind in BODIES:
        found = asyncio.run(measure(kind, options.count, options.port))
        values = ", ".join(f"{found[name] / 1e6:.1f}" for name in ("before", "waiting", "streaming", "after"))
        sys.stdout.write(f"{kind}, {options.count}: {found['body'] / 1e6:.2f}; {values}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
