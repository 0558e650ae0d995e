"""Counts the calls that the engine makes of a rank: the heartbeat that its supervisor watches.

vLLM calls ``execute_model`` and ``sample_tokens`` of the worker object for each step, on every rank in the same order,
so the counters of ranks can be compared. They are wrapped in the object: the extension stands behind vLLM's own classes
in the order of inheritance, so a method of it would never be found.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from llama_serving.cell.shared.heartbeat import HeartbeatWriter

STEP: Final = "execute_model"
RELOAD: Final = "reload_rank"
LOAD_ADAPTER: Final = "load_adapter"
CALLS: Final = (STEP, "sample_tokens", RELOAD, LOAD_ADAPTER)
_LOADS: Final = (RELOAD, LOAD_ADAPTER)

P = ParamSpec("P")
R = TypeVar("R")


def count_calls(worker: Any, heartbeat: HeartbeatWriter) -> None:
    """Let ``worker`` count its calls from now on."""
    for call in CALLS:
        if hasattr(worker, call):
            setattr(worker, call, _counted(getattr(worker, call), heartbeat, call))


def _counted(method: Callable[P, R], heartbeat: HeartbeatWriter, call: str) -> Callable[P, R]:
    @functools.wraps(method)
    def counted(*arguments: P.args, **options: P.kwargs) -> R:
        heartbeat.begin(call, is_step=call == STEP)
        try:
            return method(*arguments, **options)
        finally:
            heartbeat.end(call, is_measured=call not in _LOADS)

    return counted
