"""The number of tokens of an answer that is forwarded without parsing: from its own count, else from its events.

The count is the answer's last ``"completion_tokens"``, or ``"output_tokens"`` as responses and messages name it, in its
``usage``. A stream without it has about one event per
token and ``FRAME`` more: the one that names the role, and ``[DONE]``.
"""

import re
from typing import Final

FRAME: Final = 2
_END = b"\n\n"
_NAMES = (b'"completion_tokens"', b'"output_tokens"')
_NUMBER = re.compile(rb"\s*:\s*(\d{1,9})\b")


class TokenCounter:
    """Counts the tokens of one answer."""

    __slots__ = ("_counted", "_events")

    def __init__(self) -> None:
        self._counted: int | None = None
        self._events = 0

    def take(self, piece: bytes) -> None:
        """Count a piece of the answer."""
        self._events += piece.count(_END)
        for name in _NAMES:
            at = piece.rfind(name)
            if at >= 0:
                found = _NUMBER.match(piece, at + len(name))
                if found is not None:
                    self._counted = int(found[1])

    def tokens(self, *, events: bool) -> int:
        """Return the number of tokens; ``events``: the answer is a stream of events."""
        if self._counted is not None:
            return self._counted
        return max(self._events - FRAME, 0) if events else 0
