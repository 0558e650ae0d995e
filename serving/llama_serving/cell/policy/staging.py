"""Are some weights ready on every stage? The worst stage speaks for the group.

=======================  ===================================================================
seen on a stage          follows
=======================  ===================================================================
refused                  WeightsRefused, with the stager's message
no answer, no stager     WeightsStaging: it is waited for
working, waiting         WeightsStaging, with the stager's message
another desired state    WeightsStaging: the operator has not reached this stage yet
ready                    nothing: the weights may be loaded
=======================  ===================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.cell.shared.weights_ref import display_name
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import StagedWeights, StagingState
from llama_serving.config.reasons import CellReason


@dataclass(frozen=True)
class StageView:
    """What a leader knows of one stage's weights."""

    desired: str = ""  # key of its desired state; empty: it has only its config
    staging: StagingState | None = None
    error: str = ""  # why the stage does not answer


def stage_fault(weights: WeightsRef, view: StageView, *, stage: int) -> CellFault | None:
    """Return what keeps one stage from loading ``weights``; None where nothing does."""
    if view.error:
        return _wait(f"stage {stage} does not answer ({view.error})")
    if view.staging is None:
        return _wait(f"the stager of stage {stage} has not reported yet")
    found = [staged for staged in view.staging.weights if staged.digest == weights.digest]
    if not found:
        return _wait(f"the stager of stage {stage} has not started with {display_name(weights)}")
    return _staged_fault(found[0], stage=stage)


def _staged_fault(staged: StagedWeights, *, stage: int) -> CellFault | None:
    if staged.outcome == "ready":
        return None
    said = staged.message or f"{staged.outcome} {staged.reason}".strip()
    sentence = f"stage {stage}: {said}"
    return CellFault(CellReason.WEIGHTS_REFUSED, sentence) if staged.outcome == "refused" else _wait(sentence)


def _wait(sentence: str) -> CellFault:
    return CellFault(CellReason.WEIGHTS_STAGING, sentence)


def group_fault(weights: WeightsRef, views: Mapping[int, StageView]) -> CellFault | None:
    """Return what keeps the group from loading ``weights``: a refusal before a wait, a lower stage before a higher."""
    stages = sorted(views)
    faults = [fault for stage in stages if (fault := stage_fault(weights, views[stage], stage=stage)) is not None]
    refused = [fault for fault in faults if fault.reason is CellReason.WEIGHTS_REFUSED]
    return next(iter(refused or faults), None)


def desired_state_fault(views: Mapping[int, StageView]) -> CellFault | None:
    """Return the first stage whose desired state is not the leader's (stage 0): a swap needs all stages to have it."""
    other = [stage for stage in sorted(views) if not views[stage].error and views[stage].desired != views[0].desired]
    silent = [stage for stage in sorted(views) if views[stage].error]
    if silent:
        return _wait(f"stage {silent[0]} does not answer ({views[silent[0]].error})")
    return _wait(f"stage {other[0]} has not received the desired state yet") if other else None
