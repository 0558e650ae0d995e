"""The state of a group in one word, by why it waits."""

from typing import Final

from llama_operator.plan.reasons import Explanation
from llama_serving.config.reason_catalogue import FAILURES
from llama_serving.config.reasons import Reason

SERVING, STARTING, PENDING = "Serving", "Starting", "Pending"
DRAINING, REBUILDING, FAILED = "Draining", "Rebuilding", "Failed"
SWAPPING, VERIFYING = "Swapping", "Verifying"
#: Every state of a group.
STATES: Final = (SERVING, STARTING, PENDING, DRAINING, REBUILDING, FAILED, SWAPPING, VERIFYING)

_STATES: Final = {
    Reason.REPLACING: DRAINING,
    Reason.SCALING_DOWN: DRAINING,
    Reason.POD_LOST: REBUILDING,
    Reason.NODE_LEFT: REBUILDING,
    Reason.UNSCHEDULABLE: PENDING,
    Reason.WAITING_FOR_ROOM: PENDING,
    Reason.POD_STARTING: PENDING,
    Reason.STAGING_WEIGHTS: STARTING,
    Reason.SWAPPING: SWAPPING,
    Reason.VERIFYING: VERIFYING,
}


def waiting_state(explanation: Explanation | None) -> str:
    """Return the state of a group that does not serve; None: nothing is known against it."""
    if explanation is None:
        return STARTING
    return _STATES.get(explanation.reason) or (FAILED if explanation.reason in FAILURES else STARTING)
