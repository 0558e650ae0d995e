"""Transports of asyncio that are done with."""

import asyncio


def end_cycle(transport: asyncio.BaseTransport | None) -> None:
    """Let a transport that reads no more be freed at once: asyncio's own refers to itself (3.11 to 3.14).

    Left as it is, each connection that was closed would wait for the garbage collector, with its socket.
    """
    if transport is not None and hasattr(transport, "_read_ready_cb"):
        transport._read_ready_cb = None  # noqa: SLF001
