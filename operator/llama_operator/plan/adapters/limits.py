"""How much room each engine makes for LoRA adapters: by the spec, else by the adapters, in steps.

Another size needs new engines, so a step is taken rarely and in the open, as a rollout, and never back by itself:

    slots     4, and 8 with more than four adapters
    held      16, 32 or 64: the first that is not less than the number of adapters
    maxRank   16, 32 or 64: the first that is not less than the highest rank of an adapter that is ready

A rank above 64 costs much memory of every device, so only the spec makes room for it.
"""

from collections.abc import Sequence
from typing import Final

from llama_operator.api import AdapterLimitsSpec, AdapterLimitsStatus, LlamaDeploymentSpec
from llama_serving.config.model import ENGINE_RANKS

_SLOTS: Final = (4, 8)
_HELD: Final = (16, 32, 64)
_RANKS: Final = (16, 32, 64)


def adapter_limits(
    spec: LlamaDeploymentSpec, ranks: Sequence[int], *, before: AdapterLimitsStatus | None
) -> AdapterLimitsSpec | None:
    """Return the room that engines of this spec make; None where it asks for no adapter.

    ``ranks``: of the adapters that are ready and fit the base. ``before``: what was decided last.
    """
    if not spec.serves_adapters:
        return None
    asked = spec.adapter_limits or AdapterLimitsSpec()
    adapters = len(ranks)
    fitting = [rank for rank in ranks if rank <= _RANKS[-1]]
    slots = asked.slots or _grown(_SLOTS, adapters, before.slots if before else 0)
    held = asked.held or max(_grown(_HELD, adapters, before.held if before else 0), slots)
    rank = asked.max_rank or _grown(_RANKS, max(fitting, default=0), before.max_rank if before else 0)
    return asked.model_copy(update={"slots": min(slots, held), "held": held, "max_rank": rank})


def decided_limits(spec: LlamaDeploymentSpec) -> AdapterLimitsStatus | None:
    """Return the room of a spec in which it was decided, as the status keeps it."""
    limits = spec.adapter_limits.limits() if spec.adapter_limits else None
    return AdapterLimitsStatus(**limits.model_dump()) if limits else None


def engine_rank(rank: int) -> int:
    """Return the size in which the engine makes room for a rank; a resolver takes none above its highest."""
    return next((size for size in ENGINE_RANKS if size >= max(rank, 8)), ENGINE_RANKS[-1])


def _grown(steps: tuple[int, ...], needed: int, before: int) -> int:
    """Return the first step that is enough, the last where none is; not less than what was decided before."""
    step = next((step for step in steps if step >= needed), steps[-1])
    return max(step, min(before, steps[-1]))
