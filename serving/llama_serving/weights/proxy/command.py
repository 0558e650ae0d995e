"""``python -m llama_serving.weights proxy``: the fetch proxy of a deployment. Ends with 0 on SIGTERM."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import MutableMapping
from pathlib import Path

from llama_serving.config import names
from llama_serving.config.logs.lines import set_up_log
from llama_serving.weights.proxy.request import USER
from llama_serving.weights.proxy.server import LIMITS, FetchProxy
from llama_serving.weights.source.addresses import own_rules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; their defaults are those of a pod."""
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=names.PORT_FETCH)
    parser.add_argument("--key", type=Path, default=Path(names.FETCH_KEY_PATH), help="file with the stagers' key")


def main(options: argparse.Namespace) -> int:
    """Run until SIGTERM."""
    set_up_log(os.environ, stream=sys.stdout)
    asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    proxy = FetchProxy(lambda: read_key(options.key), rules=own_rules())
    server = await asyncio.start_server(proxy.handle, options.host, options.port, limit=LIMITS.head_bytes)
    async with server:
        await stop.wait()


def read_key(path: Path) -> bytes:
    """Return the key, read anew each time since the kubelet may replace the file; empty where there is none."""
    try:
        return path.read_bytes().strip()
    except OSError:
        return b""


def use_proxy(environment: MutableMapping[str, str], *, key: Path = Path(names.FETCH_KEY_PATH)) -> None:
    """Let every client of this process go through the proxy that the pod names, if it names one.

    All clients of sources (aiohttp, httpx, obstore) read the usual variables when they are made.

    Raises:
        ValueError: a proxy is named, and its key cannot be read.
    """
    address = environment.get(names.ENV_FETCH_PROXY, "")
    if not address:
        return
    secret = read_key(key).decode("ascii", "replace")
    if not secret.isalnum():
        raise ValueError(f"{names.ENV_FETCH_PROXY} names the proxy {address}, and {key} holds no key for it")
    url = f"http://{USER}:{secret}@{address}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        environment[name] = environment[name.lower()] = url
