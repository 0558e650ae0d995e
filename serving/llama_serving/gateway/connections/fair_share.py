"""Shares of the event loop's time: while it does not suffice, no peer gets more than its fair share.

One loop serves everybody, so whoever sends what is dear to read (a body in chunks of two bytes, a thousand headers)
makes all others wait. While the loop is busy, the time that each peer takes is measured, and a peer that has taken more
than its share is read no further: its connections wait, and are read on one by one when there is time, those of the
peer that has taken least first. This is max-min fairness (Demers, Keshav, Shenker 1989): whoever takes less than the
share never waits, and all others get the same.

    busy     the loop works for more than ``BUSY`` of the time; over when it is less than ``CALM`` and nobody waits
    share    of ``CAPACITY``, what is left by the peers that take less, divided by the number of the others
    room     seconds of work for those who wait: grows by ``CAPACITY`` of the time, shrinks by what the loop works

A single peer never waits: nobody would gain. Nothing is measured while the loop is not busy.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

#: Parts of the loop's time.
BUSY: Final = 0.7
CALM: Final = 0.5
CAPACITY: Final = 0.75
#: Seconds after which a third of what a peer has taken still counts.
WINDOW: Final = 1.0
#: A peer waits when it has taken so many times its share: what little it takes comes in bursts.
TOLERANCE: Final = 1.25
#: Seconds between two looks: usually, and while somebody waits; then some more for each peer, since a look goes
#: through all of them.
PERIOD: Final = 0.05
SHORT_PERIOD: Final = 0.002
PERIOD_PER_PEER: Final = 2e-5
#: Seconds of work: the most that is left for later, the most that is owed, and what opening a connection takes.
MOST_ROOM: Final = 0.004  # or what is there by the next look
MOST_OWED: Final = 0.02
OPENING: Final = 0.0002
#: Part of the time that is for those who wait whatever there is of room: other work than that of peers may take it all.
LEAST_PART: Final = 0.05
# Part of the loop's time that all peers but one take, below which that one is as good as alone.
_NEXT_TO_NOTHING: Final = 0.005
# Turns of a peer, faded, below which it is forgotten.
_FORGOTTEN: Final = 0.2
# Part of the time that is divided, however much the loop does beside.
_LEAST_LEFT: Final = 0.2
_LEAST_COST: Final = 2e-5


class Reader(Protocol):
    """A connection whose reading may have to wait."""

    peer: str

    def read_on(self) -> None:
        """Read again: its turn has come."""


@dataclass(slots=True)
class _PeerTime:
    """What a peer has taken, in seconds and in turns, both fading; ``at`` is when. ``waiting``: longest first."""

    at: float
    seconds: float = 0.0
    turns: float = 0.0
    waiting: dict[Reader, None] = field(default_factory=dict)

    def fade(self, now: float) -> None:
        """Let time pass."""
        if now > self.at:
            part = math.exp((self.at - now) / WINDOW)
            self.seconds *= part
            self.turns *= part
            self.at = now

    @property
    def cost(self) -> float:
        """Seconds that one turn is expected to take."""
        seconds = self.seconds / self.turns if self.turns else OPENING
        return min(max(seconds, _LEAST_COST), MOST_OWED)


class FairShare:
    """The shares of one loop. ``idle``: seconds that the loop has waited for something to do so far.

    ``load``: part of the time that the loop works.
    """

    def __init__(self, *, clock: Callable[[], float], idle: Callable[[], float]) -> None:
        self.is_busy = False
        self.load = 0.0
        self._clock = clock
        self._idle = idle
        self._at, self._idle_at = clock(), idle()
        self._room = 0.0
        self._most = math.inf
        self._least = 0.0  # seconds of work for those who wait, whatever there is of room
        self._counted_at = self._at
        self._stopped = False
        self._peers: dict[str, _PeerTime] = {}
        self._waiting: dict[str, _PeerTime] = {}  # those with connections that wait

    @property
    def waiting(self) -> int:
        """How many connections wait to be read on."""
        return sum(len(peer.waiting) for peer in self._waiting.values())

    @property
    def period(self) -> float:
        """Seconds until the next look."""
        return min(SHORT_PERIOD + PERIOD_PER_PEER * len(self._waiting), PERIOD) if self._waiting else PERIOD

    def divides(self) -> bool:
        """Whether it matters who takes how much: the loop is busy with several peers."""
        return self.is_busy and len(self._peers) > 1

    def note(self, name: str, seconds: float, *, turns: int = 1) -> None:
        """Count what the loop has done for a peer; ``turns`` 0: more of what it was counted for before."""
        now = self._clock()
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = _PeerTime(now)
        peer.fade(now)
        peer.seconds += seconds
        peer.turns += turns

    def must_wait(self, connection: Reader) -> bool:
        """Return whether a connection is to be read no further; ``read_on`` is called in its turn, unless removed."""
        if not self.is_busy or self._most == math.inf:
            return False
        peer = self._peers.get(connection.peer)
        if peer is None or not (peer.waiting or peer.seconds > self._most):
            return False
        peer.waiting[connection] = None
        self._waiting[connection.peer] = peer
        return True

    def remove(self, connection: Reader) -> None:
        """Forget a connection. A second call does nothing."""
        peer = self._waiting.get(connection.peer)
        if peer is None:
            return
        peer.waiting.pop(connection, None)
        if not peer.waiting:
            del self._waiting[connection.peer]

    def stop(self) -> bool:
        """Let nobody wait from now on; return whether somebody did."""
        self._stopped = True
        self.is_busy = False
        waited = [connection for peer in self._waiting.values() for connection in peer.waiting]
        self._waiting.clear()
        self._peers.clear()
        for connection in waited:
            connection.read_on()
        return bool(waited)

    def look(self) -> None:
        """Find out how busy the loop is, and read on who has waited."""
        now, idle = self._clock(), self._idle()
        passed = now - self._at
        if passed <= 0 or self._stopped:
            return
        worked = max(passed - (idle - self._idle_at), 0.0)
        self._at, self._idle_at = now, idle
        self.load += (worked / passed - self.load) * -math.expm1(-passed / WINDOW)
        most = max(MOST_ROOM, CAPACITY * self.period)
        self._room = min(max(self._room + CAPACITY * passed - worked, -MOST_OWED), most)
        self.is_busy = bool(self._waiting) or self.load > (CALM if self.is_busy else BUSY)
        if not self.is_busy:
            self._peers.clear()
            return
        if now - self._counted_at >= PERIOD:
            self._count(now)
        self._least = min(self._least + LEAST_PART * passed, MOST_ROOM) if self._waiting else 0.0
        room = max(self._room, self._least)
        if self._waiting and room > 0:
            self._release(now, room)

    def _count(self, now: float) -> None:
        """Find the share: what is left by those who take less, divided by the others. Who waits wants any amount.

        What the loop does beside, for engines and for itself, comes first.
        """
        self._counted_at = now
        for name, peer in list(self._peers.items()):
            peer.fade(now)
            if not peer.waiting and peer.turns < _FORGOTTEN and peer.seconds < _NEXT_TO_NOTHING * WINDOW:
                del self._peers[name]
        known = sum(peer.seconds for peer in self._peers.values())
        beside = max(self.load * WINDOW - known, 0.0)
        left = max(CAPACITY * WINDOW - beside, _LEAST_LEFT * WINDOW)
        wanted = sorted(math.inf if peer.waiting else peer.seconds for peer in self._peers.values())
        self._most = math.inf
        if sum(wanted[:-1]) < _NEXT_TO_NOTHING * WINDOW:
            return  # there is but one
        for others, seconds in zip(range(len(wanted), 0, -1), wanted, strict=True):
            if seconds * others >= left:
                self._most = TOLERANCE * left / others
                return
            left -= seconds

    def _release(self, now: float, room: float) -> None:
        """Read on connections that take ``room`` seconds together, if they take what their peers usually do."""
        for peer in self._waiting.values():
            peer.fade(now)
        least_first = [(peer.seconds, number, peer) for number, peer in enumerate(self._waiting.values())]
        heapq.heapify(least_first)
        while room > 0 and least_first:
            seconds, number, peer = least_first[0]
            connection = next(iter(peer.waiting))
            self.remove(connection)
            cost = peer.cost
            if peer.waiting:
                heapq.heapreplace(least_first, (seconds + cost, number, peer))
            else:
                heapq.heappop(least_first)
            room -= cost
            self._least = max(self._least - cost, -MOST_OWED)
            connection.read_on()
