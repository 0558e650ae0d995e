"""The state of this process that the server, the request handler and the admin port share."""

from dataclasses import dataclass


@dataclass(slots=True)
class ServerState:
    """``synced``: discovery has published once (no groups is a valid answer); ``draining``: from SIGTERM on."""

    synced: bool = False
    draining: bool = False
    open_requests: int = 0
