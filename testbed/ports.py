"""Ports on which a program can be started, also some time later."""

import secrets
import socket
from contextlib import ExitStack
from typing import Final

_PORTS: Final = range(20000, 30000)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; all are held until the last is chosen, so that they differ.

    They lie below the range out of which the kernel takes ports for outgoing connections: such a connection cannot take
    one of them before its program has started, and a server that was killed finds its port free when it is started
    again.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = _PORTS.start + secrets.randbelow(len(_PORTS))
            one = held.enter_context(socket.socket())
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def free_port() -> int:
    """Return one such port."""
    return free_ports(1)[0]
