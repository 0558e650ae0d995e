"""What can go wrong with one attempt, and whether the request is tried again.

Rule. Before the first byte of an answer has left for the client, a generation may be repeated. It is repeated

- after a failed connection, up to the limit of retries: the request never arrived;
- after a connection that broke (or spoke no HTTP) while it had the request, up to the same limit, but ``MAX_KILLS``
  times at most: a request that breaks every engine that gets it must not be carried from group to group;
- after 502, 503 and 504, up to the limit of retries: they come from what stands before the engine;
- after 500, ``MAX_INTERNAL`` times: either the engine is dying or the request is at fault, and the second try tells;
- never after any other status: that is the engine's answer;
- never after a hang: the time-out is as long as the longest answer, and the request may be the cause.

A stream that broke off after its first byte is not repeated but continued, up to the limit of retries alone: it is
known that engines can answer it. So the limits for requests that may themselves be the cause do not hold for it.
"""

from dataclasses import dataclass
from enum import StrEnum

MAX_KILLS = 3
MAX_INTERNAL = 1

_GATEWAY_STATUSES = frozenset({502, 503, 504})
RETRIED_STATUSES = _GATEWAY_STATUSES | {500}


class FaultKind(StrEnum):
    """The ways in which an attempt ends without an answer to pass on."""

    CONNECT = "connect"  # refused, unreachable or timed out: the engine never saw the request
    RESET = "reset"  # closed after the request was sent and before a whole head came
    GARBAGE = "garbage"  # what came is not HTTP
    STATUS = "status"  # a head with one of RETRIED_STATUSES
    HANG = "hang"  # no head within the first-byte time-out
    BROKE = "broke"  # a stream ended before its answer did
    DIFFERS = "differs"  # a continuation did not say again what the client has already


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed attempt; ``detail`` completes the sentence "group G ..."."""

    kind: FaultKind
    detail: str
    status: int = 0

    @property
    def is_hard(self) -> bool:
        """Whether the group itself failed, so that it is ejected at once."""
        return self.kind in (FaultKind.CONNECT, FaultKind.RESET, FaultKind.GARBAGE)

    @property
    def is_groups(self) -> bool:
        """Whether it says something about the group at all: with sampling, answers may differ by chance."""
        return self.kind is not FaultKind.DIFFERS


@dataclass(slots=True)
class Tries:
    """How often one request has failed so far, by what the limits look at; ``begun``: the client has a first byte."""

    retries: int = 0
    kills: int = 0
    internal: int = 0
    begun: bool = False

    def may_repeat(self, fault: Fault, max_retries: int) -> bool:
        """Say whether the request is tried again after ``fault``, and count that retry if it is."""
        if self.retries >= max_retries or not self._within_own_limit(fault):
            return False
        self.retries += 1
        self.kills += fault.kind in (FaultKind.RESET, FaultKind.GARBAGE)
        self.internal += fault.status == 500
        return True

    def _within_own_limit(self, fault: Fault) -> bool:
        if self.begun:
            return fault.kind is not FaultKind.HANG
        match fault.kind:
            case FaultKind.CONNECT | FaultKind.BROKE | FaultKind.DIFFERS:
                return True
            case FaultKind.RESET | FaultKind.GARBAGE:
                return self.kills + 1 < MAX_KILLS
            case FaultKind.STATUS:
                return fault.status in _GATEWAY_STATUSES or self.internal < MAX_INTERNAL
            case FaultKind.HANG:
                return False
