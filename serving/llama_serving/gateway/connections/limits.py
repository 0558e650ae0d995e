"""How many connections clients may have, and how much memory these may take: from the container's limits.

A connection counts as ``CONNECTION`` bytes while it does nothing, of this process and of the kernel: 650 idle ones
added 4 MiB to the process (docs/benchmarks). What it holds beyond that is counted by the byte. Descriptors are needed
twice, for the client and for an engine; some stay spare, for the admin port, discovery, and connections that are
accepted only to be closed.
"""

import resource
from dataclasses import dataclass
from typing import Final

from llama_serving.config.gateway import GatewayConfig
from llama_serving.gateway.http.memory_budget import PROCESS

#: Bytes of a connection that holds nothing but a head of up to ``FREE_HEAD`` bytes.
CONNECTION: Final = 16 << 10
FREE_HEAD: Final = 2 << 10
#: Bytes of the kernel's buffers, each way; it takes twice as many. Fixed: left alone, they grow to 6 MiB while a client
#: sends fast.
SOCKET_BUFFER: Final = 64 << 10
#: Bytes of a client's connection that are received at a time, and that wait to be sent before the engine is held up.
RECEIVED: Final = 64 << 10
UNSENT: Final = 64 << 10
#: Connections that are accepted in one turn of the loop, and descriptors for everything but clients.
ACCEPTED_AT_A_TIME: Final = 8
SPARE_DESCRIPTORS: Final = 128
#: Connections that the kernel accepts for us while we are busy.
BACKLOG: Final = 1024
_WITHOUT_LIMIT: Final = 1 << 30
_LEAST_MEMORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of clients' connections; sizes in bytes, times in seconds.

    ``memory``: of all of them together. ``resident``: of the process, where it sheds load whatever is counted; None: it
    has no limit.
    """

    most: int
    most_per_peer: int
    memory: int
    resident: int | None
    head_timeout: float
    min_rate: int
    grace: float


def connection_limits(config: GatewayConfig, *, memory: int | None, descriptors: int) -> ConnectionLimits:
    """Return the limits under this memory limit, in bytes, and with so many descriptors."""
    share = _WITHOUT_LIMIT if memory is None else max((memory - PROCESS) // 4, _LEAST_MEMORY)
    # Half of the memory for what connections hold beyond themselves.
    possible = min(share // 2 // CONNECTION, most_by_descriptors(descriptors))
    most = max(min(possible, config.max_connections or possible), 1)
    per_peer = config.max_connections_per_peer or max(most * 3 // 4, 1)
    return ConnectionLimits(
        most=most,
        most_per_peer=min(per_peer, most),
        memory=share,
        resident=None if memory is None else memory - (memory - PROCESS) // 8,
        head_timeout=config.head_timeout,
        min_rate=config.min_client_rate,
        grace=config.client_grace,
    )


def most_by_descriptors(descriptors: int) -> int:
    """Return how many clients' connections so many descriptors allow."""
    spare = min(SPARE_DESCRIPTORS + ACCEPTED_AT_A_TIME, descriptors // 2)
    return max((descriptors - spare) // 2, 1)


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
