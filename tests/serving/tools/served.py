"""What one engine answers behind several frontends: ``python -m tests.serving.tools.served MODEL < frontends``.

A frontend is made as a replica makes it: from the cell's config and the model's own files. A request is the path and
the body. The last line that it prints is JSON: by frontend and request, the status and the text of the answer.
"""

import argparse
import asyncio
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ENGINE = {
    "enforce_eager": True, "max_model_len": 4096, "max_num_seqs": 8, "dtype": "float32",
    "distributed_executor_backend": "uni", "served_model_name": ["llama"],
}  # fmt: skip
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1", "TORCHDYNAMO_DISABLE": "1",
}  # fmt: skip


async def answers(model: str, frontends: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Start the engine, and ask every frontend its requests."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=model, **ENGINE))
    try:
        return [await ask(engine, model, **one) for one in frontends]
    finally:
        engine.shutdown()


async def ask(
    engine: Any, model: str, *, cell: dict[str, Any], requests: list[tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Make one frontend and return what it answers."""
    import httpx

    app = await frontend(engine, model, cell)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=300) as client:
        found = [await client.post(path, json=body) for path, body in requests]
    return [{"status": one.status_code, "text": one.text} for one in found]


async def frontend(engine: Any, model: str, cell: dict[str, Any]) -> Any:
    """Return vLLM's app, configured from the cell's config and the model's files."""
    from starlette.datastructures import State
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.entrypoints.openai.api_server import build_app, init_app_state

    from llama_serving.cell.replica.tool_requests import prepare_tool_requests
    from llama_serving.cell.shared.engine_args import chat_kwargs
    from llama_serving.config.chat.facts import choose_tools
    from llama_serving.weights.model.chat import chat_facts
    from tests.unit.cell.worlds import config

    made = config(**cell)
    chat = chat_facts(Path(model), template=made.chat_template)
    kwargs = chat_kwargs(made, chat)
    reasoning = {"reasoning_parser": kwargs.pop("reasoning_parser")} if "reasoning_parser" in kwargs else {}
    arguments = AsyncEngineArgs(model=model, **ENGINE, **reasoning)
    args = argparse.Namespace(**(vars(FrontendArgs(**kwargs)) | vars(arguments)))
    args.structured_outputs_config.reasoning_parser = reasoning.get("reasoning_parser", "")
    state = State()
    await init_app_state(engine, state, args, supported_tasks=("generate",))
    app = build_app(args, supported_tasks=("generate",), model_config=engine.model_config)
    app.state._state.update(state._state)
    prepare_tool_requests(app.state, choose_tools(made.tools, chat))
    return app


def main(argv: list[str]) -> int:
    """Command line."""
    os.environ.update(ENVIRONMENT)
    with redirect_stdout(sys.stderr):
        found = asyncio.run(answers(argv[0], json.load(sys.stdin)))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
