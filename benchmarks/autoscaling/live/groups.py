"""Groups that are made up: a start takes a while, an answer takes what the replay says that it takes."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from benchmarks.scale.world import World
from llama_operator.adapters.api_calls import Call
from llama_operator.ports import Manifest
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.traces import Request
from llama_serving.config import names

TOKEN = "word"  # of a prompt: gateways count four characters as one
PATH = "/v1/completions"


@dataclass
class Engine:
    """The engine of one group, on the address of its pod."""

    parameters: Parameters
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    _in_flight: int = 0
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        self.idle.set()

    async def listen(self, address: str) -> None:
        """Answer on this address until ``close``."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post(PATH, self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host=address, port=names.PORT_ENGINE).start()

    async def close(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        size = Request(0.0, len(asked["prompt"]) // len(TOKEN), asked["max_tokens"])
        self._in_flight += 1
        self.idle.clear()
        try:
            await asyncio.sleep(self.parameters.seconds(size))
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()
        usage = {"prompt_tokens": size.prompt, "completion_tokens": size.answer}
        choice = {"index": 0, "text": "word", "finish_reason": "length", "logprobs": None}
        return web.json_response({
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": asked["model"], "choices": [choice],
            "usage": {**usage, "total_tokens": size.prompt + size.answer},
        })  # fmt: skip


@dataclass
class SlowWorld(World):
    """A cluster whose pods get their containers after a while and go when their requests have ended."""

    start: float = field(kw_only=True)  # seconds
    parameters: Parameters = field(kw_only=True)
    engines: dict[str, Engine] = field(default_factory=dict)  # by address

    async def close(self) -> None:
        """Close all engines."""
        for engine in self.engines.values():
            await engine.close()

    async def _pod(self, body: Manifest) -> None:
        meta = body["metadata"]
        if meta["labels"].get(names.LABEL_COMPONENT) != names.COMPONENT_STAGE:
            return
        if meta.get("deletionTimestamp"):
            if self._once(body, "ends"):
                self._in_background(self._end(body))
        elif body["spec"].get("nodeName") and self._once(body, "starts"):
            self._in_background(self._start(body))
        elif not body["spec"].get("nodeName") or body.get("status", {}).get("podIP"):
            await super()._pod(body)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, body: Manifest) -> None:
        await asyncio.sleep(self.start)
        self._play(self._run, body)

    async def _run(self, body: Manifest) -> None:
        found = await self.calls.send("GET", self._path(body), Call(fine=(404,)))
        uid = body["metadata"]["uid"]
        if not found or found["metadata"]["uid"] != uid or "deletionTimestamp" in found["metadata"]:
            return
        await super()._pod(found)
        address = next(one for one, pod in self.pods.items() if pod["metadata"]["uid"] == uid)
        if address not in self.engines:
            self.engines[address] = Engine(self.parameters)
            await self.engines[address].listen(address)

    async def _end(self, body: Manifest) -> None:
        address = body.get("status", {}).get("podIP", "")
        engine = self.engines.get(address)
        if engine:
            await engine.idle.wait()
        self._play(self._remove, body)
        if engine:
            await engine.close()
            self.engines.pop(address, None)

    async def _remove(self, body: Manifest) -> None:
        await self.calls.send("DELETE", self._path(body), Call(body={"gracePeriodSeconds": 0}, fine=(404,)))

    def _path(self, body: Manifest) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{body['metadata']['name']}"
