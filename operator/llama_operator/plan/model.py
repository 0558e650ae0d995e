"""What a pass wants done, as data. Every action carries the sentence that explains it."""

from dataclasses import dataclass

from llama_operator.plan.naming import GroupId
from llama_operator.plan.reasons import Hold
from llama_serving.config.model import ModelFacts


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


@dataclass(frozen=True)
class InspectModel:
    """A pod that reads the model's config, without a device."""

    name: str
    model_key: str


@dataclass(frozen=True)
class ModelLook:
    """What is known of the model: facts once it was accepted, a refusal, or neither while it is being looked at."""

    key: str
    facts: ModelFacts | None = None
    refusal: Hold | None = None


@dataclass(frozen=True)
class Plan:
    """One pass. Empty actions and no hold mean that everything is as the spec wants it."""

    revision: str
    groups: tuple[GroupId, ...] = ()  # groups of the present revision: their objects are rendered from the spec
    keep: tuple[GroupId, ...] = ()  # groups of older revisions that still run: their objects are left alone
    creates: tuple[CreateStage, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    rotations: tuple[SetRotation, ...] = ()
    inspect: InspectModel | None = None
    look: ModelLook | None = None  # None: the spec could not be read
    holds: tuple[Hold, ...] = ()
    recheck: float = 30.0  # seconds until the next pass without an event
