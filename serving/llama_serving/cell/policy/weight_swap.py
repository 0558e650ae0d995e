"""The leader's decisions once its engine answers: swap the weights, have them measured, serve.

==================================  ============================================================================
seen                                follows
==================================  ============================================================================
a weight swap runs                  Swapping, not ready; at most ``timeouts.start``
two swaps failed in a row           SwapFailed, shown for ``SHOW_FAILURE`` seconds; the container restarts
the swap to the desired failed      SwapFailed, not ready, until other weights are desired
other weights desired, all ready    SWAP; Swapping, not ready; the container restarts where model assets differ, and
                                    where the weights are quantized in a way that no running engine swaps
other weights desired, not ready    the present ones serve; the sentence names the cause
these weights not measured          VERIFY; Verifying, not ready
these weights measured              Serving, ready; VERIFY again where other checks are desired
==================================  ============================================================================

After a failed swap the stages may hold parts of two weights: such an engine is never ready, whatever it answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.policy.state_machine import Action, CellFault, Decision, Status, SupervisorMemory, conclude
from llama_serving.cell.shared.weights_ref import display_name
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import SwapState
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from llama_serving.config.wording import rough_seconds

SHOW_FAILURE: Final = 15.0  # seconds that a failure stays readable before the container restarts
FAILURES: Final = 2  # swaps that fail in a row before the engine restarts: the new weights and the old ones


@dataclass(frozen=True)
class EngineView:
    """What the replica says."""

    in_flight: int
    seconds_ago: float  # since the engine core last answered the replica
    weights: WeightsRef | None  # what all stages hold; None after a failed swap
    target: WeightsRef | None = None  # what the last swap was to
    swap: SwapState | None = None  # the last swap
    failures: int = 0  # swaps that failed in a row
    computing: bool = False  # the watch saw that a rank or the engine core computes, or waits for a core

    @property
    def swapping(self) -> bool:
        """Whether weights are being swapped now."""
        return self.swap is not None and self.swap.outcome == "running"


@dataclass(frozen=True)
class DesiredWeights:
    """The weights that are to be served, and how far the leader is with them."""

    weights: WeightsRef
    staging: CellFault | None = None  # what keeps them from being loaded; None where nothing does
    deployed: WeightsRef | None = None  # what Serve was last given
    measured: bool = False  # what this engine holds has been measured
    checked: bool = False  # and with the checks of the desired state
    asset_difference: str = ""  # which model assets differ from those that the engine started with
    unswappable: str = ""  # the quantization method that keeps this engine's weights from being swapped


def asset_difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Name the model assets that differ, for a sentence; empty where none do, or where one side is not known."""
    if not before or not after:
        return ""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def decide_weights(
    memory: SupervisorMemory, engine: EngineView, desired: DesiredWeights, *, start: float, now: float
) -> Decision:
    """Return what follows for an engine that answers; ``start`` is the deadline of a swap in seconds."""
    if engine.swapping:
        return _await_swap(memory, engine, desired, start=start, now=now)
    if engine.weights is None or engine.weights != desired.weights:
        return _swap(memory, engine, desired, start=start, now=now)
    return _serve(replace(memory, swap_since=None, failed_since=None), engine, desired, now=now)


def _await_swap(
    memory: SupervisorMemory, engine: EngineView, desired: DesiredWeights, *, start: float, now: float
) -> Decision:
    since = now if memory.swap_since is None else memory.swap_since
    memory = replace(memory, swap_since=since)
    # Until the replica begins, its target is that of the swap before.
    target = engine.target if engine.swapping and engine.target is not None else desired.weights
    sentence = f"swapping weights to {display_name(target)}, {rough_seconds(now - since)} so far"
    over = now - since > start
    status = Status(Phase.SERVING, CellReason.SWAPPING, sentence)
    return conclude(memory, status, now=now, exit_code=1 if over else None)


def _swap(
    memory: SupervisorMemory, engine: EngineView, desired: DesiredWeights, *, start: float, now: float
) -> Decision:
    if engine.weights is None and engine.failures >= FAILURES:
        return _give_up(memory, engine, now=now)
    if engine.weights is None and engine.target == desired.weights:
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAP_FAILED, _failure(engine)), now=now)
    if desired.staging is not None:
        return _await_staging(replace(memory, swap_since=None), engine, desired, now=now)
    if desired.deployed == desired.weights:
        return _await_swap(memory, engine, desired, start=start, now=now)
    name = display_name(desired.weights)
    if desired.asset_difference:
        sentence = f"{name} has a different {desired.asset_difference}; the engine restarts with it"
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAPPING, sentence), now=now, exit_code=1)
    if desired.unswappable:
        sentence = (
            f"weights quantized by {desired.unswappable} are not swapped in place; the engine restarts with {name}"
        )
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAPPING, sentence), now=now, exit_code=1)
    status = Status(Phase.SERVING, CellReason.SWAPPING, f"swapping weights to {name}; deploying it to Serve")
    since = now if memory.swap_since is None else memory.swap_since
    return conclude(replace(memory, swap_since=since), status, now=now, actions=(Action.SWAP,))


def _await_staging(memory: SupervisorMemory, engine: EngineView, desired: DesiredWeights, *, now: float) -> Decision:
    if engine.weights is None:
        sentence = f"{_failure(engine)}; {_awaited(desired)}"
        return conclude(memory, Status(Phase.SERVING, CellReason.SWAP_FAILED, sentence), now=now)
    return _serve(memory, engine, desired, now=now)


def _give_up(memory: SupervisorMemory, engine: EngineView, *, now: float) -> Decision:
    since = now if memory.failed_since is None else memory.failed_since
    memory = replace(memory, failed_since=since)
    sentence = f"{_failure(engine)}; {engine.failures} weight swaps failed in a row; the engine restarts"
    status = Status(Phase.SERVING, CellReason.SWAP_FAILED, sentence)
    return conclude(memory, status, now=now, exit_code=1 if now - since >= SHOW_FAILURE else None)


def _serve(memory: SupervisorMemory, engine: EngineView, desired: DesiredWeights, *, now: float) -> Decision:
    assert engine.weights is not None
    actions = () if desired.checked else (Action.VERIFY,)
    if not desired.measured:
        status = Status(Phase.SERVING, CellReason.VERIFYING, f"verifying {display_name(engine.weights)}")
        return conclude(memory, status, now=now, actions=actions)
    sentence = f"serving {engine.weights.id}; {engine.in_flight} requests in flight"
    if desired.staging is not None and desired.weights != engine.weights:
        sentence += f"; {_awaited(desired)}"
    return conclude(memory, Status(Phase.SERVING, CellReason.SERVING, sentence, ready=True), now=now, actions=actions)


def _awaited(desired: DesiredWeights) -> str:
    """Say what keeps the desired weights from being loaded."""
    assert desired.staging is not None
    return f"waiting for {display_name(desired.weights)}: {desired.staging.message}"


def _failure(engine: EngineView) -> str:
    said = engine.swap.message if engine.swap is not None else ""
    return said or "the weight swap failed"
