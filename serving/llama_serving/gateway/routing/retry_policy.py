"""How one attempt can fail, and whether the request is retried.

Until the first byte of an answer has left for the client, a request may be retried. It is retried

- after a failed connection, up to ``max_retries``: the request never arrived;
- after a connection that was closed (or broke the protocol) while it had the request, up to the same limit, but at
  most ``MAX_KILLS`` times: a request that crashes its engine must not crash one group after the other;
- after 502, 503 and 504, up to ``max_retries``: they come from the servers in front of the engine;
- after 500, ``MAX_INTERNAL`` times: either the engine is dying or the request is at fault, and the retry shows which;
- never after any other status: that is the engine's answer;
- never after a read timeout: it is as long as the longest answer, and the request may be the cause.

None of it once the request itself is the cause (blame.py). The last attempt is for a group that has not failed the
request, where there is one: it waits for that group's slot.

After an engine has said that it has not the adapter of a request nothing is counted: that is news about where the
adapter is, no failure. The router (router.py) does not ask it again for some time, and the queue's time-out ends it.

A stream that broke after its first byte is not retried but continued, up to ``max_retries`` alone: engines are known
to answer it, so the lower limits for requests that may themselves be the cause do not apply.
"""

from dataclasses import dataclass
from enum import StrEnum

MAX_KILLS = 3
MAX_INTERNAL = 1

_GATEWAY_STATUSES = frozenset({502, 503, 504})
RETRIED_STATUSES = _GATEWAY_STATUSES | {500}


class FaultKind(StrEnum):
    """The ways in which an attempt fails; the values are labels of the metric attempt_faults."""

    CONNECT = "connect"  # refused, unreachable or timed out: the engine never saw the request
    LOCAL = "local"  # this process could not open a connection: it lacks descriptors, ports or memory
    RESET = "reset"  # closed after the request was sent and before a whole head came
    PROTOCOL_ERROR = "protocol_error"  # what came is not HTTP
    STATUS = "status"  # a head with one of RETRIED_STATUSES
    READ_TIMEOUT = "read_timeout"  # no first byte within first_byte_timeout
    STREAM_BROKEN = "stream_broken"  # a stream ended before its answer did
    DIFFERS = "differs"  # a continuation did not repeat what the client has already
    ADAPTER_ABSENT = "adapter_absent"  # the engine has not the adapter that it was asked for, or has another one


@dataclass(frozen=True, slots=True)
class AttemptFault:
    """One failed attempt; ``detail`` completes the sentence "group G ..."."""

    kind: FaultKind
    detail: str
    status: int = 0

    @property
    def is_seen(self) -> bool:
        """Whether the engine had got the request, so that the request itself may be the cause."""
        broke = (FaultKind.RESET, FaultKind.PROTOCOL_ERROR, FaultKind.STREAM_BROKEN)
        return self.kind in broke or (self.kind is FaultKind.STATUS and self.status == 500)

    @property
    def doubts_backend(self) -> bool:
        """Whether the backend may be at fault: with sampling answers differ by chance, and LOCAL is our own."""
        return self.kind not in (FaultKind.DIFFERS, FaultKind.ADAPTER_ABSENT, FaultKind.LOCAL)


@dataclass(slots=True)
class Tries:
    """Failures of one request so far, counted per limit; ``answer_begun``: the client has a first byte."""

    retries: int = 0
    kills: int = 0
    internal: int = 0
    answer_begun: bool = False

    @property
    def is_last(self) -> bool:
        """Whether one more failure of an engine that has the request may end it."""
        return not self.answer_begun and (self.internal >= MAX_INTERNAL or self.kills + 1 >= MAX_KILLS)

    def may_retry(self, fault: AttemptFault, max_retries: int) -> bool:
        """Return whether the request is retried after ``fault``, and count that retry."""
        if self.retries >= max_retries or not self._within_own_limit(fault):
            return False
        self.retries += 1
        self.kills += fault.kind in (FaultKind.RESET, FaultKind.PROTOCOL_ERROR)
        self.internal += fault.status == 500
        return True

    def _within_own_limit(self, fault: AttemptFault) -> bool:
        if self.answer_begun:
            return fault.kind is not FaultKind.READ_TIMEOUT
        match fault.kind:
            case FaultKind.CONNECT | FaultKind.LOCAL | FaultKind.ADAPTER_ABSENT:
                return True
            case FaultKind.STREAM_BROKEN | FaultKind.DIFFERS:
                return True
            case FaultKind.RESET | FaultKind.PROTOCOL_ERROR:
                return self.kills + 1 < MAX_KILLS
            case FaultKind.STATUS:
                return fault.status in _GATEWAY_STATUSES or self.internal < MAX_INTERNAL
            case FaultKind.READ_TIMEOUT:
                return False
