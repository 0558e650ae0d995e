"""Ends a computation on values of strangers: a regular expression, a schema."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Seconds of computing after which the error is raised again: Python drops what is raised in a destructor or in the
#: callback of a weak reference.
AGAIN: Final = 0.05


class CpuLimitError(Exception):
    """The computation took longer than it may."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raise CpuLimitError in the body once the process has computed for ``seconds`` in it.

    Only in the main thread, and not one in another. Python's ``re`` looks for signals while it searches, so a pattern
    that would search for years ends too.
    """

    armed, told = True, sys.unraisablehook

    def ends(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise CpuLimitError

    def dropped(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, CpuLimitError):
            told(unraisable)

    before = signal.signal(signal.SIGVTALRM, ends)
    sys.unraisablehook = dropped
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        sys.unraisablehook = told
