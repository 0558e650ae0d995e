"""Supervisor of one stage of a cell, the child of tini in every stage pod: ``python -m llama_serving.cell``."""

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from llama_serving.cell.devices.check import DeviceCheck, DriverReader
from llama_serving.cell.policy.devices import device_needs
from llama_serving.cell.ray.engine_cache import EngineCache, choose_cache
from llama_serving.cell.ray.nccl_log import NcclLogs
from llama_serving.cell.ray.process import RayProcess
from llama_serving.cell.shared.engine_device import image_refusal
from llama_serving.cell.shared.identity import ConfigError, Identity, read_identity
from llama_serving.cell.shared.termination_log import add_termination_log, write_termination_log
from llama_serving.cell.shared.weights_ref import LINKS, desired_weights
from llama_serving.cell.supervisor.adapters.client import AdapterClient
from llama_serving.cell.supervisor.clients import EngineClient, RayClient, StageClient
from llama_serving.cell.supervisor.control_dir import ControlDir
from llama_serving.cell.supervisor.engine_log import EngineLog
from llama_serving.cell.supervisor.http_api import metrics_app, state_app
from llama_serving.cell.supervisor.leader import LeaderRole
from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.cell.supervisor.ports import Control
from llama_serving.cell.supervisor.refused import RefusedRole
from llama_serving.cell.supervisor.role import Role
from llama_serving.cell.supervisor.weights_check import WeightsCheck
from llama_serving.cell.supervisor.worker import WorkerRole
from llama_serving.cell.watch.latest import Latest
from llama_serving.cell.watch.ports import Linux
from llama_serving.cell.watch.watch import HangWatch
from llama_serving.common.engine_key import EngineKey
from llama_serving.config import names
from llama_serving.config.logs.lines import set_up_log

logger = logging.getLogger("llama_serving.cell")

RAY_TEMP: Final = Path("/tmp/ray")
SHARED_MEMORY: Final = Path("/dev/shm")
_BAD_CONFIG: Final = 2


def main(argv: list[str]) -> int:
    """Run the supervisor; exit code: 0 drained, 1 restart, 2 the config is wrong."""
    options = _parse(argv)
    set_up_log(os.environ, stream=sys.stdout)
    try:
        me = read_identity(
            config_path=options.config,
            token_path=options.token,
            engine_key_path=options.engine_key,
            environment=os.environ,
        )
    except ConfigError as error:
        logger.error("%s", error)
        return _BAD_CONFIG
    control = ControlDir(me, folder=options.control, links=Path(LINKS))
    cache = choose_cache(me)
    if cache.fault:
        logger.warning("%s", cache.fault)
    code, message = asyncio.run(_serve(me, control, cache))
    if code != 0:
        write_termination_log(options.termination_log, message)
    return code


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m llama_serving.cell", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(names.CELL_CONFIG_PATH), help="the group's CellConfig")
    parser.add_argument("--token", type=Path, default=Path(names.TOKEN_PATH), help="file with the group's secret")
    parser.add_argument(
        "--engine-key", type=Path, default=Path(names.ENGINE_KEY_PATH), help="file with the key of gateways, if any"
    )
    parser.add_argument("--control", type=Path, default=Path(names.CONTROL_MOUNT), help="folder shared with the stager")
    add_termination_log(parser)
    return parser.parse_args(argv)


async def _serve(me: Identity, control: Control, cache: EngineCache) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session:
        watch = _watch(me, session)
        connections = NcclLogs() if me.config.layout.device == "gpu" else None
        role = _role(me, session, control=control, watch=watch, cache=cache)
        supervisor = Supervisor(
            me, role, control=control, watch=watch, clock=time.monotonic, cache=cache, connections=connections
        )
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, supervisor.request_stop)
        async with contextlib.AsyncExitStack() as listeners:
            await listeners.enter_async_context(
                _listening(state_app(supervisor, token=me.token), me.ip, names.PORT_STATE)
            )
            if me.is_leader:
                await listeners.enter_async_context(_showing_metrics(me, session, watch))
            return await supervisor.run(), supervisor.state().message


@contextlib.asynccontextmanager
async def _listening(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _showing_metrics(me: Identity, session: aiohttp.ClientSession, watch: HangWatch) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as listener:
        try:
            app = metrics_app(_engine(me, session).metrics, watch.reading)
            await listener.enter_async_context(_listening(app, me.ip, names.PORT_METRICS))
        except OSError as error:  # who scrapes nothing is told; a model that serves does not end for it
            logger.warning("the engine's metrics cannot be read: %s", error)
        yield


def _engine(me: Identity, session: aiohttp.ClientSession) -> EngineClient:
    key = EngineKey(me.engine_key_path)
    return EngineClient(session, host=me.ip, served_name=me.config.weights.served_name, headers=key.headers)


def _watch(me: Identity, session: aiohttp.ClientSession) -> HangWatch:
    """Return the watch of this stage: the leader asks its replica and all other stages, a worker its leader."""
    stages, engine = StageClient(session), _engine(me, session)
    asked = [stage for stage in range(me.stages) if stage != me.stage] if me.is_leader else [0]
    others = {
        stage: Latest(functools.partial(stages.last_state, me.config.stage_hosts[stage]), clock=time.monotonic)
        for stage in asked
    }
    replica = Latest(engine.state, clock=time.monotonic) if me.is_leader else None
    return HangWatch(me, system=Linux(), clock=time.monotonic, others=others, replica=replica)


def _role(
    me: Identity, session: aiohttp.ClientSession, *, control: Control, watch: HangWatch, cache: EngineCache
) -> Role:
    if refusal := image_refusal(me.config):
        return RefusedRole(refusal)
    ray = RayProcess(me, temp=RAY_TEMP, shared_memory=SHARED_MEMORY, environment=os.environ, cache=cache)
    weights = WeightsCheck(lambda: Path(desired_weights(me.config, control.desired_state()).path), clock=time.monotonic)
    cluster = RayClient(session, host=me.ip, token=me.token)
    stages = StageClient(session)
    devices = DeviceCheck(device_needs(me.config), read=DriverReader(), clock=time.monotonic)
    if me.is_leader:
        return LeaderRole(
            me,
            ray=ray,
            cluster=cluster,
            engine=_engine(me, session),
            weights=weights,
            control=control,
            stages=stages,
            log=EngineLog(RAY_TEMP),
            devices=devices,
            watch=watch,
            adapters=AdapterClient(session, host=me.ip, token=me.token),
        )
    return WorkerRole(me, ray=ray, cluster=cluster, stages=stages, weights=weights, control=control, devices=devices)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
