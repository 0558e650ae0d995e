"""A group is the pods of one template at one ordinal, as they were seen: its pods, what its stages say, and where its weights stand.

While a group is replaced by surge two units share its ordinal; a unit never mixes revisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan.groups.template import group_files
from llama_operator.plan.naming import GroupId
from llama_serving.config.desired import Measurement, StagedWeights, SwapState, WeightsArtifact
from llama_serving.config.state import CellState, Phase

#: A busy engine may miss a probe or two.
COMES_BACK = timedelta(seconds=30)


@dataclass(frozen=True)
class Staging:
    """How far all stages of a unit are with some weights."""

    ready: bool
    refused: StagedWeights | None = None  # of the first stage that refused
    refused_stage: int = 0
    done: int = 0  # bytes
    total: int = 0
    seconds_left: float | None = None  # of the slowest stage; None while it is not known
    message: str = ""  # of the first stage that is not ready


@dataclass(frozen=True)
class Group:
    """The pods of one template at one ordinal."""

    group: GroupId
    pods: tuple[PodView, ...]  # in the order of stages
    states: Mapping[int, CellState]  # by stage; only of those that were heard
    file: WeightsArtifact | None  # what its pods start with

    @cached_property
    def leader(self) -> PodView | None:
        """Pod of stage 0."""
        return next((pod for pod in self.pods if pod.stage == 0), None)

    @property
    def state(self) -> CellState | None:
        """What the leader's supervisor says."""
        return self.states.get(0)

    @property
    def open(self) -> bool:
        """The leader's rotation gate is open: requests come as soon as the pod is ready."""
        return self.leader is not None and self.leader.alive and bool(self.leader.in_rotation)

    @property
    def serving(self) -> bool:
        """Gateways send requests to it."""
        return self.open and self.leader is not None and self.leader.ready

    def may_serve(self, now: datetime) -> bool:
        """Serves, or stopped or was let in so lately that it may by itself: to take it away costs a group."""
        if self.serving:
            return True
        if not self.open or self.torn or self.leader is None:
            return False
        changes = [moment for moment in (self.leader.ready_since, self.leader.rotation_since) if moment]
        return bool(changes) and now - max(changes) < COMES_BACK

    @property
    def torn(self) -> bool:
        """One of its pods ends, or is not there any more."""
        total = max((state.stages_total for state in self.states.values()), default=0)
        return len(self.pods) < total or any(not pod.alive for pod in self.pods)

    @property
    def answers(self) -> bool:
        """The engine is there and has answered."""
        return self.state is not None and self.state.phase is Phase.SERVING and self.state.ready

    @property
    def weights(self) -> str:
        """Id of the weights that it answers with: by its own word, else as it was last seen."""
        if self.state is not None:
            return self.state.weights
        return self.leader.weights if self.leader else ""

    @property
    def verdict(self) -> Measurement | None:
        """What was measured of the weights that the engine now has."""
        return self.state.measurement if self.state else None

    @property
    def swap(self) -> SwapState | None:
        """The last exchange of weights."""
        return self.state.swap if self.state else None

    @property
    def exchanges(self) -> bool:
        """An exchange of weights runs or has failed: the engine answers nobody."""
        return self.swap is not None and self.swap.outcome in ("running", "failed")

    @property
    def heading(self) -> str:
        """Digest of the weights that it has or was told to take; empty where nothing is known."""
        if self.swap and self.exchanges:
            return self.swap.digest
        if self.verdict and self.state and self.verdict.id == self.state.weights:
            return self.verdict.digest
        if self.swap and self.weights:
            return self.swap.digest  # done, and not measured yet
        return self.file.weights.digest if self.file else ""

    def available(self, now: datetime, min_ready: int) -> bool:
        """Serves, goes on serving, and has done so for ``min_ready`` seconds."""
        since = self.leader.rotation_since if self.leader else None
        return self.serving and not self.torn and (since is None or now - since >= timedelta(seconds=min_ready))

    def has(self, serve: WeightsArtifact) -> bool:
        """The engine has exactly these weights, and no exchange runs or has failed."""
        return self.weights == serve.weights.id and self.heading == serve.weights.digest

    @property
    def stagers_answer(self) -> bool:
        """No stager still answers another wish than its stage holds: what was ready for that may be looked at again."""
        states = self.states.values()
        return all(state.staging is None or state.staging.desired in (None, state.desired) for state in states)

    def staging(self, digest: str, stages: int) -> Staging:
        """How far the stages are with the weights of this digest."""
        seen = [_staged(self.states.get(stage), digest) for stage in range(stages)]
        refused = next(((k, one) for k, one in enumerate(seen) if one and one.outcome == "refused"), None)
        late = [one for one in seen if one is None or one.outcome != "ready"]
        spans = [one.seconds_left for one in seen if one and one.seconds_left is not None]
        return Staging(
            ready=not late,
            refused=refused[1] if refused else None,
            refused_stage=refused[0] if refused else 0,
            done=sum(one.bytes_done for one in seen if one),
            total=sum(one.bytes_total for one in seen if one),
            seconds_left=max(spans) if spans else None,
            message=next((one.message for one in late if one and one.message), ""),
        )


def _staged(state: CellState | None, digest: str) -> StagedWeights | None:
    staging = state.staging if state else None
    return next((one for one in staging.weights if one.digest == digest), None) if staging else None


def observed_groups(world: Snapshot) -> tuple[Group, ...]:
    """All units, by ordinal and pod hash."""
    found: dict[GroupId, list[PodView]] = {}
    for pod in world.stages:
        found.setdefault(GroupId(world.key.name, pod.group, pod.pod_hash), []).append(pod)
    files = group_files(world)
    return tuple(_unit(group, tuple(pods), world, files) for group, pods in sorted(found.items()))


def _unit(group: GroupId, pods: tuple[PodView, ...], world: Snapshot, files: Mapping[str, WeightsArtifact]) -> Group:
    states = {}
    for pod in pods:
        answer = world.cells.get(pod.name)
        if answer and answer.state and pod.alive:
            states[pod.stage] = answer.state
    return Group(group, pods, states, files.get(group.name))
