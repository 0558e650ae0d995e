"""Records the first engine's events on their way to the client, in case the engine breaks off.

The client gets whole events only, so it does not matter where a stream breaks: an unfinished event counts as not sent.
The recorder keeps each event without the prefix that all events of a stream share (id, time, model). The events are
parsed only if the stream is continued. When the memory for them is used up, the stream goes on but is not continuable.
"""

from collections.abc import Iterator
from typing import Protocol

from llama_serving.gateway.continuation.pure.chunk import (
    ABORTED,
    CHOICES,
    DONE,
    END,
    ERROR,
    LONGEST,
    PROMPT_IDS,
    count_ids,
    own_ids,
    without_empty,
    without_ids,
)
from llama_serving.gateway.continuation.pure.event_check import NO_EVENT, good_part, is_event

#: Memory is reserved in steps, not per event.
BLOCK = 8 << 10
_NOTHING = b"no event begins so"
_NO_MEMORY = "the gateway's memory for running streams is used up"


class StreamMemory(Protocol):
    """Memory that all streams share."""

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes; return False when there are not so many."""

    def release(self, size: int) -> None:
        """Release ``size`` reserved bytes."""


class Recorder:
    """One stream. ``failure``: why its engine must be left, empty while it is well; ``done``: its end was forwarded.

    ``tokens``: number of the answer's tokens forwarded so far. ``lost``: why nothing is recorded, else empty.
    """

    def __init__(self, memory: StreamMemory, *, shows_ids: bool) -> None:
        self.failure = ""
        self.done = False
        self.tokens = 0
        self.lost = ""
        self._memory = memory
        self._shows_ids = shows_ids
        self._prefix = _NOTHING  # what all events begin with
        self._recorded = bytearray()
        self._reserved = 0
        self._beside = 0
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """Accept a piece of the engine; return the bytes for the client."""
        # Nearly all pieces are one event with the known prefix; that check saves half of the searches.
        if self.done:
            return b""  # nothing comes behind the end
        is_one_event = piece.startswith(self._prefix) and piece.find(END) == len(piece) - len(END) and not self._rest
        if not is_one_event or ABORTED in piece or not is_event(piece[: -len(END)]):
            return self._take_any(piece)
        if not self.lost:
            self._record(piece[len(self._prefix) :])
        start, end = own_ids(piece)
        if start < 0:
            return piece
        if end - start > len(b"[]"):
            self.tokens += piece.count(b",", start, end) + 1
        # Half the cost of the regular expression for any events.
        return piece if self._shows_ids else without_empty(piece[:start] + b"null" + piece[end:])

    def _take_any(self, piece: bytes) -> bytes:
        if self._rest or not piece.endswith(END):
            piece = self._whole(piece)
        if ERROR in piece or ABORTED in piece:
            piece = self._until_failure(piece)
        piece, is_all = good_part(piece)
        if not is_all:
            self.failure = self.failure or NO_EVENT
        if self._prefix == _NOTHING and CHOICES in piece:
            self._prefix = piece[: piece.index(CHOICES)]
        if not self.lost:
            self._record(piece)
        self.tokens += count_ids(piece)
        if piece.endswith(DONE):
            self.done, self.failure = True, ""  # whatever came behind the end
        return piece if self._shows_ids else without_ids(piece)

    def events(self) -> Iterator[bytes]:
        """Yield the recorded events, each without the empty line at its end."""
        for event in bytes(self._recorded).split(END):
            if event:
                yield self._prefix + event if event.startswith(CHOICES) else event

    def keep(self, size: int) -> None:
        """Reserve memory for ``size`` bytes that are kept beside the events, as long as the stream runs."""
        if self._memory.reserve(size):
            self._reserved += size
            self._beside += size
        else:
            self.forget(_NO_MEMORY)

    def drop(self) -> None:
        """Drop the bytes; their memory stays reserved, for the transcript made of them."""
        self._recorded = bytearray()

    def forget(self, reason: str = "it is over") -> None:
        """Release the memory; nothing is recorded any more."""
        self.lost = reason
        self._recorded = bytearray()
        self._memory.release(self._reserved)
        self._reserved = 0

    def _whole(self, piece: bytes) -> bytes:
        piece = self._rest + piece
        end = piece.rfind(END) + len(END) if END in piece else 0
        self._rest = piece[end:]
        if len(self._rest) > LONGEST:
            self._rest, self.failure = b"", f"sent an event of more than {LONGEST} bytes"
        return piece[:end]

    def _until_failure(self, piece: bytes) -> bytes:
        whole = []
        for event in piece.split(END)[:-1]:
            if event.startswith(ERROR) or ABORTED in event:
                self.failure = "ended its stream with an error" if event.startswith(ERROR) else "aborted the answer"
                break
            whole.append(event + END)
        return b"".join(whole)

    def _record(self, piece: bytes) -> None:
        more = self._beside + len(self._recorded) + len(piece) - self._reserved
        if more > 0:
            more = max(more, BLOCK)
            if not self._memory.reserve(more):
                self.forget(_NO_MEMORY)
                return
            self._reserved += more
        self._recorded += piece


def is_readable(first: bytes) -> bool:
    """Return whether the first piece of a stream has token ids, so that the stream can be recorded."""
    return PROMPT_IDS in first[: first.find(END) + 1]
