"""What an event loop does with its time: how long it waits, and what single requests take of it."""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class IdleClock(selectors.DefaultSelector):
    """A selector that knows how long its loop has waited for something to do: ``seconds``."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as the base class does."""
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        begun = time.monotonic()
        try:
            return super().select(timeout)
        finally:
            self.seconds += time.monotonic() - begun


def measured_loop() -> tuple[asyncio.AbstractEventLoop, Callable[[], float]]:
    """Return a new event loop, and what tells how many seconds it has been idle."""
    clock = IdleClock()
    return asyncio.SelectorEventLoop(clock), lambda: clock.seconds


class Measured(Generic[T]):
    """Awaits a coroutine; ``measure`` gets the seconds of each of its steps that began while ``matters()``."""

    __slots__ = ("_clock", "_coroutine", "_matters", "_measure")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        clock: Callable[[], float],
        matters: Callable[[], bool],
        measure: Callable[[float], None],
    ) -> None:
        self._coroutine = coroutine
        self._clock = clock
        self._matters = matters
        self._measure = measure

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the coroutine; a cancellation reaches it as if it were awaited itself."""
        coroutine, clock, matters, measure = self._coroutine, self._clock, self._matters, self._measure
        thrown: BaseException | None = None
        while True:
            begun = clock() if matters() else None
            try:
                waits_for = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
            except StopIteration as end:
                value: T = end.value
                return value
            finally:
                thrown = None  # its traceback leads back here: left as it is, it would wait for the garbage collector
                if begun is not None:
                    measure(clock() - begun)
            try:
                yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                thrown = error
