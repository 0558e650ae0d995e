"""Are some weights ready on every stage? The worst stage speaks for the group.

=======================  ===================================================================
seen on a stage          follows
=======================  ===================================================================
refused                  WeightsRefused, in the stager's words
no answer, no stager     WeightsStaging: it is waited for
working, waiting         WeightsStaging, in the stager's words
another wish             WeightsStaging: the operator has not told this stage yet
ready                    nothing: it may be loaded
=======================  ===================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llama_serving.cell.policy.state_machine import Fault
from llama_serving.cell.shared.weights_ref import Load
from llama_serving.config.desired import StagedWeights, StagingState
from llama_serving.config.reasons import CellReason


@dataclass(frozen=True)
class StageView:
    """What a leader knows of one stage's weights."""

    wish: str = ""  # key; empty: it has only its config
    staging: StagingState | None = None
    error: str = ""  # why the stage does not answer


def stage_fault(load: Load, view: StageView, *, stage: int) -> Fault | None:
    """What keeps one stage from loading ``load``; None where nothing does."""
    if view.error:
        return _wait(f"Stage {stage} does not answer ({view.error}).")
    if view.staging is None:
        return _wait(f"The stager of stage {stage} has not been heard yet.")
    found = [staged for staged in view.staging.weights if staged.digest == load.digest]
    if not found:
        return _wait(f"The stager of stage {stage} has not begun with {load.name}.")
    return _fault_of(found[0], stage=stage)


def _fault_of(staged: StagedWeights, *, stage: int) -> Fault | None:
    if staged.outcome == "ready":
        return None
    said = staged.message or f"{staged.outcome} {staged.reason}".strip()
    sentence = f"Stage {stage}: {said}"
    return Fault(CellReason.WEIGHTS_REFUSED, sentence) if staged.outcome == "refused" else _wait(sentence)


def _wait(sentence: str) -> Fault:
    return Fault(CellReason.WEIGHTS_STAGING, sentence)


def group_fault(load: Load, views: Mapping[int, StageView]) -> Fault | None:
    """What keeps the group from loading ``load``: a refusal before a wait, a lower stage before a higher one."""
    faults = [fault for stage in sorted(views) if (fault := stage_fault(load, views[stage], stage=stage)) is not None]
    refused = [fault for fault in faults if fault.reason is CellReason.WEIGHTS_REFUSED]
    return next(iter(refused or faults), None)


def wish_fault(views: Mapping[int, StageView]) -> Fault | None:
    """Stages that hold another wish than the leader (stage 0): weights are exchanged when all have been told."""
    other = [stage for stage in sorted(views) if not views[stage].error and views[stage].wish != views[0].wish]
    silent = [stage for stage in sorted(views) if views[stage].error]
    if silent:
        return _wait(f"Stage {silent[0]} does not answer ({views[silent[0]].error}).")
    return _wait(f"Stage {other[0]} has not got the wish yet.") if other else None
