"""Machine words and holds: why something waits, as a word and a sentence with numbers.

The words are API: users alert on them, so they are never renamed. The order of ``Reason`` is the order of what a user
should look at first when several things wait at once.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Reason of a condition, a group or an event. Earlier members win when several hold at once."""

    API_REJECTED = "ApiRejected"  # the API server or a policy refused an object of ours
    SPEC_INVALID = "SpecInvalid"  # stored before the rules that refuse it now
    MODEL_REFUSED = "ModelRefused"
    LAYOUT_REFUSED = "LayoutRefused"
    WEIGHTS_MISSING = "WeightsMissing"
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    WEIGHTS_DENIED = "WeightsDenied"  # the source wants credentials that it did not get
    WEIGHTS_GONE = "WeightsGone"  # the source has them no more
    WEIGHTS_REFUSED = "WeightsRefused"  # they came, and are not what was wanted
    DIGEST_DIFFERS = "DigestDiffers"
    DISK_FULL = "DiskFull"
    SWAP_FAILED = "SwapFailed"
    VERIFY_FAILED = "VerifyFailed"  # the engine answers, and not as it must
    CANARY_FAILED = "CanaryFailed"
    ROLLOUT_HELD = "RolloutHeld"  # as it is asked for it cannot be done
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    CONTAINER_FAILING = "ContainerFailing"
    UNSCHEDULABLE = "Unschedulable"
    WAITING_FOR_ROOM = "WaitingForRoom"  # others have the devices that a group, or a rollout, needs
    ENGINE_FAILED = "EngineFailed"
    ENGINE_UNHEALTHY = "EngineUnhealthy"
    POD_LOST = "PodLost"  # deleted, evicted or on a lost node: its group is rebuilt
    API_RETRY = "ApiRetry"  # the API server could not do it now, or a namesake is still being deleted
    STAGE_NOT_JOINED = "StageNotJoined"
    ENGINE_STARTING = "EngineStarting"
    POD_STARTING = "PodStarting"
    INSPECTING_MODEL = "InspectingModel"
    ROLLING_BACK = "RollingBack"
    VERIFYING = "Verifying"
    SWAPPING = "Swapping"
    STAGING_WEIGHTS = "StagingWeights"
    CANARY = "Canary"
    ROLLING_OUT = "RollingOut"
    ROLLOUT_PAUSED = "RolloutPaused"
    REPLACING = "Replacing"  # an older revision drains
    SCALING_DOWN = "ScalingDown"
    GATEWAY_NOT_READY = "GatewayNotReady"
    SCALED_TO_ZERO = "ScaledToZero"  # no group is wanted, and none is there
    SERVING = "Serving"


SEVERITY = {reason: index for index, reason in enumerate(Reason)}

#: Reasons by which a rollout is given up, and the groups go back to what was good.
SETBACKS = frozenset(
    {
        Reason.WEIGHTS_DENIED, Reason.WEIGHTS_GONE, Reason.WEIGHTS_REFUSED, Reason.DIGEST_DIFFERS, Reason.DISK_FULL,
        Reason.SWAP_FAILED, Reason.VERIFY_FAILED, Reason.CANARY_FAILED, Reason.ENGINE_FAILED,
    }
)  # fmt: skip

#: Reasons that need somebody to act, as opposed to waits that end by themselves.
FAILURES = frozenset(list(Reason)[: SEVERITY[Reason.POD_LOST] + 1])


@dataclass(frozen=True)
class Explanation:
    """Why something waits. ``group`` is the ordinal it concerns, None for the whole deployment."""

    reason: Reason
    detail: str
    group: int | None = None


def most_severe(holds: tuple[Explanation, ...]) -> Explanation | None:
    """The hold a user should look at first: by reason, then the lowest group."""
    return min(holds, key=lambda hold: (SEVERITY[hold.reason], hold.group or 0), default=None)
