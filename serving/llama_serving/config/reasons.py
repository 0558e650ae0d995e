"""Machine words of all parts: why something waits, fails or changes. ``reason_catalogue`` says what each word means.

The words are API: users alert on them, so a value is never renamed. A word of two enums means the same in both.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Word of a condition, a group or an event. Earlier members win when several hold at once."""

    API_REJECTED = "ApiRejected"
    SPEC_INVALID = "SpecInvalid"
    MODEL_REFUSED = "ModelRefused"
    LAYOUT_REFUSED = "LayoutRefused"
    TOOLS_REFUSED = "ToolsRefused"
    IMAGE_REFUSED = "ImageRefused"
    WEIGHTS_MISSING = "WeightsMissing"
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    WEIGHTS_DENIED = "WeightsDenied"
    WEIGHTS_GONE = "WeightsGone"
    WEIGHTS_REFUSED = "WeightsRefused"
    DIGEST_DIFFERS = "DigestDiffers"
    DISK_FULL = "DiskFull"
    SWAP_FAILED = "SwapFailed"
    VERIFY_FAILED = "VerifyFailed"
    SERVING_IMAGE_TOO_OLD = "ServingImageTooOld"
    CANARY_FAILED = "CanaryFailed"
    ROLLOUT_HELD = "RolloutHeld"
    OUTAGE_NOT_ACCEPTED = "OutageNotAccepted"
    ENGINE_CONFIG_REFUSED = "EngineConfigRefused"
    REHEARSAL_FAILED = "RehearsalFailed"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    REFERENCE_MISSING = "ReferenceMissing"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    CONTAINER_FAILING = "ContainerFailing"
    NODE_LEFT = "NodeLeft"
    DEVICES_MISSING = "DevicesMissing"
    DRIVER_TOO_OLD = "DriverTooOld"
    DEVICE_UNHEALTHY = "DeviceUnhealthy"
    DEVICE_BUSY = "DeviceBusy"
    UNSCHEDULABLE = "Unschedulable"
    WAITING_FOR_ROOM = "WaitingForRoom"
    ENGINE_FAILED = "EngineFailed"
    ENGINE_HUNG = "EngineHung"
    ENGINE_UNHEALTHY = "EngineUnhealthy"
    POD_LOST = "PodLost"
    ADAPTER_REFUSED = "AdapterRefused"
    ADAPTER_MISSING = "AdapterMissing"
    FABRIC_UNUSED = "FabricUnused"
    CACHE_UNUSED = "CacheUnused"
    API_RETRY = "ApiRetry"
    STAGE_NOT_JOINED = "StageNotJoined"
    ENGINE_STARTING = "EngineStarting"
    POD_STARTING = "PodStarting"
    INSPECTING_MODEL = "InspectingModel"
    ROLLING_BACK = "RollingBack"
    VERIFYING = "Verifying"
    SWAPPING = "Swapping"
    STAGING_WEIGHTS = "StagingWeights"
    LOADING_ADAPTERS = "LoadingAdapters"
    CANARY = "Canary"
    REHEARSING = "Rehearsing"
    ROLLING_OUT = "RollingOut"
    ROLLOUT_PAUSED = "RolloutPaused"
    REPLACING = "Replacing"
    SCALING_DOWN = "ScalingDown"
    GATEWAY_NOT_READY = "GatewayNotReady"
    GATEWAY_STARTING = "GatewayStarting"
    APPLYING = "Applying"
    SCALED_TO_ZERO = "ScaledToZero"
    SERVING = "Serving"


class CellReason(StrEnum):
    """Word of a supervisor: why its stage is not serving."""

    RAY_STARTING = "RayStarting"
    STAGES_NOT_JOINED = "StagesNotJoined"
    LEADER_NOT_REACHED = "LeaderNotReached"
    DEVICES_MISSING = "DevicesMissing"
    DRIVER_TOO_OLD = "DriverTooOld"
    DEVICE_UNHEALTHY = "DeviceUnhealthy"
    DEVICE_BUSY = "DeviceBusy"
    ENGINE_STARTING = "EngineStarting"
    ENGINE_FAILED = "EngineFailed"
    ENGINE_HUNG = "EngineHung"
    ENGINE_UNHEALTHY = "EngineUnhealthy"
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    WEIGHTS_MISSING = "WeightsMissing"
    WEIGHTS_STAGING = "WeightsStaging"
    WEIGHTS_REFUSED = "WeightsRefused"
    SWAPPING = "Swapping"
    SWAP_FAILED = "SwapFailed"
    VERIFYING = "Verifying"
    MODEL_REFUSED = "ModelRefused"
    IMAGE_REFUSED = "ImageRefused"
    ADAPTER_REFUSED = "AdapterRefused"
    SERVING = "Serving"
    DRAINING = "Draining"


class StagingReason(StrEnum):
    """Word of a stager: why some weights are not ready on its stage."""

    DIGEST_DIFFERS = "DigestDiffers"
    DISK_FULL = "DiskFull"
    WEIGHTS_DENIED = "WeightsDenied"
    WEIGHTS_GONE = "WeightsGone"
    WEIGHTS_BUSY = "WeightsBusy"
    WEIGHTS_BROKEN = "WeightsBroken"
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    STAGED_BY_OTHER = "StagedByOther"


class ReportReason(StrEnum):
    """Word of a LlamaWeights or a LlamaAdapter: of its resolver's report, RESOLVING while there is none."""

    RESOLVING = "ResolvingWeights"
    ACCEPTED = "Accepted"
    WEIGHTS_DENIED = "WeightsDenied"
    WEIGHTS_GONE = "WeightsGone"
    WEIGHTS_BROKEN = "WeightsBroken"
    WEIGHTS_MISSING = "WeightsMissing"
    WEIGHTS_UNREADABLE = "WeightsUnreadable"
    MODEL_REFUSED = "ModelRefused"
    ADAPTER_REFUSED = "AdapterRefused"
    LICENSE_REFUSED = "LicenseRefused"
    DIGEST_DIFFERS = "DigestDiffers"
    DIGEST_UNKNOWN = "DigestUnknown"


class ScaleReason(StrEnum):
    """Word of autoscaling: why the number of groups is what it is."""

    BEGINS = "Begins"
    FIRST_REQUEST = "FirstRequest"
    REQUESTS_WAIT = "RequestsWait"
    FORECAST = "Forecast"
    AT_MINIMUM = "AtMinimum"
    AT_MAXIMUM = "AtMaximum"
    NO_ROOM = "NoRoom"
    WARMING_UP = "WarmingUp"
    HOLDS_LOAD = "HoldsLoad"
    LESS_LOAD = "LessLoad"
    COOLDOWN = "Cooldown"
    MEASURING = "Measuring"
    IDLE = "Idle"
    AWAITS_RETURN = "AwaitsReturn"
    START_FAILED = "StartFailed"
    UNKNOWN = "Unknown"
    ROLLING_OUT = "RollingOut"


class EventReason(StrEnum):
    """Word of an event that tells of a change and not of a wait."""

    SCALED_UP = "ScaledUp"
    SCALED_DOWN = "ScaledDown"
    VERIFIED = "Verified"
    ROLLOUT_DONE = "RolloutDone"
    NODE_AVOIDED = "NodeAvoided"


class RotationReason(StrEnum):
    """Word of the readiness gate of a group's leader, in the conditions of its pod."""

    IN_ROTATION = "InRotation"
    OUT_OF_ROTATION = "OutOfRotation"
