"""What every step of a pass looks at: the snapshot, cut into groups, with the weights that are known.

It is built once, at the start of the pass, and handed to autoscaling, the rollout, the manifests and the status.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import groupby

from llama_operator.api import AdapterLimitsSpec, LlamaDeploymentSpec, ModelSpec, content_of
from llama_operator.api.v1alpha1.status import AdapterCanaryStatus
from llama_operator.observe.deployment import Snapshot, WeightsView
from llama_operator.plan.adapters.choice import AdapterChoice, choose_adapters
from llama_operator.plan.adapters.fit import misfit
from llama_operator.plan.adapters.limits import adapter_limits
from llama_operator.plan.adapters.placement import AdapterRoom
from llama_operator.plan.adapters.seats import held_adapters
from llama_operator.plan.groups.group import Group, observed_groups
from llama_operator.plan.groups.ordinals import wanted_ordinals
from llama_operator.plan.groups.verification import Criteria, Verdict, judge
from llama_operator.plan.groups.weights_lookup import group_files, group_limits, known_artifacts, weights_by_content
from llama_operator.plan.naming import GroupId
from llama_operator.plan.settings import Settings
from llama_serving.config.cell import AdapterLimits, WeightsRef
from llama_serving.config.desired import WeightsArtifact
from llama_serving.config.model import ModelFacts


@dataclass(frozen=True)
class PlanState:
    """A deployment as one pass sees it."""

    snapshot: Snapshot
    settings: Settings
    now: datetime
    groups: tuple[Group, ...]
    weights: Mapping[str, WeightsView]  # by the hash of what names them: see ``weights_of``
    artifacts: Mapping[str, WeightsArtifact]  # by digest, what a group can be told to serve
    replicas: int | None = None  # groups that autoscaling decided on; None: as many as the spec says
    adapter_canaries: Mapping[str, AdapterCanaryStatus] = field(default_factory=dict)  # by name: decided in this pass

    @cached_property
    def spec(self) -> LlamaDeploymentSpec:
        """The spec, with what was decided: the number of groups, and the room for adapters.

        Raises ValueError where it cannot be read.
        """
        spec = self.snapshot.spec
        if spec is None:
            raise ValueError(self.snapshot.spec_error)
        decided: dict[str, object] = {} if self.replicas is None else {"replicas": self.replicas}
        if spec.serves_adapters:
            decided["adapter_limits"] = self._adapter_limits(spec)
        return spec.model_copy(update=decided) if decided else spec

    @cached_property
    def adapters(self) -> tuple[AdapterChoice, ...]:
        """The LoRA adapters that the spec asks for, most wanted first."""
        return choose_adapters(self.snapshot)

    def adapter_room(self, group: Group, digest: str) -> AdapterRoom:
        """Return what decides which adapters a group can have; ``digest``: of the base that it serves or will."""
        return AdapterRoom(self._group_limits.get(group.id.name), self.base_facts.get(digest))

    @cached_property
    def base_facts(self) -> Mapping[str, ModelFacts]:
        """Facts of the bases that are known, by digest."""
        return {view.digest: view.facts for view in self.snapshot.weights.values() if view.facts}

    @cached_property
    def _group_limits(self) -> Mapping[str, AdapterLimits]:
        return group_limits(self.snapshot)

    def _adapter_limits(self, spec: LlamaDeploymentSpec) -> AdapterLimitsSpec | None:
        weights = self.weights_of(spec.model)
        ready = (choice.view.facts for choice in self.adapters if choice.view and not choice.reason)
        base = weights.facts if weights else None
        ranks = [facts.rank for facts in ready if facts and not (base and misfit(facts, base))]
        return adapter_limits(spec, ranks, before=self.snapshot.status.adapter_limits)

    @cached_property
    def ordinals(self) -> tuple[int, ...]:
        """Ordinals of the groups that shall be there, ``spec.replicas`` of them."""
        return wanted_ordinals(self.groups, self.spec.replicas, self.now)

    @cached_property
    def model_weights(self) -> WeightsView | None:
        """The LlamaWeights of the spec's model; None while nobody has made them."""
        return self.weights_of(self.spec.model)

    @cached_property
    def held_adapters(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the adapters that each group shall hold, by the group's name."""
        rooms = {name: limits.held for name, limits in self._group_limits.items()}
        return held_adapters(self._ready_adapters, rooms, groups=self.groups, snapshot=self.snapshot, now=self.now)

    @cached_property
    def told_digests(self) -> Mapping[str, frozenset[str]]:
        """Digests that groups were told to have, by the adapter's name, as they say themselves."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for group in self.groups:
            for one in group.state.adapters if group.state else ():
                found[one.name].add(one.digest)
        return {name: frozenset(digests) for name, digests in found.items()}

    @property
    def exchanges_adapters(self) -> bool:
        """Whether a group cannot hold all adapters, so that which it holds follows from what is asked for."""
        return any(limits.held < len(self._ready_adapters) for limits in self._group_limits.values())

    @cached_property
    def _ready_adapters(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.adapters if one.reason is None)

    @property
    def stable_digest(self) -> str:
        """Digest of the weights that the groups reached last; verdicts are compared with them. Empty: none yet."""
        stable = self.snapshot.status.stable
        return stable.digest if stable else ""

    @property
    def stable_weights(self) -> WeightsArtifact | None:
        """The weights that the groups reached last. They stay staged, so that groups can go back to them."""
        return self.artifacts.get(self.stable_digest)

    @property
    def available(self) -> int:
        """Number of wanted groups that serve, go on serving and have done so long enough."""
        wanted = (group for group in self.groups if group.id.ordinal in self.ordinals)
        return sum(group.available(self.now, self.spec.rollout.min_ready_seconds) for group in wanted)

    @cached_property
    def answers(self) -> tuple[tuple[GroupId, tuple[str, str]], ...]:
        """Digest and answer hash of the groups in rotation, the oldest first."""
        in_rotation = (group for group in self.groups if group.in_rotation)
        oldest_first = sorted(in_rotation, key=self._in_rotation_since)
        return tuple(
            (group.id, (measured.digest, measured.answer_hash))
            for group in oldest_first
            if (measured := group.measurement) and not measured.error
        )

    def at(self, ordinal: int) -> tuple[Group, ...]:
        """Return the groups that share this ordinal: two, while one replaces the other."""
        return self._by_ordinal.get(ordinal, ())

    def weights_of(self, model: ModelSpec) -> WeightsView | None:
        """Return the LlamaWeights of this model; None while nobody has made them."""
        return self.weights.get(content_of(model))

    def current_weights(self, group: Group) -> WeightsArtifact | None:
        """Return the weights that a group has or was told to load; None where they are not known any more."""
        return self.artifacts.get(group.target_digest)

    def judge(self, group: Group, serve: WeightsArtifact) -> Verdict:
        """Decide whether this group may get requests with these weights, given what the others answer."""
        known = self._verdicts.get((group.id, serve.weights))
        if known is None:
            answers = self._answers_beside(group)
            criteria = Criteria(self.spec.verify, self.snapshot.status.baselines, self.stable_digest, answers)
            known = self._verdicts[group.id, serve.weights] = judge(group, serve, criteria)
        return known

    def _answers_beside(self, group: Group) -> tuple[tuple[str, str], ...]:
        """Return the answers of the other groups; none where all agree, as nearly always, for then none differs."""
        measured = group.measurement
        if measured is None or self._distinct_answers <= {(measured.digest, measured.answer_hash)}:
            return ()
        return tuple(answer for group_id, answer in self.answers if group_id != group.id)

    @cached_property
    def _distinct_answers(self) -> frozenset[tuple[str, str]]:
        return frozenset(answer for _, answer in self.answers)

    @cached_property
    def _verdicts(self) -> dict[tuple[GroupId, WeightsRef], Verdict]:
        """Verdicts of this pass: each is asked for several times."""
        return {}

    @cached_property
    def _by_ordinal(self) -> Mapping[int, tuple[Group, ...]]:
        return {ordinal: tuple(groups) for ordinal, groups in groupby(self.groups, key=lambda group: group.id.ordinal)}

    def scaled_to(self, replicas: int) -> "PlanState":
        """Return the same state with another number of wanted groups."""
        return replace(self, replicas=replicas)

    def _in_rotation_since(self, group: Group) -> datetime:
        since = group.leader.rotation_since if group.leader else None
        return since or self.now


def plan_state(snapshot: Snapshot, settings: Settings, now: datetime) -> PlanState:
    """Cut the snapshot into groups and look up their weights, once for the whole pass."""
    files = group_files(snapshot)
    name = snapshot.key.name
    served_name = snapshot.spec.model.name_in_api(name) if snapshot.spec else name
    return PlanState(
        snapshot=snapshot,
        settings=settings,
        now=now,
        groups=observed_groups(snapshot, files),
        weights=weights_by_content(snapshot.weights),
        artifacts=known_artifacts(snapshot, files, served_name),
    )
