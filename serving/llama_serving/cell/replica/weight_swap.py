"""The exchange of an engine's weights in place, on all stages or on none that anybody asks.

Steps: shut the door, wait until nothing is inside, pause the engine, let every stage load, compare what each says it
loaded, empty the prefix cache (it holds keys and values of the old weights), resume, open the door. A failure leaves
the engine paused and the door refusing, with ``holds`` None: the stages may hold parts of two weights. The next
exchange loads everything anew and heals that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from llama_serving.cell.replica.request_gate import Door
from llama_serving.cell.shared.replica_state import StageReport
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.desired import SwapState

logger = logging.getLogger("ray.serve")


class Engine(Protocol):
    """What an exchange needs of vLLM."""

    async def pause(self) -> None:
        """No step runs afterwards; twice is as good as once."""

    async def reload(self, load: Load) -> Sequence[StageReport]:
        """Each rank loads; a rank that could not says so in ``error``."""

    async def forget(self) -> None:
        """Empty the prefix cache."""

    async def resume(self) -> None:
        """Steps run again."""


class ExchangeError(Exception):
    """Why the weights are not in place; the text is one sentence that names the stage."""


class Exchange:
    """What the engine holds, and how it gets something else."""

    def __init__(self, engine: Engine, holds: Load, *, door: Door, tensor: int, clock: Callable[[], float]) -> None:
        self.holds: Load | None = holds
        self.target: Load | None = None
        self.failures = 0
        self.stages: tuple[StageReport, ...] = ()
        self._engine = engine
        self._door = door
        self._tensor = tensor
        self._clock = clock
        self._state: SwapState | None = None
        self._since = 0.0
        self._one = asyncio.Lock()

    @property
    def state(self) -> SwapState | None:
        """The last exchange; None where there was none."""
        if self._state is None or self._state.outcome != "running":
            return self._state
        return self._state.model_copy(update={"seconds": round(self._clock() - self._since, 3)})

    async def to(self, load: Load) -> None:
        """Bring ``load`` into the engine. Never raises: Serve would replace the replica, and its pods with it."""
        async with self._one:
            if load == self.holds:
                return
            if self.holds is not None and load.path == self.holds.path and load.digest == self.holds.digest:
                self.holds = load  # another name for the same weights
                self._door.open(load.id)
                return
            await self._to(load)

    async def _to(self, load: Load) -> None:
        self._since, self.target = self._clock(), load
        self._state = SwapState(digest=load.digest, outcome="running", message=f"Loading {load.name}.")
        self._door.shut()
        try:
            await self._door.emptied()
            self.holds = None
            await self._load(load)
        except Exception as error:
            self._failed(load, error)
        else:
            self._done(load)

    async def _load(self, load: Load) -> None:
        await self._engine.pause()
        self.stages = tuple(await self._engine.reload(load))
        self._check(load)
        await self._engine.forget()
        await self._engine.resume()

    def _check(self, load: Load) -> None:
        for report in self.stages:
            where = f"Stage {report.rank // self._tensor} ({report.host})"
            if report.error:
                raise ExchangeError(f"{where} could not load {load.name}: {report.error}")
            if load.sealed and report.digest != load.digest:
                raise ExchangeError(f"{where} loaded {report.digest or 'unverified files'} instead of {load.digest}.")

    def _failed(self, load: Load, error: Exception) -> None:
        self.failures += 1
        said = str(error) if isinstance(error, ExchangeError) else f"{type(error).__name__}: {error}"
        self._end(load, "failed", said)
        self._door.refuse()
        logger.error("The exchange to %s failed: %s", load.name, said, exc_info=error)

    def _done(self, load: Load) -> None:
        self.failures, self.holds = 0, load
        self._end(load, "done", "")
        self._door.open(load.id)
        logger.info("%s", self._state.message if self._state else "")

    def _end(self, load: Load, outcome: str, said: str) -> None:
        seconds = self._clock() - self._since
        read = sum(report.bytes for report in self.stages)
        said = said or f"{load.name} in place: {read / 1e9:.2f} GB in {seconds:.2f} s."
        self._state = SwapState(
            digest=load.digest, outcome=outcome, message=said, seconds=round(seconds, 3), bytes=read
        )
