"""Which of vLLM's routes a replica mounts: those that the gateway passes, and nothing that changes the engine.

The engine's port is open to the group's own pods and to gateways. Whoever reaches it past the gateway finds no more but
the engine's metrics, which the leader's supervisor reads there.
"""

from typing import Final

from fastapi import FastAPI

from llama_serving.config import names
from llama_serving.config.routes.table import ANSWERED, PASSED_PATHS

MOUNTED: Final = PASSED_PATHS | {route.path for route in ANSWERED if route.of_engine} | {names.ROUTE_METRICS}


def unmount_others(app: FastAPI) -> None:
    """Remove every route of the app that users are not to reach."""
    app.router.routes[:] = [route for route in app.router.routes if plain_path(getattr(route, "path", "")) in MOUNTED]


def plain_path(path: str) -> str:
    """Return the path of a mounted route as the table spells it."""
    return path.replace(":path}", "}")
