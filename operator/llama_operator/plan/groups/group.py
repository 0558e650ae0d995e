"""A group as it was seen: its pods, what its stages say, and where its weights stand.

A group has one pod hash. While a group is replaced by surge, two groups share its ordinal:

    GroupId("chat", ordinal=0, pod_hash="aaaaaaaa")   chat-aaaaaaaa-0-0  chat-aaaaaaaa-0-1    drains
    GroupId("chat", ordinal=0, pod_hash="bbbbbbbb")   chat-bbbbbbbb-0-0  chat-bbbbbbbb-0-1    starts
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.naming import GroupId
from llama_serving.config.desired import Measurement, StagedWeights, SwapState, WeightsArtifact
from llama_serving.config.state import CellState, Phase

#: A busy engine may miss a probe or two.
COMES_BACK = timedelta(seconds=30)


@dataclass(frozen=True)
class Staging:
    """How far all stages of a group are with some weights."""

    ready: bool
    refused: StagedWeights | None = None  # of the first stage that refused
    refused_stage: int = 0
    done: int = 0  # bytes
    total: int = 0
    seconds_left: float | None = None  # of the slowest stage; None while it is not known
    message: str = ""  # of the first stage that is not ready


@dataclass(frozen=True)
class Group:
    """All pods of one ordinal and one pod hash."""

    id: GroupId
    pods: tuple[PodView, ...]  # in the order of stages
    states: Mapping[int, CellState]  # by stage; only of those that were heard
    initial_weights: WeightsArtifact | None  # what its pods start with

    @cached_property
    def leader(self) -> PodView | None:
        """Pod of stage 0."""
        return next((pod for pod in self.pods if pod.stage == 0), None)

    @property
    def state(self) -> CellState | None:
        """What the leader's supervisor says."""
        return self.states.get(0)

    @property
    def in_rotation(self) -> bool:
        """The leader's rotation gate is open: requests come as soon as the pod is ready."""
        return self.leader is not None and self.leader.alive and bool(self.leader.in_rotation)

    @property
    def serving(self) -> bool:
        """Whether gateways send requests to it: the one definition of serving."""
        return self.in_rotation and self.leader is not None and self.leader.ready

    def may_serve(self, now: datetime) -> bool:
        """Return whether it serves, or changed so lately that it may by itself: disrupting it costs a group."""
        if self.serving:
            return True
        if not self.in_rotation or self.incomplete or self.leader is None:
            return False
        changes = [moment for moment in (self.leader.ready_since, self.leader.rotation_since) if moment]
        return bool(changes) and now - max(changes) < COMES_BACK

    @property
    def incomplete(self) -> bool:
        """Whether one of its pods ends, or is not there any more."""
        total = max((state.stages_total for state in self.states.values()), default=0)
        return len(self.pods) < total or any(not pod.alive for pod in self.pods)

    @property
    def answers(self) -> bool:
        """Whether the engine is there and has answered."""
        return self.state is not None and self.state.phase is Phase.SERVING and self.state.ready

    @property
    def weights(self) -> str:
        """Id of the weights that it answers with: by its own word, else as it was last seen."""
        if self.state is not None:
            return self.state.weights
        return self.leader.weights if self.leader else ""

    @property
    def measurement(self) -> Measurement | None:
        """What was measured of the weights that the engine now has."""
        return self.state.measurement if self.state else None

    @property
    def last_swap(self) -> SwapState | None:
        """The last weight swap."""
        return self.state.swap if self.state else None

    @property
    def updating(self) -> bool:
        """Whether a weight swap runs or has failed: the engine answers nobody."""
        return self.last_swap is not None and self.last_swap.outcome in ("running", "failed")

    @cached_property
    def target_digest(self) -> str:
        """Digest of the weights that it has or was told to load; empty where nothing is known."""
        if self.last_swap and self.updating:
            return self.last_swap.digest
        if self.measurement and self.state and self.measurement.id == self.state.weights:
            return self.measurement.digest
        if self.last_swap and self.weights:
            return self.last_swap.digest  # done, and not measured yet
        return self.initial_weights.weights.digest if self.initial_weights else ""

    def available(self, now: datetime, min_ready: int) -> bool:
        """Return whether it serves, goes on serving, and has done so for ``min_ready`` seconds."""
        since = self.leader.rotation_since if self.leader else None
        return self.serving and not self.incomplete and (since is None or now - since >= timedelta(seconds=min_ready))

    def has(self, serve: WeightsArtifact) -> bool:
        """Return whether the engine has exactly these weights, and no weight swap runs or has failed."""
        return self.weights == serve.weights.id and self.target_digest == serve.weights.digest

    @property
    def stagers_answer(self) -> bool:
        """Whether every stager answers the desired state that its stage has: an older answer may be out of date."""
        states = self.states.values()
        return all(state.staging is None or state.staging.desired in (None, state.desired) for state in states)

    def staging(self, digest: str, stages: int) -> Staging:
        """Add up how far the stages are with the weights of this digest."""
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


def observed_groups(snapshot: Snapshot, files: Mapping[str, WeightsArtifact]) -> tuple[Group, ...]:
    """Cut the snapshot into groups, by ordinal and pod hash. ``files``: what their pods start with, by name."""
    found: dict[GroupId, list[PodView]] = {}
    for pod in snapshot.stages:
        found.setdefault(GroupId(snapshot.key.name, pod.group, pod.pod_hash), []).append(pod)
    return tuple(
        Group(group_id, tuple(pods), _supervisor_states(pods, snapshot), files.get(group_id.name))
        for group_id, pods in sorted(found.items())
    )


def _supervisor_states(pods: Iterable[PodView], snapshot: Snapshot) -> dict[int, CellState]:
    heard = ((pod.stage, snapshot.cells.get(pod.name)) for pod in pods if pod.alive)
    return {stage: answer.state for stage, answer in heard if answer and answer.state}
