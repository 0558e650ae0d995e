"""What a pass wants done, as data. Every action carries the sentence that explains it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llama_operator.api import LlamaDeploymentSpec, ModelSpec
from llama_operator.api.status import (
    Baseline,
    GroupVerdict,
    KeptWish,
    LlamaDeploymentStatus,
    PastRollout,
    RolloutStatus,
)
from llama_operator.observe import WeightsView
from llama_operator.plan.naming import GroupId
from llama_operator.plan.reasons import Hold
from llama_serving.config.wish import NextWeights, Wish


@dataclass(frozen=True)
class GroupPlan:
    """A group whose objects are rendered: from which spec, and which weights its pods start with."""

    group: GroupId
    serve: NextWeights
    spec: LlamaDeploymentSpec


@dataclass(frozen=True)
class CreateStage:
    """A pod that is missing."""

    group: GroupId
    stage: int


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
class PutWish:
    """What the supervisor of a stage is to be told."""

    pod: str
    address: str
    wish: Wish


@dataclass(frozen=True)
class Memory:
    """What a pass leaves to the next ones, in the status: it is written before anything is done by it."""

    rollout: RolloutStatus | None = None
    history: tuple[PastRollout, ...] = ()
    good: KeptWish | None = None
    baselines: tuple[Baseline, ...] = ()


def memory_of(status: LlamaDeploymentStatus) -> Memory:
    """What earlier passes have left."""
    return Memory(status.rollout, status.history, status.good, status.baselines)


@dataclass(frozen=True)
class Plan:
    """One pass. Empty actions and no hold mean that everything is as the spec wants it."""

    groups: tuple[GroupPlan, ...] = ()
    keep: tuple[GroupId, ...] = ()  # groups that still run and are not rendered: their objects are left alone
    creates: tuple[CreateStage, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    rotations: tuple[SetRotation, ...] = ()
    wishes: tuple[PutWish, ...] = ()
    weights: tuple[ModelSpec, ...] = ()  # whose LlamaWeights this deployment wants to be there
    releases: tuple[WeightsView, ...] = ()  # LlamaWeights that it has owned and does not need any more
    model: WeightsView | None = None  # the LlamaWeights of the present spec
    memory: Memory = Memory()
    verdicts: Mapping[str, GroupVerdict] = field(default_factory=dict)  # by the group's name
    holds: tuple[Hold, ...] = ()
    recheck: float = 30.0  # seconds until the next pass without an event
