"""The replica: vLLM's own OpenAI routes, and what the supervisor needs to know of the engine.

Runs on the leader, in the process that Ray Serve starts for it. Importing this module imports vLLM.
"""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import REGISTRY
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.core.server.llm_server import LLMServer, _add_middleware_to_built_app
from ray.serve.llm import LLMConfig

from llama_serving.cell.replica.critical_task import vital
from llama_serving.cell.replica.http_server import bind, serve_forever
from llama_serving.cell.replica.queue_depth import batch
from llama_serving.cell.replica.request_gate import Door, ThroughTheDoor
from llama_serving.cell.replica.serve_logging import kept_buffers
from llama_serving.cell.replica.weight_swap import Exchange
from llama_serving.cell.shared.engine_args import llm_config
from llama_serving.cell.shared.last_deployed import told
from llama_serving.cell.shared.model_facts import model_facts
from llama_serving.cell.shared.replica_state import EngineWeights, ReplicaState, StageReport
from llama_serving.cell.shared.weights_ref import Load, from_user_config, load_of
from llama_serving.config import names
from llama_serving.config.cell import CellConfig

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
        load = told() or load_of(self._config, self._config.weights)
        started = time.monotonic()
        with kept_buffers(logger):
            await super().__init__(_options(self._config, load))
        self._door = Door(load.id, engine_died=self._engine_died)
        self._exchange = Exchange(
            Vllm(self), load, door=self._door, tensor=self._config.layout.tensor, clock=time.monotonic
        )
        self._exchange.stages = _reports(await self.collective_rpc("stage_report"))
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
        """VLLM's app behind the door, with the state route."""
        app: FastAPI = await self.__serve_build_asgi_app__()
        _add_middleware_to_built_app(app, ThroughTheDoor, door=self._door)
        app.get(names.ROUTE_STATE)(self.state)
        return app

    def _engine_died(self) -> bool:
        return self.engine is not None and bool(self.engine._engine_client.errored)

    async def state(self) -> ReplicaState:
        """What the engine serves, and how fresh that knowledge is."""
        inside = batch(REGISTRY, self._door)
        return ReplicaState(
            deployment=self._config.deployment,
            group=self._config.group,
            pod_hash=self._config.pod_hash,
            pid=os.getpid(),
            served_name=self._config.weights.served_name,
            weights=_shown(self._exchange.holds),
            target=_shown(self._exchange.target),
            swap=self._exchange.state,
            failures=self._exchange.failures,
            in_flight=self._door.requests,
            running=None if inside is None else inside.running,
            waiting=None if inside is None else inside.waiting,
            engine_seconds_ago=round(time.monotonic() - self._answered, 3),
            stages=self._exchange.stages,
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
        """Serve calls this at the start and on each change of ``user_config``, and waits until it has returned."""
        await self._exchange.to(from_user_config(user_config))


class Vllm:
    """The engine as an exchange of weights sees it."""

    def __init__(self, server: CellServer) -> None:
        self._server = server

    async def pause(self) -> None:
        """Nothing is inside by then; "wait" all the same, so that nothing could be cut."""
        await self._server.pause(mode="wait", clear_cache=True)

    async def reload(self, load: Load) -> Sequence[StageReport]:
        """Every rank at once."""
        return _reports(await self._server.collective_rpc("load_stage", kwargs={"path": load.path}))

    async def forget(self) -> None:
        """Keys and values of the old weights."""
        await self._server.reset_prefix_cache()

    async def resume(self) -> None:
        """Steps run again."""
        await self._server.resume()


def _reports(answers: Sequence[dict[str, Any]]) -> tuple[StageReport, ...]:
    return tuple(StageReport(**answer) for answer in answers)


def _shown(load: Load | None) -> EngineWeights | None:
    return None if load is None else EngineWeights(**asdict(load))


def _options(config: CellConfig, load: Load) -> LLMConfig:
    """Everything that Ray Serve LLM is told.

    Raises:
        ValueError: the model's files cannot be served; the supervisor has looked before, so they changed meanwhile.
    """
    model = model_facts(Path(load.path), whole=not load.sealed)
    return LLMConfig(**llm_config(config, model=model, path=load.path), callback_config={"callback_class": NoDownload})
