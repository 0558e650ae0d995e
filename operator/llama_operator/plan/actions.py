"""What a pass wants done with the groups of a deployment, as data. Every action carries the sentence that explains it.

``Actions`` are added up: those of a pod make those of its group, those of all groups make those of the pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.plan.naming import GroupId
from llama_operator.plan.reasons import Explanation
from llama_serving.config.desired import DesiredState, Measurement, WeightsArtifact


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
    kept_from: tuple[str, ...] = ()  # names of nodes that it is not to go to
    required: bool = True  # False: it had rather not go there


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
    """A pod to delete. ``grace`` in seconds; None leaves the pod's own."""

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
class SetAdapters:
    """The annotation by which gateways learn which adapters a leader's group answers with; empty: it goes."""

    pod: str
    uid: str
    text: str


@dataclass(frozen=True)
class PutDesiredState:
    """The desired state that the supervisor of a stage does not have yet, or that its stager did not take.

    ``places``: where the stager may send the credentials (``config.source.place``).
    """

    pod: str
    address: str
    desired: DesiredState
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actions:
    """What is to be done for some groups; ``one + other`` does both, in this order."""

    groups: tuple[GroupPlan, ...] = ()
    keep: tuple[GroupId, ...] = ()  # groups that still run and are not rendered: their objects are left alone
    creates: tuple[CreateStage, ...] = ()
    admissions: tuple[Admission, ...] = ()
    deletes: tuple[DeletePod, ...] = ()
    rotations: tuple[SetRotation, ...] = ()
    adapters: tuple[SetAdapters, ...] = ()
    desired_states: tuple[PutDesiredState, ...] = ()
    explanations: tuple[Explanation, ...] = ()  # why anything waits
    verified: tuple[Measurement, ...] = ()  # of groups that passed, asked what the spec asks now
    complete: tuple[GroupId, ...] = ()  # groups that have all their pods, none of which is about to end
    requeued: tuple[GroupId, ...] = ()  # only a part of them found room: they are asked for again later
    left: tuple[str, ...] = ()  # nodes that a group leaves for their devices
    behind: tuple[int, ...] = ()  # ordinals that are not made before another group has found room

    def __add__(self, other: "Actions") -> "Actions":
        return add_up((self, other))


def add_up(parts: Iterable[Actions]) -> Actions:
    """Return the actions of all parts, in their order."""
    found: dict[str, list[Any]] = {}
    for part in parts:
        for name, items in vars(part).items():
            if items:
                found.setdefault(name, []).extend(items)
    return Actions(**{name: tuple(items) for name, items in found.items()})


def closing_first(rotations: Iterable[SetRotation]) -> tuple[SetRotation, ...]:
    """Return one change a pod, the last one of each, in the order of doing: those that close a gate come first."""
    by_pod = {change.pod: change for change in rotations}
    return tuple(sorted(by_pod.values(), key=lambda change: (change.open_, change.pod)))
