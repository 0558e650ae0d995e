"""vLLM's own API server with what the replica of a cell adds to it: replays, checks of schemas, one grammar backend.

    python -m tests.serving.replay.server --model DIR --port 8000 ...    the options of vLLM's server

A cell needs Ray and two pods; what is tested with this server needs neither.
"""

import asyncio
import socket
from argparse import Namespace

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from llama_serving.cell.replica.http_server import serve_forever
from llama_serving.cell.replica.replay.frontend import install_replays
from llama_serving.cell.replica.replay.middleware import ReplayMiddleware
from llama_serving.cell.replica.structured.admission import check_structured_answers
from llama_serving.engine.replayed_grammar import configure_grammars


async def serve(args: Namespace) -> None:
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config()
    configure_grammars(config)
    engine = AsyncLLM.from_vllm_config(config)
    tasks = await engine.get_supported_tasks()
    app = build_app(args, tasks, engine.model_config)
    await init_app_state(engine, app.state, args, tasks)
    install_replays(app.state, engine)
    check_structured_answers(app.state)
    app.middleware_stack = None
    app.add_middleware(ReplayMiddleware)
    sock = socket.create_server((args.host or "127.0.0.1", args.port))
    await serve_forever(app, sock)


if __name__ == "__main__":
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args()
    validate_parsed_serve_args(parsed)
    asyncio.run(serve(parsed))
