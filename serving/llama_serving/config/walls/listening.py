"""Every port that listens in a pod of a deployment: on which address, and what it asks of who connects.

docs/explanation/threat-model.md shows this table, and a test compares it with what a running cell listens on. A port
that is in no row is a hole.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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
    FETCH_KEY = "proxy's key"
    CALLER = "what the gateway asks of its callers"


@dataclass(frozen=True)
class ListeningPort:
    """One port, or ports that the kernel chooses (None) for one purpose."""

    pods: tuple[str, ...]  # leader, worker, gateway, fetch
    port: int | None
    process: str  # what it is to a reader
    bound: BoundTo
    asks: Asks
    note: str = ""  # for the reader


_CELL: Final = ("leader", "worker")

LISTENING: Final[tuple[ListeningPort, ...]] = ()
