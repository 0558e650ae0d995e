"""Ends a computation on values of strangers: a regular expression, a schema."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CpuLimitError(Exception):
    """The computation took longer than it may."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise CpuLimitError in the body once the process has computed for ``seconds`` in it.

    Only in the main thread, and not one in another. Python's ``re`` looks for signals while it searches, so a pattern
    that would search for years ends too.
    """

    def ends(_signal: int, _frame: FrameType | None) -> None:
        raise CpuLimitError

    before = signal.signal(signal.SIGVTALRM, ends)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
