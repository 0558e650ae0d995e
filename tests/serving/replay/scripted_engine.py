"""vLLM's whole frontend, its own parsers and detokenizer, over an engine core that says what a script says.

Routes, templates, parsers, grammars' validation, detokenizer, log-probabilities and events are vLLM's; only the core,
which would choose tokens, is not. So any answer can be had, cut at every token, within a second.
"""

import asyncio
import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.renderers import renderer_from_config
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.engine.output_processor import OutputProcessor
from vllm.v1.outputs import LogprobsLists

from llama_serving.cell.replica.replay.frontend import install_replays
from llama_serving.cell.replica.replay.middleware import ReplayMiddleware
from llama_serving.cell.replica.structured.admission import check_structured_answers
from llama_serving.engine.replayed_grammar import REPLAYED

TASKS = ("generate",)


@dataclass(frozen=True)
class Script:
    """What the core says to every request: ``text``, its tokens in groups of ``sizes``, one where nothing is given."""

    text: str
    sizes: tuple[int, ...] = ()


class ScriptedCore:
    """Stands in for the client of an engine core."""

    def __init__(self, outputs: OutputProcessor) -> None:
        self.script = Script("")
        self.requests: list[EngineCoreRequest] = []
        self.resources = Namespace(engine_dead=False)
        self._outputs = outputs
        self._tasks: set[asyncio.Task[None]] = set()

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        self.requests.append(request)
        task = asyncio.create_task(self._say(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def abort_requests_async(self, request_ids: Sequence[str]) -> None:
        """Nothing is made that nobody takes."""

    def shutdown(self, timeout: float | None = None) -> None:
        """Nothing runs."""

    async def _say(self, request: EngineCoreRequest) -> None:
        params = request.sampling_params
        made = (params.extra_args or {}).get(REPLAYED, 0)
        for group, finish in self._groups(params.max_tokens + made, made):
            output = EngineCoreOutput(
                request.request_id, group, new_logprobs=_logprobs(group, params.num_logprobs), finish_reason=finish
            )
            processed = self._outputs.process_outputs([output])
            if processed.reqs_to_abort or request.request_id not in self._outputs.request_states:
                return
            while self._outputs.request_states[request.request_id].queue.output is not None:  # noqa: ASYNC110
                await asyncio.sleep(0)  # the frontend takes each output by itself

    def _groups(self, limit: int, made: int) -> list[tuple[list[int], FinishReason | None]]:
        tokenizer = self._outputs.tokenizer
        ids = [*tokenizer.encode(self.script.text, add_special_tokens=False), tokenizer.eos_token_id][:limit]
        ended = FinishReason.STOP if ids[-1] == tokenizer.eos_token_id else FinishReason.LENGTH
        sizes, groups, start = list(self.script.sizes), [], 0
        while start < len(ids):
            size = sizes.pop(0) if sizes else 1
            groups.append(ids[start : start + size])
            start += size
        left, position = [], 0
        for number, group in enumerate(groups):
            position += len(group)
            if position > made:
                assert position - len(group) >= made, "replays begin where an event ended"
                left.append((group, ended if number == len(groups) - 1 else None))
        return left


def _logprobs(group: list[int], count: int | None) -> LogprobsLists | None:
    """Return log-probabilities that tell their token; some alternatives are parts of characters."""
    if count is None:
        return None
    width = 1 + count
    tokens = np.array([[(token + 7 * offset) % 300 for offset in range(width)] for token in group])
    tokens[:, 0] = group
    values = np.array([[-(token + offset) / 1000 for offset in range(width)] for token in group], dtype=np.float32)
    return LogprobsLists(tokens, values, np.ones(len(group), dtype=np.int64))


class ScriptedLLM(AsyncLLM):  # type: ignore[misc]
    """vLLM's client of an engine, without the engine."""

    def __init__(self, config: Any) -> None:
        self.vllm_config, self.model_config = config, config.model_config
        self.scheduler_config, self.observability_config = config.scheduler_config, config.observability_config
        self.log_requests = self.log_stats = False
        self.logger_manager = self.admission_stats = self.output_handler = None
        self.renderer = renderer_from_config(config)
        self.input_processor = InputProcessor(config, self.renderer)
        self.output_processor = OutputProcessor(self.renderer.tokenizer, log_stats=False)
        self.engine_core = ScriptedCore(self.output_processor)
        self._supported_tasks = TASKS

    def _run_output_handler(self) -> None:
        """The core brings its outputs itself."""

    @property
    def errored(self) -> bool:
        return False


class Server:
    """One frontend with some parsers; ``ask`` returns status and body."""

    def __init__(self, app: Any, core: ScriptedCore) -> None:
        self.app = app
        self.core = core

    async def ask(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            answer = await client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
            return answer.status_code, answer.content


async def server(model: Path, *options: str) -> Server:
    """Return the frontend for a model folder; ``options`` are those of vLLM's server."""
    fixed = ["--model", str(model), "--served-model-name", "llama", "--max-model-len", "512", "--enforce-eager"]
    args = make_arg_parser(FlexibleArgumentParser()).parse_args([*fixed, "--disable-log-stats", *options])
    validate_parsed_serve_args(args)
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
    config.structured_outputs_config.backend = "xgrammar"
    engine = ScriptedLLM(config)
    app = build_app(args, TASKS, engine.model_config)
    await init_app_state(engine, app.state, args, TASKS)
    install_replays(app.state, engine)
    check_structured_answers(app.state)
    app.middleware_stack = None
    app.add_middleware(ReplayMiddleware)
    return Server(app, engine.engine_core)
