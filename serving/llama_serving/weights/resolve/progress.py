"""A line on how far the reading is, at most every few seconds."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Final

_EVERY_S: Final = 5.0
_MB: Final = 1e6


class Progress:
    """Counts bytes and tells; ``clock`` gives seconds."""

    def __init__(self, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._total = 0
        self._done = 0
        self._begun = self._told = clock()

    def expect(self, total: int) -> None:
        """The reading of ``total`` bytes begins."""
        self._total, self._done = total, 0
        self._begun = self._told = self._clock()

    async def counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same pieces."""
        async for piece in pieces:
            self._done += len(piece)
            self._say()
            yield piece

    def _say(self) -> None:
        now = self._clock()
        if now - self._told < _EVERY_S:
            return
        self._told = now
        rate = self._done / max(now - self._begun, 1e-3)
        left = (self._total - self._done) / max(rate, 1.0)
        self._tell(
            f"read {self._done / _MB:.0f} of {self._total / _MB:.0f} MB at {rate / _MB:.1f} MB/s, {left:.0f} s left"
        )
