"""The replica: vLLM's own OpenAI routes, and what the supervisor needs to know of the engine.

Runs on the leader, in the process that Ray Serve starts for it. Importing this module imports vLLM.
"""

import asyncio
import functools
import logging
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import REGISTRY
from ray.llm._internal.common.callbacks.base import CallbackBase
from ray.llm._internal.serve.core.server.llm_server import LLMServer, _add_middleware_to_built_app
from ray.serve.llm import LLMConfig

from llama_serving.cell.replica.adapters.gate import AdapterGate
from llama_serving.cell.replica.adapters.models import install_adapters
from llama_serving.cell.replica.adapters.routes import TOKEN_VARIABLE, GroupToken, add_routes
from llama_serving.cell.replica.adapters.table import Adapters
from llama_serving.cell.replica.compile_key import forget_path
from llama_serving.cell.replica.critical_task import run_critical
from llama_serving.cell.replica.http_server import bind, serve_forever
from llama_serving.cell.replica.idle_probe import one_token, probe_for_ever
from llama_serving.cell.replica.key_gate import EngineKeyMiddleware
from llama_serving.cell.replica.queue_depth import read_queue_depth
from llama_serving.cell.replica.replay.frontend import install_replays
from llama_serving.cell.replica.replay.middleware import ReplayMiddleware
from llama_serving.cell.replica.request_gate import RequestGate, RequestGateMiddleware
from llama_serving.cell.replica.serve_logging import preserved_handlers
from llama_serving.cell.replica.served_routes import unmount_others
from llama_serving.cell.replica.structured.admission import check_structured_answers
from llama_serving.cell.replica.tool_requests import prepare_tool_requests
from llama_serving.cell.replica.weight_swap import WeightSwap
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter, base_key
from llama_serving.cell.shared.adapters.room import capacity
from llama_serving.cell.shared.config_errors import REFUSED, ConfigRefusedError, naming_refusals
from llama_serving.cell.shared.engine_args import llm_config
from llama_serving.cell.shared.last_deployed import read_last_deployed
from llama_serving.cell.shared.model_facts import model_facts
from llama_serving.cell.shared.replica_state import RankReport, ReplicaState
from llama_serving.cell.shared.weights_ref import engine_weights, is_verified
from llama_serving.cell.template_check import template_refusal
from llama_serving.common.engine_key import EngineKey
from llama_serving.config import names
from llama_serving.config.cell import CellConfig, EngineOption, WeightsRef
from llama_serving.config.chat.facts import ChatFacts, choose_tools
from llama_serving.config.model import ModelFacts, unswappable_quantization
from llama_serving.weights.model.chat import chat_facts

logger = logging.getLogger("ray.serve")

_PING_PERIOD: Final = 1.0  # seconds between two questions to the engine core


class NoDownload(CallbackBase):  # type: ignore[misc]
    """Skips Ray's "download model files": weights are in the pod, and the task imports vLLM on every node (17 s)."""

    async def on_before_node_init(self) -> None:
        """Tell Ray Serve LLM, which calls this before it would start the task, to skip it."""
        self.ctx.run_init_node = False


class CellServer(LLMServer):  # type: ignore[misc]
    """One engine. ``reconfigure`` swaps its weights in place."""

    async def __init__(self, config_json: str) -> None:  # type: ignore[misc]  # Serve awaits it
        self._config = CellConfig.model_validate_json(config_json)
        weights = read_last_deployed() or engine_weights(self._config, self._config.weights)
        started = time.monotonic()
        model = _model(weights)
        chat = chat_facts(Path(weights.path), template=self._config.chat_template)
        self._tools = choose_tools(self._config.tools, chat)
        self._unswappable = unswappable_quantization(
            model.quantization, asked=_asked_quantization(self._config.engine_options)
        )
        if self._config.adapters is not None:  # vLLM's own reload does not know the layers that it wrapped
            self._unswappable = self._unswappable or model.quantization
        with preserved_handlers(logger):
            await super().__init__(_llm_options(self._config, weights, model=model, chat=chat))
        self._gate = RequestGate(weights.id, engine_died=self._engine_died)
        engine = VllmEngine(self)
        self._adapters = _adapters(self._config, engine, weights)
        self._swap = WeightSwap(
            engine,
            weights,
            gate=self._gate,
            tensor=self._config.layout.tensor,
            clock=time.monotonic,
            before_opening=self._change_base,
        )
        self._engine_pid = _engine_pid()
        await self.collective_rpc("start_heartbeat")
        self._swap.ranks = _reports(await self.collective_rpc("rank_report"))
        self._timings = {"engine": round(time.monotonic() - started, 2)}
        self._answered = time.monotonic()
        sock = await bind(os.environ[names.ENV_POD_IP], port=names.PORT_ENGINE)
        app = await self._build_app()
        self._tasks = [
            run_critical(self._ping_for_ever()),
            run_critical(self._probe_for_ever()),
            run_critical(serve_forever(app, sock)),
        ]

    async def _start_engine(self) -> None:
        """Start the engine as stock does, without the telemetry actor (340 MB) that stock starts here."""
        assert self.engine is not None
        if self._config.layout.device == "gpu":  # no engine on CPU compiles
            forget_path(self.engine)
        with naming_refusals():
            await self.engine.start()

    async def _build_app(self) -> FastAPI:
        """Return vLLM's app behind the request gate, with the routes of users, the state route and that of replays."""
        assert self.engine is not None
        app: FastAPI = await self.__serve_build_asgi_app__()
        unmount_others(app)
        if self._adapters is not None:
            self._add_adapters(app, self._adapters)
        prepare_tool_requests(app.state, self._tools)
        install_replays(app.state, self.engine._engine_client)  # noqa: SLF001
        check_structured_answers(app.state)
        _add_middleware_to_built_app(app, RequestGateMiddleware, gate=self._gate)
        _add_middleware_to_built_app(app, ReplayMiddleware)
        _add_middleware_to_built_app(  # the last one added is the first one asked
            app,
            EngineKeyMiddleware,
            key=EngineKey(Path(os.environ.get(names.ENV_ENGINE_KEY, names.ENGINE_KEY_PATH))),
            is_supervisor=GroupToken(Path(os.environ[TOKEN_VARIABLE])).is_right,
        )
        app.get(names.ROUTE_STATE)(self.state)
        return app

    def _add_adapters(self, app: FastAPI, adapters: Adapters) -> None:
        """Let requests choose adapters behind the request gate, and the supervisor say which there are."""
        assert self.engine is not None
        token = GroupToken(Path(os.environ[TOKEN_VARIABLE]))
        install_adapters(self.engine._oai_models, served=lambda: adapters.served)  # noqa: SLF001
        _add_middleware_to_built_app(app, AdapterGate, adapters=adapters, is_supervisor=token.is_right)
        add_routes(app, adapters, token)

    def _change_base(self, weights: WeightsRef) -> None:
        """Note other weights in the engine before the first request meets them."""
        if self._adapters is not None:
            self._adapters.change_base(base_key(weights))

    def _engine_died(self) -> bool:
        return self.engine is not None and bool(self.engine._engine_client.errored)  # noqa: SLF001

    async def state(self) -> ReplicaState:
        """Return what the engine serves, and how fresh that knowledge is."""
        depth = read_queue_depth(REGISTRY, self._gate)
        return ReplicaState(
            deployment=self._config.deployment,
            group=self._config.group,
            pod_hash=self._config.pod_hash,
            pid=os.getpid(),
            served_name=self._config.weights.served_name,
            weights=self._swap.current,
            target=self._swap.target,
            swap=self._swap.state,
            failures=self._swap.failures,
            unswappable=self._unswappable,
            in_flight=self._gate.in_flight,
            running=None if depth is None else depth.running,
            waiting=None if depth is None else depth.waiting,
            unfinished=self._unfinished(),
            engine_pid=self._engine_pid,
            engine_seconds_ago=round(time.monotonic() - self._answered, 3),
            stages=self._swap.ranks,
            timings=self._timings,
            adapters=() if self._adapters is None else self._adapters.loaded,
        )

    async def _ping_for_ever(self) -> None:
        """Ask the engine core something cheap again and again; raises when the core is gone."""
        assert self.engine is not None
        while True:
            await self.engine._engine_client.is_sleeping()  # noqa: SLF001
            self._answered = time.monotonic()
            await asyncio.sleep(_PING_PERIOD)

    async def _probe_for_ever(self) -> None:
        """Have an idle engine make a token; raises when the core is gone."""
        assert self.engine is not None
        probe = functools.partial(one_token, self.engine._engine_client)  # noqa: SLF001
        await probe_for_ever(probe, unfinished=self._unfinished, may_ask=self._may_probe)

    def _unfinished(self) -> int:
        """Return the requests that the engine has not ended; one whose client reads slowly has ended."""
        assert self.engine is not None
        return int(self.engine._engine_client.get_num_unfinished_requests())  # noqa: SLF001

    def _may_probe(self) -> bool:
        """Return whether the engine is not paused: it has weights, and no swap runs."""
        swap = self._swap.state
        return self._swap.current is not None and (swap is None or swap.outcome != "running")

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Swap weights; Serve calls this at the start and on each change of ``user_config``, and waits for it."""
        await self._swap.swap_to(WeightsRef.model_validate(user_config))


class VllmEngine:
    """The engine as a weight swap and its adapters see it."""

    def __init__(self, server: CellServer) -> None:
        self._server = server

    async def pause(self) -> None:
        """Pause; no request is left by then, and mode "wait" would cut none."""
        await self._server.pause(mode="wait", clear_cache=True)

    async def reload(self, weights: WeightsRef) -> Sequence[RankReport]:
        """Load on every rank at once."""
        return _reports(await self._server.collective_rpc("reload_rank", kwargs={"path": weights.path}))

    async def load_adapter(self, adapter: EngineAdapter) -> Sequence[RankReport]:
        """Load on every rank at once."""
        about = {
            "name": adapter.internal_name,
            "number": adapter.number,
            "path": adapter.path,
            "digest": adapter.digest,
        }
        return _reports(await self._server.collective_rpc("load_adapter", kwargs=about))

    async def unload_adapter(self, adapter: EngineAdapter) -> Sequence[RankReport]:
        """Let every rank forget it."""
        return _reports(await self._server.collective_rpc("unload_adapter", kwargs={"number": adapter.number}))

    async def reset_prefix_cache(self) -> None:
        """Drop keys and values of the old weights."""
        await self._server.reset_prefix_cache()

    async def resume(self) -> None:
        """Let steps run again."""
        await self._server.resume()


def _reports(answers: Sequence[dict[str, Any]]) -> tuple[RankReport, ...]:
    return tuple(RankReport(**answer) for answer in answers)


def _adapters(config: CellConfig, engine: VllmEngine, weights: WeightsRef) -> Adapters | None:
    if config.adapters is None:
        return None
    return Adapters(
        engine,
        base_name=config.weights.served_name,
        base=base_key(weights),
        capacity=capacity(config.adapters),
        tensor=config.layout.tensor,
    )


def _engine_pid() -> int | None:
    """Return the process of the engine core: the one that vLLM started through ``multiprocessing``."""
    return next((child.pid for child in multiprocessing.active_children() if "EngineCore" in child.name), None)


def _model(weights: WeightsRef) -> ModelFacts:
    """Return the facts of the model.

    Raises:
        ValueError: the model cannot be served; the supervisor has inspected it before, so its files changed meanwhile.
    """
    return model_facts(Path(weights.path), whole=not is_verified(weights))


def _asked_quantization(options: Mapping[str, EngineOption]) -> str:
    return str(options.get("quantization", ""))


def _llm_options(config: CellConfig, weights: WeightsRef, *, model: ModelFacts, chat: ChatFacts) -> LLMConfig:
    """Return the configuration of Ray Serve LLM.

    Raises:
        ConfigRefusedError: parsers or chat template of the spec do not fit the model.
    """
    try:
        found = llm_config(config, model=model, chat=chat, path=weights.path)
    except ValueError as error:
        raise ConfigRefusedError(f"{REFUSED}: {error}") from None
    if config.chat_template and (refusal := template_refusal(config.chat_template)):
        raise ConfigRefusedError(f"{REFUSED}: {refusal}")
    return LLMConfig(**found, callback_config={"callback_class": NoDownload})
