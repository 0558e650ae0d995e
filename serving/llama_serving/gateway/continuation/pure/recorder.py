"""The first engine's events on their way to the client: whole ones only, kept for the case that the engine breaks off.

A client gets whole events, so where a stream may be cut does not matter: what came of an unfinished event is as good
as not sent. Kept are the bytes behind what all events of a stream begin with (id, time, model); they are parsed only
if the stream has to be continued. Where the memory for that is used up the stream goes on, but cannot be continued.
"""

from collections.abc import Iterator
from typing import Protocol

from llama_serving.gateway.continuation.pure.chunk import (
    ABORTED,
    CHOICES,
    DONE,
    END,
    ERROR,
    PROMPT_IDS,
    count_ids,
    own_ids,
    without_ids,
)

#: Memory is reserved in steps, not per event.
BLOCK = 8 << 10
_NOTHING = b"no event begins so"


class StreamMemory(Protocol):
    """Memory that all streams share."""

    def keep(self, size: int) -> bool:
        """Reserve so many bytes; False when there are not so many."""

    def free(self, size: int) -> None:
        """Give back what was reserved."""


class Recorder:
    """One stream. ``failure``: why it must be left, empty while it is well; ``done``: its end has been passed on.

    ``tokens``: how many of the answer have been passed on.
    """

    def __init__(self, room: StreamMemory, *, shows_ids: bool) -> None:
        self.failure = ""
        self.done = False
        self.tokens = 0
        self.lost = ""  # why nothing is kept
        self._room = room
        self._shows_ids = shows_ids
        self._usual = _NOTHING  # what all events begin with
        self._kept = bytearray()
        self._reserved = 0
        self._rest = b""

    def take(self, piece: bytes) -> bytes:
        """Take in what the engine sent; return what the client gets now."""
        # Nearly all pieces are one event like those before; finding that out makes half of the searches needless.
        is_usual = piece.startswith(self._usual) and piece.find(END) == len(piece) - len(END) and not self._rest
        if not is_usual or ABORTED in piece:
            return self._take_any(piece)
        if not self.lost:
            self._keep(piece[len(self._usual) :])
        start, end = own_ids(piece)
        if start < 0:
            return piece
        if end - start > len(b"[]"):
            self.tokens += piece.count(b",", start, end) + 1
        # Half of what the expression for any events costs.
        return piece if self._shows_ids else piece[:start] + b"null" + piece[end:]

    def _take_any(self, piece: bytes) -> bytes:
        if self._rest or not piece.endswith(END):
            piece = self._whole(piece)
        if ERROR in piece or ABORTED in piece:
            piece = self._until_failure(piece)
        if self._usual == _NOTHING and CHOICES in piece:
            self._usual = piece[: piece.index(CHOICES)]
        if not self.lost:
            self._keep(piece)
        self.tokens += count_ids(piece)
        if piece.endswith(DONE):
            self.done = True
        return piece if self._shows_ids else without_ids(piece)

    def events(self) -> Iterator[bytes]:
        """Yield the kept events, each without the empty line at its end."""
        for event in bytes(self._kept).split(END):
            if event:
                yield self._usual + event if event.startswith(CHOICES) else event

    def drop(self) -> None:
        """Drop the bytes; their memory stays reserved, for what was made of them."""
        self._kept = bytearray()

    def forget(self, reason: str = "it is over") -> None:
        """Free the memory."""
        self.lost = reason
        self._kept = bytearray()
        self._room.free(self._reserved)
        self._reserved = 0

    def _whole(self, piece: bytes) -> bytes:
        piece = self._rest + piece
        end = piece.rfind(END) + len(END) if END in piece else 0
        self._rest = piece[end:]
        return piece[:end]

    def _until_failure(self, piece: bytes) -> bytes:
        whole = []
        for event in piece.split(END)[:-1]:
            if event.startswith(ERROR) or ABORTED in event:
                self.failure = "ended its stream with an error" if event.startswith(ERROR) else "aborted the answer"
                break
            whole.append(event + END)
        return b"".join(whole)

    def _keep(self, piece: bytes) -> None:
        more = len(self._kept) + len(piece) - self._reserved
        if more > 0:
            more = max(more, BLOCK)
            if not self._room.keep(more):
                self.forget("the gateway's memory for running streams is used up")
                return
            self._reserved += more
        self._kept += piece


def is_readable(first: bytes) -> bool:
    """Say whether a stream that begins so tells its token ids, so that it can be recorded."""
    return PROMPT_IDS in first[: first.find(END) + 1]
