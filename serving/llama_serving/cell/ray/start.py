"""``ray start`` without what a cell does not use: ``python -m llama_serving.cell.ray.start start --head ...``.

Stock ``ray start --head`` starts eleven processes around GCS and raylet. A cell needs two of the dashboard's modules
(Serve's REST API and the list of nodes) and neither Ray's autoscaler nor the server for remote clients; Ray has no
option for any of these, nor for the 30 s in which it wants a raylet to be listed: a busy node takes longer, and how
long a start may take is decided by the supervisor. The process also ends when its supervisor does, however that ended,
and ends a supervisor that is stopped.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar

from llama_serving.cell.watch.parent import watch_parent
from llama_serving.common.parent_death import die_with_parent

LISTED_DEADLINE: Final = 180.0  # seconds; above those of the supervisors, which end this process before

_MODULES: Final = "ServeHead,StateHead"

P = ParamSpec("P")
R = TypeVar("R")


def dashboard_command(command: Sequence[str]) -> list[str]:
    """Return the dashboard's command line with only the modules of a cell."""
    return [*command, f"--modules-to-load={_MODULES}"]


def retried(ask: Callable[P, R], *, deadline: float, pause: float = 0.5) -> Callable[P, R]:
    """Return ``ask`` as it retries on RuntimeError, Ray's word for "not listed yet", for ``deadline`` seconds."""

    def retrying(*arguments: P.args, **options: P.kwargs) -> R:
        end = time.monotonic() + deadline
        while True:
            try:
                return ask(*arguments, **options)
            except RuntimeError:
                if time.monotonic() >= end:
                    raise
            time.sleep(pause)

    return retrying


def _trim_ray() -> None:
    from ray._private import node, ray_constants, services

    stock: Callable[..., Any] = services.start_ray_process

    def start_ray_process(command: list[str], process_type: str, *arguments: Any, **options: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_DASHBOARD:
            command = dashboard_command(command)
        return stock(command, process_type, *arguments, **options)

    services.start_ray_process = start_ray_process
    services.get_node = retried(services.get_node, deadline=LISTED_DEADLINE)
    node.Node.start_monitor = _do_nothing
    node.Node.start_ray_client_server = _do_nothing


def _do_nothing(_: object) -> None:
    """Stand in for a method of Ray that starts a process that a cell does not use."""


def main() -> None:
    """Run the command line of ``ray``."""
    die_with_parent(os.getppid())
    watch_parent(os.getppid())
    _trim_ray()
    from ray.scripts import scripts

    sys.argv[0] = "ray"
    scripts.main()


if __name__ == "__main__":
    main()
