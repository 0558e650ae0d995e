"""Reports how far the reading of some weights is, at most every few seconds."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Final

_EVERY_S: Final = 5.0
_MB: Final = 1e6


class ReadProgress:
    """Counts bytes and reports them by ``notify``; ``clock`` gives seconds."""

    def __init__(self, notify: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._notify = notify
        self._clock = clock
        self._total = 0
        self._done = 0
        self._began_at = self._reported_at = clock()

    def expect(self, total: int) -> None:
        """Begin to count towards ``total`` bytes."""
        self._total, self._done = total, 0
        self._began_at = self._reported_at = self._clock()

    async def counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the same pieces, counted."""
        async for piece in pieces:
            self._done += len(piece)
            self._report()
            yield piece

    def _report(self) -> None:
        now = self._clock()
        if now - self._reported_at < _EVERY_S:
            return
        self._reported_at = now
        rate = self._done / max(now - self._began_at, 1e-3)
        left = (self._total - self._done) / max(rate, 1.0)
        self._notify(
            f"read {self._done / _MB:.0f} of {self._total / _MB:.0f} MB at {rate / _MB:.1f} MB/s, {left:.0f} s left"
        )
