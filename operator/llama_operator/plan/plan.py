"""What a pass wants done, as data. Every action carries the sentence that explains it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.api import LlamaDeploymentSpec, ModelSpec
from llama_operator.api.v1alpha1.status import (
    AutoscalingStatus,
    Baseline,
    DefaultImages,
    GroupVerdict,
    LlamaDeploymentStatus,
    PastRollout,
    RequeueState,
    RolloutStatus,
    StableTemplate,
)
from llama_operator.observe.deployment import WeightsView
from llama_operator.plan.autoscaling.memory import Scaled
from llama_operator.plan.naming import GroupId
from llama_operator.plan.reasons import Explanation
from llama_serving.config.desired import DesiredState, WeightsArtifact


@dataclass(frozen=True)
class GroupPlan:
    """A group whose objects are rendered: from which spec, and which weights its pods start with."""

    group: GroupId
    serve: WeightsArtifact
    spec: LlamaDeploymentSpec


@dataclass(frozen=True)
class CreateStage:
    """A pod that is missing."""

    group: GroupId
    stage: int


@dataclass(frozen=True)
class Admission:
    """A group that waits for its pods to be shown to the scheduler, together and once there is room for all of them."""

    group: GroupId
    pods: tuple[tuple[str, str], ...]  # name and uid of those that still have the gate
    begun: bool  # others of its pods are past the gate: these follow at once
    since: datetime  # when its youngest pod was made
    behind: tuple[int, ...] = ()  # ordinals that are made after it


@dataclass(frozen=True)
class DeletePod:
    """A pod that has to go. ``grace`` in seconds; None leaves the pod's own."""

    name: str
    uid: str
    why: str
    grace: int | None = None


@dataclass(frozen=True)
class SetRotation:
    """Whether the gateways may send requests to this leader."""

    pod: str
    uid: str
    open_: bool
    weights: str
    why: str
    move: bool = False  # the gateways are to move the streams that still run to other groups


@dataclass(frozen=True)
class PutDesiredState:
    """What the supervisor of a stage is to be told."""

    pod: str
    address: str
    wish: DesiredState


@dataclass(frozen=True)
class Persisted:
    """What a pass leaves to the next ones, in the status: it is written before anything is done by it."""

    rollout: RolloutStatus | None = None
    history: tuple[PastRollout, ...] = ()
    stable: StableTemplate | None = None
    baselines: tuple[Baseline, ...] = ()
    requeues: tuple[RequeueState, ...] = ()
    autoscaling: AutoscalingStatus | None = None
    default_images: tuple[DefaultImages, ...] = ()


def persisted_state(status: LlamaDeploymentStatus) -> Persisted:
    """What earlier passes have left."""
    return Persisted(
        rollout=status.rollout,
        history=status.history,
        stable=status.stable,
        baselines=status.baselines,
        requeues=status.requeues,
        autoscaling=status.autoscaling,
        default_images=status.default_images,
    )


@dataclass(frozen=True)
class Plan:
    """One pass. Empty actions and no hold mean that everything is as the spec wants it."""

    groups: tuple[GroupPlan, ...] = ()
    keep: tuple[GroupId, ...] = ()  # groups that still run and are not rendered: their objects are left alone
    creates: tuple[CreateStage, ...] = ()
    admissions: tuple[Admission, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    rotations: tuple[SetRotation, ...] = ()
    wishes: tuple[PutDesiredState, ...] = ()
    weights: tuple[ModelSpec, ...] = ()  # whose LlamaWeights this deployment wants to be there
    releases: tuple[WeightsView, ...] = ()  # LlamaWeights that it has owned and does not need any more
    model: WeightsView | None = None  # the LlamaWeights of the present spec
    memory: Persisted = Persisted()
    verdicts: Mapping[str, GroupVerdict] = field(default_factory=dict)  # by the group's name
    holds: tuple[Explanation, ...] = ()
    replicas: int | None = None  # groups that are wanted; None where the spec cannot be read
    scaling: Scaled | None = None  # None: the spec does not ask for autoscaling
    recheck: float = 30.0  # seconds until the next pass without an event
