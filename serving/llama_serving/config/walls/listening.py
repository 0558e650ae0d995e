"""Every port that listens in a pod of a deployment: on which address, and what it asks of who connects.

docs/explanation/threat-model.md shows this table, and a test compares it with what a running cell listens on. A port
that is in no row is a hole.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from llama_serving.config import names


class BoundTo(StrEnum):
    """Which addresses of the pod accept a connection."""

    POD = "pod"  # its own address, and no further network's
    ALL = "all"
    LOOPBACK = "loopback"  # the pod itself alone


class Asks(StrEnum):
    """What a connection must bring."""

    NOTHING = "nothing"
    ENGINE_KEY = "engine's key"
    GROUP_TOKEN = "group's token"
    STATE = "nothing to read, group's token to change"
    PARTLY = "group's token; nothing"  # as the purpose names two
    FETCH_KEY = "proxy's key"
    CALLER = "what the gateway asks of its callers"


@dataclass(frozen=True)
class ListeningPort:
    """One port, or ports that the kernel or Ray chooses (None) for one purpose."""

    pods: tuple[str, ...]  # leader, worker, gateway, fetch proxy
    port: int | None
    process: str  # part of its command line
    bound: BoundTo
    asks: Asks
    purpose: str


_CELL: Final = ("leader", "worker")
_LEADER: Final = ("leader",)
_AGENT_HTTP: Final = 52365  # Ray's own number

# fmt: off
LISTENING: Final = (
    ListeningPort(_LEADER, names.PORT_ENGINE, "ServeReplica", BoundTo.POD, Asks.ENGINE_KEY, "the engine's routes"),
    ListeningPort(_CELL, names.PORT_STATE, "llama_serving.cell", BoundTo.POD, Asks.STATE,
                  "state and probes; another desired state with the group's token"),
    ListeningPort(_LEADER, names.PORT_METRICS, "llama_serving.cell", BoundTo.POD, Asks.NOTHING, "metrics"),
    ListeningPort(_LEADER, names.PORT_RAY_GCS, "gcs_server", BoundTo.ALL, Asks.GROUP_TOKEN, "Ray's control store"),
    ListeningPort(_LEADER, names.PORT_RAY_DASHBOARD, "dashboard", BoundTo.POD, Asks.GROUP_TOKEN,
                  "Serve's REST API, list of nodes"),
    ListeningPort(_LEADER, None, "dashboard.py", BoundTo.ALL, Asks.NOTHING, "metrics of Ray's dashboard"),
    ListeningPort(_LEADER, None, "ray-dashboard", BoundTo.ALL, Asks.GROUP_TOKEN, "gRPC of Serve's REST API"),
    ListeningPort(_LEADER, None, "ServeController", BoundTo.ALL, Asks.GROUP_TOKEN, "gRPC of Serve's controller"),
    ListeningPort(_LEADER, None, "ServeReplica", BoundTo.ALL, Asks.PARTLY, "gRPC of Ray's worker; of Serve's replica"),
    ListeningPort(_LEADER, None, "forkserver", BoundTo.ALL, Asks.GROUP_TOKEN, "gRPC of the engine core's Ray worker"),
    ListeningPort(_LEADER, None, "forkserver", BoundTo.POD, Asks.NOTHING, "vLLM's queue from engine core to stages"),
    ListeningPort(_CELL, None, "StageProc", BoundTo.ALL, Asks.PARTLY, "gRPC of Ray's worker; torch's store on rank 0"),
    ListeningPort(_CELL, None, "StageProc", BoundTo.POD, Asks.NOTHING, "gloo, NCCL and vLLM's queues between stages"),
    ListeningPort(_CELL, None, "ray::IDLE", BoundTo.ALL, Asks.GROUP_TOKEN, "gRPC of Ray's spare worker"),
    ListeningPort(_CELL, None, "raylet", BoundTo.ALL, Asks.GROUP_TOKEN, "Ray's node and object manager"),
    ListeningPort(_CELL, _AGENT_HTTP, "DashboardAgent", BoundTo.POD, Asks.GROUP_TOKEN, "Ray's agent"),
    ListeningPort(_CELL, _AGENT_HTTP, "DashboardAgent", BoundTo.LOOPBACK, Asks.GROUP_TOKEN, "Ray's agent"),
    ListeningPort(_CELL, None, "DashboardAgent", BoundTo.ALL, Asks.PARTLY, "gRPC of Ray's agent; its metrics"),
    ListeningPort(_CELL, None, "RuntimeEnvAgent", BoundTo.POD, Asks.GROUP_TOKEN, "Ray's runtime environments"),
    ListeningPort(("gateway",), names.PORT_GATEWAY, "llama_serving.gateway", BoundTo.ALL, Asks.CALLER,
                  "the OpenAI API of the users"),
    ListeningPort(("gateway",), names.PORT_GATEWAY_ADMIN, "llama_serving.gateway", BoundTo.ALL, Asks.NOTHING,
                  "load, metrics and probes"),
    ListeningPort(("fetch proxy",), names.PORT_FETCH, "llama_serving.weights proxy", BoundTo.ALL, Asks.FETCH_KEY,
                  "the way of stagers to sources"),
)
# fmt: on


def listening_rows() -> list[str]:
    """Return the rows of the table in the threat model, as Markdown."""
    return [
        f"| {', '.join(one.pods)} | {one.port or 'chosen'} | {one.purpose} | {one.bound} | {one.asks} |"
        for one in LISTENING
    ]
