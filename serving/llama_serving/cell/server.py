"""The replica: vLLM's own OpenAI routes, and what the supervisor needs to know of the engine.

Runs on the leader, in the process that Ray Serve starts for it. Importing this module imports vLLM.
"""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.core.server.llm_server import LLMServer, _add_middleware_to_built_app
from ray.serve.llm import LLMConfig

from llama_serving.cell.engine_http import bind, serve_forever
from llama_serving.cell.engine_options import llm_config
from llama_serving.cell.in_flight import CountInFlight, InFlight
from llama_serving.cell.replica_state import ReplicaState, StageLayers
from llama_serving.cell.serve_logging import kept_buffers
from llama_serving.cell.vital import vital
from llama_serving.config import names
from llama_serving.config.cell import CellConfig
from llama_serving.weights.inspect import inspect

logger = logging.getLogger("ray.serve")

_PING_PERIOD: Final = 1.0  # seconds between two questions to the engine core


class NoDownload(CallbackBase):  # type: ignore[misc]
    """Skips Ray's "download model files": weights are in the pod, and the task imports vLLM on every node (17 s)."""

    async def on_before_node_init(self) -> None:
        """Called by Ray Serve LLM before it would start the task."""
        self.ctx.run_init_node = False


class CellServer(LLMServer):  # type: ignore[misc]
    """One engine. ``reconfigure`` exchanges its weights in place."""

    async def __init__(self, config_json: str) -> None:  # type: ignore[misc]  # Serve awaits it
        self._config = CellConfig.model_validate_json(config_json)
        self._weights_path = self._config.weights.path
        self._weights_id = self._config.weights.id
        self._swapping = False
        self._count = InFlight()
        self._stages: tuple[StageLayers, ...] = ()
        started = time.monotonic()
        with kept_buffers(logger):
            await super().__init__(_options(self._config))
        self._stages = tuple(StageLayers(**report) for report in await self.collective_rpc("stage_report"))
        self._timings = {"engine": round(time.monotonic() - started, 2)}
        self._answered = time.monotonic()
        sock = await bind(os.environ[names.ENV_POD_IP], port=names.PORT_ENGINE)
        app = await self._build_app()
        self._tasks = [vital(self._ping_for_ever()), vital(serve_forever(app, sock))]

    async def _start_engine(self) -> None:
        """As stock, without the telemetry actor (340 MB) that stock starts here."""
        assert self.engine is not None
        await self.engine.start()

    async def _build_app(self) -> FastAPI:
        """VLLM's app with the state route, counting what is in flight."""
        app: FastAPI = await self.__serve_build_asgi_app__()
        _add_middleware_to_built_app(app, CountInFlight, count=self._count)
        app.get(names.ROUTE_STATE)(self.state)
        return app

    async def state(self) -> ReplicaState:
        """What the engine serves, and how fresh that knowledge is."""
        return ReplicaState(
            deployment=self._config.deployment,
            group=self._config.group,
            revision=self._config.revision,
            pid=os.getpid(),
            served_name=self._config.weights.served_name,
            weights=self._weights_id,
            swapping=self._swapping,
            in_flight=self._count.requests,
            engine_seconds_ago=round(time.monotonic() - self._answered, 3),
            stages=self._stages,
            timings=self._timings,
        )

    async def _ping_for_ever(self) -> None:
        """Ask the engine core something cheap again and again; raises when the core is gone."""
        assert self.engine is not None
        while True:
            await self.engine._engine_client.is_sleeping()
            self._answered = time.monotonic()
            await asyncio.sleep(_PING_PERIOD)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve calls this at the start and on each change of ``user_config``: ``weights_path`` and ``weights_id``.

        Requests in flight end on the old weights, later ones run on the new; the prefix cache is emptied in between,
        since it holds keys and values of the old ones.
        """
        path, identity = str(user_config["weights_path"]), str(user_config["weights_id"])
        if path != self._weights_path:
            await self._swap(path)
        self._weights_path, self._weights_id = path, identity

    async def _swap(self, path: str) -> None:
        self._swapping = True
        started = time.monotonic()
        try:
            await self.pause(mode="wait", clear_cache=True)
            await self.collective_rpc("reload_weights", kwargs={"weights_path": path})
            await self.reset_prefix_cache()
            await self.resume()
        finally:
            self._swapping = False
        logger.info("Weights of %s in place after %.2f s.", path, time.monotonic() - started)


def _options(config: CellConfig) -> LLMConfig:
    """Everything that Ray Serve LLM is told.

    Raises:
        ValueError: the model's files cannot be served; the supervisor has looked before, so they changed meanwhile.
    """
    report = inspect(Path(config.weights.path))
    if report.facts is None:
        raise ValueError(report.message)
    return LLMConfig(**llm_config(config, model=report.facts), callback_config={"callback_class": NoDownload})
