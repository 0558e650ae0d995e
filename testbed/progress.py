"""Shows what takes time: one line that is renewed on a terminal, a line every ten seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TERMINAL_EVERY_S = 0.5
_LOG_EVERY_S = 10.0


def say(text: str) -> None:
    """Print a line at once; standard output is left to what a program reads."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def silent() -> Iterator[None]:
    """Show nothing for a step that is not worth a line."""
    yield


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show a step with the seconds it has taken so far, and how long it took in the end."""
    began = time.monotonic()
    done = threading.Event()
    terminal = sys.stderr.isatty()
    ticker = threading.Thread(
        target=_tick, args=(text,), kwargs={"began": began, "done": done, "terminal": terminal}, daemon=True
    )
    ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        done.set()
        ticker.join()
        clear = "\r\033[K" if terminal else ""
        say(f"{clear}{text}: {outcome} {time.monotonic() - began:.1f} s")


def _tick(text: str, *, began: float, done: threading.Event, terminal: bool) -> None:
    while not done.wait(_TERMINAL_EVERY_S if terminal else _LOG_EVERY_S):
        end, start = ("", "\r\033[K") if terminal else ("\n", "")
        print(f"{start}{text}: {time.monotonic() - began:.0f} s so far", end=end, file=sys.stderr, flush=True)
