"""The ``ray start --block`` child: started from an argument list, ended with everything that it started."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from llama_serving.cell.policy.state_machine import RayView
from llama_serving.cell.ray.cleanup import remove_ray_folder, remove_shared_memory, renew_folder
from llama_serving.cell.ray.command import RayCommand, head_command, worker_command
from llama_serving.cell.ray.engine_cache import NO_CACHE, EngineCache
from llama_serving.cell.ray.nccl_log import NCCL_LOGS
from llama_serving.cell.ray.network import interface_of
from llama_serving.cell.shared.identity import Identity

logger = logging.getLogger(__name__)

_POLITE_SECONDS: Final = 10.0  # from SIGTERM to SIGKILL


class RayProcess:
    """Runs Ray on this stage, once: a supervisor whose Ray has ended ends too."""

    def __init__(
        self,
        me: Identity,
        *,
        temp: Path,
        shared_memory: Path,
        environment: Mapping[str, str],
        cache: EngineCache = NO_CACHE,
        nccl_logs: Path = NCCL_LOGS,
    ) -> None:
        self._me = me
        self._temp = temp
        self._nccl_logs = nccl_logs
        self._shared_memory = shared_memory
        self._environment = {**environment, **cache.environment(device=me.config.layout.device)}
        self._cache = cache
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, leader_ip: str | None) -> None:
        """Clean up after a predecessor, then start the head or join ``leader_ip``."""
        await asyncio.to_thread(self._clean)
        self._cache.begin()
        command = self._command(leader_ip)
        logger.info("starting: %s", " ".join(command.arguments))
        # A session of its own: Ray's reaper kills its whole process group, and the supervisor must outlive that.
        self._process = await asyncio.create_subprocess_exec(
            *command.arguments, env=command.environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )

    def _clean(self) -> None:
        remove_ray_folder(self._temp)
        remove_shared_memory(self._shared_memory)
        renew_folder(self._nccl_logs)

    def _command(self, leader_ip: str | None) -> RayCommand:
        interface = interface_of(self._me.ip)
        if leader_ip is None:
            return head_command(
                self._me, python=sys.executable, temp=self._temp, base=self._environment, interface=interface
            )
        return worker_command(
            self._me,
            leader_ip=leader_ip,
            python=sys.executable,
            temp=self._temp,
            base=self._environment,
            interface=interface,
        )

    def view(self) -> RayView:
        """Return whether it was started, and how it ended."""
        if self._process is None:
            return RayView()
        return RayView(started=True, exit_code=self._process.returncode)

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL to its whole process group."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLITE_SECONDS):
                    await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
