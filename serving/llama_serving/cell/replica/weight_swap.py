"""The weight swap of a running engine: on all stages, or on an engine that gets no requests.

Steps: close the gate, wait until it is empty, pause the engine, let every stage reload, compare what each says it
loaded, empty the prefix cache (it holds keys and values of the old weights), resume, open the gate. A failure leaves
the engine paused and the gate rejecting, with ``current`` None: the stages may hold parts of two weights. The next swap
loads everything anew and heals that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from llama_serving.cell.replica.request_gate import RequestGate
from llama_serving.cell.shared.replica_state import RankReport
from llama_serving.cell.shared.weights_ref import display_name, is_verified
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import SwapState

logger = logging.getLogger("ray.serve")


class Engine(Protocol):
    """What a weight swap needs of vLLM."""

    async def pause(self) -> None:
        """Let no step run afterwards; twice is as good as once."""

    async def reload(self, weights: WeightsRef) -> Sequence[RankReport]:
        """Let each rank load; a rank that could not reports it in ``error``."""

    async def reset_prefix_cache(self) -> None:
        """Empty the prefix cache."""

    async def resume(self) -> None:
        """Let steps run again."""


class WeightSwapError(Exception):
    """Why the weights are not in place; the text is one sentence that names the stage."""


class WeightSwap:
    """The weights that an engine holds, and how it gets others."""

    def __init__(
        self,
        engine: Engine,
        current: WeightsRef,
        *,
        gate: RequestGate,
        tensor: int,
        clock: Callable[[], float],
        before_opening: Callable[[WeightsRef], None] = lambda _: None,
    ) -> None:
        self.current: WeightsRef | None = current
        self.target: WeightsRef | None = None
        self.failures = 0  # in a row
        self.ranks: tuple[RankReport, ...] = ()
        self._engine = engine
        self._gate = gate
        self._tensor = tensor
        self._clock = clock
        self._before_opening = before_opening  # called when other weights are in place, before requests meet them
        self._state: SwapState | None = None
        self._since = 0.0
        self._lock = asyncio.Lock()

    @property
    def state(self) -> SwapState | None:
        """The last swap; None where there was none."""
        if self._state is None or self._state.outcome != "running":
            return self._state
        return self._state.model_copy(update={"seconds": round(self._clock() - self._since, 3)})

    async def swap_to(self, weights: WeightsRef) -> None:
        """Bring ``weights`` into the engine. Never raises: Serve would replace the replica, and its pods with it."""
        async with self._lock:
            if weights == self.current:
                return
            if self.current is not None and _is_same(weights, self.current):
                self.current = weights  # another name for the same weights
                self._before_opening(weights)
                self._gate.open(weights.id)
                return
            await self._swap_to(weights)

    async def _swap_to(self, weights: WeightsRef) -> None:
        self._since, self.target = self._clock(), weights
        loading = f"loading {display_name(weights)}"
        self._state = SwapState(digest=weights.digest, outcome="running", message=loading)
        self._gate.close()
        try:
            await self._gate.wait_until_empty()
            self.current = None
            await self._load(weights)
        except Exception as error:
            self._fail(weights, error)
        else:
            self._complete(weights)

    async def _load(self, weights: WeightsRef) -> None:
        await self._engine.pause()
        self.ranks = tuple(await self._engine.reload(weights))
        self._check(weights)
        await self._engine.reset_prefix_cache()
        await self._engine.resume()

    def _check(self, weights: WeightsRef) -> None:
        for report in self.ranks:
            where = f"stage {report.rank // self._tensor} ({report.host})"
            if report.error:
                raise WeightSwapError(f"{where} could not load {display_name(weights)}: {report.error}")
            if is_verified(weights) and report.digest != weights.digest:
                loaded = report.digest or "unverified files"
                raise WeightSwapError(f"{where} loaded {loaded} instead of {weights.digest}")

    def _fail(self, weights: WeightsRef, error: Exception) -> None:
        self.failures += 1
        said = str(error) if isinstance(error, WeightSwapError) else f"{type(error).__name__}: {error}"
        self._end(weights, outcome="failed", message=said)
        self._gate.reject()
        logger.error("the weight swap to %s failed: %s", display_name(weights), said, exc_info=error)

    def _complete(self, weights: WeightsRef) -> None:
        self.failures, self.current = 0, weights
        self._before_opening(weights)
        state = self._end(weights, outcome="done")
        self._gate.open(weights.id)
        logger.info("%s", state.message)

    def _end(self, weights: WeightsRef, *, outcome: str, message: str = "") -> SwapState:
        seconds = self._clock() - self._since
        read = sum(report.bytes for report in self.ranks)
        message = message or f"{display_name(weights)} loaded: {read / 1e9:.2f} GB in {seconds:.2f} s"
        self._state = SwapState(
            digest=weights.digest, outcome=outcome, message=message, seconds=round(seconds, 3), bytes=read
        )
        return self._state


def _is_same(weights: WeightsRef, other: WeightsRef) -> bool:
    return (weights.path, weights.digest) == (other.path, other.digest)
