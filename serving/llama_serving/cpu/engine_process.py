"""The engine core is forked from a process that imported vLLM while the replica did the same.

Importing vLLM takes 7 s of one core. Stock, the engine core is a fresh interpreter that begins to import when the
replica has finished importing. Here Python's fork server is started first, and both import side by side.

The engine core's parent is then the fork server, which ends when the replica does; the engine core ends with it.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

from llama_serving.cell.entrypoints import CPU_ENGINE_CORE_MODULES
from llama_serving.common.parent_death import die_with_parent


def start_importing(modules: Sequence[str] = CPU_ENGINE_CORE_MODULES) -> None:
    """Start the fork server, which imports ``modules``; return at once. Call it before anything imports vLLM."""
    multiprocessing.set_forkserver_preload(list(modules))
    forkserver.ensure_running()


class EngineCoreContext(ForkServerContext):
    """Makes processes out of the fork server; they get the caller's environment, as a fresh interpreter would."""

    def Process(  # type: ignore[override]  # noqa: N802
        self, *, target: Callable[..., None], name: str, kwargs: Mapping[str, Any]
    ) -> multiprocessing.process.BaseProcess:
        """Return the process of an engine core, not started yet."""
        return super().Process(target=_run, name=name, args=(dict(os.environ), target), kwargs=kwargs)


def _run(environment: Mapping[str, str], target: Callable[..., None], **kwargs: Any) -> None:
    die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    target(**kwargs)


def use_for_engine_cores() -> None:
    """Let vLLM make its engine cores this way."""
    from vllm.v1.engine import utils

    utils.get_mp_context = EngineCoreContext
