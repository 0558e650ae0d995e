"""All connections of clients: who gets in, whose place is taken, and the memory that they may hold together.

A connection that waits for a request is worth less than one that has one. When there are too many, of one peer or in
all, a newcomer takes the place of one that waits: of its own peer or of the one with the most, first the longest
without any request so far, then the longest idle. Where all have requests, the newcomer is closed. So whoever opens
connections and does not use them loses them, and a client that asks finds a place.

Memory is made free at the cost of the connection that has held some for the longest because its client does not do its
part: it takes no answer, or sends on behind a request that is not answered.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from llama_serving.gateway.connections.limits import ConnectionLimits


class Held(Protocol):
    """A connection, as the table sees it."""

    peer: str
    had_request: bool

    def cut(self, reason: str) -> None:
        """Close the connection at once; ``reason`` is one of ``ConnectionTable.REASONS``, or empty: it is counted."""

    def why_close(self, now: float) -> str:
        """Return why the connection is given up, one of ``ConnectionTable.REASONS``; empty while it is well."""


@dataclass(slots=True)
class _Peer:
    """Connections of one address; ``fresh`` and ``idle`` wait for their first and for another request, oldest first."""

    connections: dict[Held, None] = field(default_factory=dict)
    fresh: dict[Held, None] = field(default_factory=dict)
    idle: dict[Held, None] = field(default_factory=dict)

    def oldest_waiting(self) -> Held | None:
        """Return the connection whose place a newcomer takes."""
        return next(iter(self.fresh or self.idle), None)


class ConnectionTable:
    """The connections; ``held`` are the bytes that they hold beyond what each takes, ``closed`` counts by reason."""

    REASONS = ("full", "peer_full", "slow_head", "slow_reader", "pipelined", "left", "memory")

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.count = 0
        self.held = 0
        self.closed: Counter[str] = Counter(dict.fromkeys(self.REASONS, 0))
        self._peers: dict[str, _Peer] = {}
        self._at_fault: dict[Held, None] = {}
        # What connections take by being there is bounded by their number.
        self._most_held = limits.memory // 2

    def __iter__(self) -> Iterator[Held]:
        """Yield all connections; they may be closed meanwhile."""
        return iter([one for peer in self._peers.values() for one in peer.connections])

    def admit(self, connection: Held) -> bool:
        """Take in a connection, if need be for another; return False where there is no place."""
        peer = self._peers.get(connection.peer)
        if peer is not None and len(peer.connections) >= self.limits.most_per_peer:
            if not self._replace(peer, "peer_full"):
                return False
        elif self.count >= self.limits.most and not self._replace(self._largest(), "full"):
            return False
        self._peers.setdefault(connection.peer, _Peer()).connections[connection] = None
        self.count += 1
        self.waits(connection)
        return True

    def waits(self, connection: Held) -> None:
        """Record that a connection waits for a request."""
        peer = self._peers.get(connection.peer)
        if peer is not None and connection in peer.connections:
            (peer.idle if connection.had_request else peer.fresh)[connection] = None

    def has_request(self, connection: Held) -> None:
        """Record that a connection waits no more."""
        peer = self._peers.get(connection.peer)
        if peer is not None:
            peer.fresh.pop(connection, None)
            peer.idle.pop(connection, None)

    def remove(self, connection: Held) -> None:
        """Forget a connection. A second call does nothing."""
        peer = self._peers.get(connection.peer)
        if peer is None or connection not in peer.connections:
            return
        self.has_request(connection)
        del peer.connections[connection]
        self.count -= 1
        if not peer.connections:
            del self._peers[connection.peer]

    def reserve(self, size: int, *, at_fault: Held | None = None) -> bool:
        """Count bytes that a connection holds; return False, and count nothing, where no room can be made.

        ``at_fault``: the connection, where its client is the reason that it holds them. ``settled`` must follow.
        """
        for oldest in [] if self.held + size <= self._most_held else list(self._at_fault):
            if oldest is not at_fault:
                oldest.cut("memory")
            if self.held + size <= self._most_held:
                break
        if self.held + size > self._most_held:
            return False
        self.held += size
        if at_fault is not None:
            self._at_fault.setdefault(at_fault)
        return True

    def settled(self, connection: Held) -> None:
        """Record that a client is not at fault any more."""
        self._at_fault.pop(connection, None)

    def release(self, size: int) -> None:
        """Count bytes no more."""
        self.held -= size

    def _largest(self) -> _Peer:
        return max(
            self._peers.values(),
            key=lambda peer: (bool(peer.fresh or peer.idle), len(peer.connections)),
            default=_Peer(),
        )

    def _replace(self, peer: _Peer, reason: str) -> bool:
        oldest = peer.oldest_waiting()
        self.closed[reason] += 1
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.cut("")
        return True
