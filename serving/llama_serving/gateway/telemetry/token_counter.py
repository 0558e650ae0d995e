"""How many tokens an answer has that is passed on without being read: from its own count, else from its events.

The count is ``"completion_tokens"`` in its ``usage``, the last one of the answer. A stream without it has an event for
about each token, and ``FRAME`` more: the one that names the role, and ``[DONE]``.
"""

import re
from typing import Final

FRAME: Final = 2
_END = b"\n\n"
_NAME = b'"completion_tokens"'
_NUMBER = re.compile(rb"\s*:\s*(\d{1,9})\b")


class TokenCounter:
    """One answer."""

    __slots__ = ("_counted", "_events")

    def __init__(self) -> None:
        self._counted: int | None = None
        self._events = 0

    def take(self, piece: bytes) -> None:
        """Look at a piece of it."""
        self._events += piece.count(_END)
        at = piece.rfind(_NAME)
        if at >= 0:
            found = _NUMBER.match(piece, at + len(_NAME))
            if found is not None:
                self._counted = int(found[1])

    def tokens(self, *, events: bool) -> int:
        """Return the tokens; ``events``: it is a stream of them."""
        if self._counted is not None:
            return self._counted
        return max(self._events - FRAME, 0) if events else 0
