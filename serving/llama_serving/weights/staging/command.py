"""``python -m llama_serving.weights stage``: the stager, a sidecar of every stage pod. Ends with 0 on SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from llama_serving.config import names
from llama_serving.config.cell import CellConfig
from llama_serving.config.logs.lines import set_up_log
from llama_serving.weights.proxy.command import use_proxy
from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.retry import RetryPolicy
from llama_serving.weights.staging.dependencies import STREAMS, StagePod, StagerDependencies
from llama_serving.weights.staging.io.control_files import DesiredFiles, StateFile
from llama_serving.weights.staging.io.disk import LocalDisk
from llama_serving.weights.staging.io.trusted_desired import TrustPaths
from llama_serving.weights.staging.stager import Stager

logger = logging.getLogger("llama_serving.stager")

# How long one attempt retries a source that gives nothing, before other weights have their turn.
RETRY_POLICY: Final = RetryPolicy(deadline=300.0, clock=time.monotonic)
GRACE: Final = 2.0  # seconds after SIGTERM
_BAD_CONFIG: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the paths; their defaults are those of a pod."""
    parser.add_argument("--config", type=Path, default=Path(names.CELL_CONFIG_PATH), help="the group's CellConfig")
    parser.add_argument("--configured", type=Path, default=Path(names.MANIFEST_PATH), help="what the pod starts with")
    parser.add_argument("--desired", type=Path, default=Path(names.DESIRED_PATH), help="the desired state")
    parser.add_argument("--key", type=Path, default=Path(names.STAGER_KEY_PATH), help="signs desired states")
    parser.add_argument("--trusted", type=Path, default=Path(names.TRUSTED_DESIRED_PATH), help="the last one taken")
    parser.add_argument("--state", type=Path, default=Path(names.STAGING_PATH), help="file for the state of the stager")
    parser.add_argument("--mount", type=Path, default=Path(names.WEIGHTS_MOUNT), help="volume of the weights")
    parser.add_argument("--size-limit", type=int, default=0, help="bytes that the volume may take; 0: all it has")
    parser.add_argument("--credentials", type=Path, default=Path(names.CREDENTIALS_MOUNT), help="folder of the Secret")


def main(options: argparse.Namespace) -> int:
    """Run until SIGTERM; return the exit code: 0 stopped, 2 the config is wrong."""
    set_up_log(os.environ, stream=sys.stdout)
    try:
        pod = read_pod(options, stage=os.environ.get(names.ENV_STAGE, ""))
        use_proxy(os.environ)
    except ValueError as error:
        logger.error("%s", error)
        return _BAD_CONFIG
    asyncio.run(_serve(pod, options))
    return 0


def read_pod(options: argparse.Namespace, *, stage: str) -> StagePod:
    """Return the stage of this pod and its paths. Raises ValueError with a sentence."""
    try:
        config = CellConfig.model_validate_json(options.config.read_bytes())
    except (OSError, ValidationError) as error:
        raise ValueError(f"{options.config} cannot be read: {error}") from error
    if not stage.isdecimal() or int(stage) >= config.layout.pipeline:
        raise ValueError(f"{names.ENV_STAGE} must be 0 to {config.layout.pipeline - 1} and is {stage!r}")
    return StagePod(
        mount=options.mount,
        stage=int(stage),
        stages=config.layout.pipeline,
        holder=socket.gethostname(),
        credentials=options.credentials if options.credentials.is_dir() else None,
    )


async def _serve(pod: StagePod, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Threads for the streams, and some that the streams never take: the state is written whatever happens.
    pool = ThreadPoolExecutor(STREAMS + 2, thread_name_prefix="stager")
    deps = StagerDependencies(
        open_source=open_source, disk=LocalDisk(limit=options.size_limit), pool=pool, retry=RETRY_POLICY
    )
    paths = TrustPaths(
        key=options.key,
        signed=options.desired.with_name(Path(names.SIGNED_DESIRED_PATH).name),
        memory=options.trusted,
        pod=os.environ.get(names.ENV_POD_NAME, ""),
    )
    desired_files = DesiredFiles(desired=options.desired, configured=options.configured, paths=paths)
    stager = Stager(pod=pod, deps=deps, desired_files=desired_files, state_file=StateFile(options.state))
    stopping = asyncio.create_task(stop.wait())
    running = asyncio.create_task(stager.run(stop))
    await asyncio.wait([stopping, running], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stopping.cancel()
        running.result()  # it ended by itself: a bug, which the kubelet answers with a new container
    _, late = await asyncio.wait([asyncio.create_task(_end(stager, running))], timeout=GRACE)
    if late:
        # A thread waits for a disk. Nothing on the volume needs a clean end: a kill at any moment is provided for.
        logger.warning("a write to the disk takes longer than %.0f s and is not waited for", GRACE)
        logging.shutdown()
        os._exit(0)


async def _end(stager: Stager, running: "asyncio.Task[None]") -> None:
    await running
    await stager.close()
