"""The tap of a stream that cannot be continued: whole events only, each of which a client can read."""

from llama_serving.gateway.continuation.pure.chunk import DONE, END, ERROR, LONGEST
from llama_serving.gateway.continuation.pure.event_check import NO_EVENT, good_part
from llama_serving.gateway.telemetry.token_counter import TokenCounter


class CheckedEvents:
    """One stream. ``failure``: why it ends here, empty while it is well; ``done``: its end was passed on."""

    def __init__(self) -> None:
        self.failure = ""
        self.done = False
        self._is_over = False
        self._rest = b""
        self._counter = TokenCounter()

    @property
    def tokens(self) -> int:
        """Number of tokens passed on."""
        return self._counter.tokens(events=True)

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the engine; return the bytes for the client."""
        if self._is_over or self.failure:
            return b""
        piece = self._rest + piece if self._rest else piece
        end = piece.rfind(END) + len(END) if END in piece else 0
        self._rest = piece[end:]
        events, is_all = good_part(piece[:end])
        if not is_all:
            self.failure = NO_EVENT
        elif len(self._rest) > LONGEST:
            self.failure = f"sent an event of more than {LONGEST} bytes"
        # An engine that reports a failure in its middle need not send the end.
        self._is_over = events.endswith(DONE)
        if self._is_over:
            self.failure = ""  # whatever came behind the end
        self.done = not self.failure and (self.done or self._is_over or ERROR in events)
        self._counter.take(events)
        return events
