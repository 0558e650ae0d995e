"""What every step of a pass looks at: the snapshot, cut into units, with the weights that are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.groups.group import Group, observed_groups
from llama_operator.plan.groups.ordinals import wanted_ordinals
from llama_operator.plan.groups.template import known_weights
from llama_operator.plan.groups.verification import Criteria, Verdict, judge
from llama_operator.plan.naming import GroupId
from llama_operator.plan.settings import Settings
from llama_serving.config.desired import WeightsArtifact


@dataclass(frozen=True)
class PlanState:
    """A snapshot of a deployment whose spec can be read."""

    world: Snapshot
    spec: LlamaDeploymentSpec
    settings: Settings
    now: datetime
    units: tuple[Group, ...]
    wanted: tuple[int, ...]  # ordinals of the groups that shall be there: spec.replicas of them
    known: Mapping[str, WeightsArtifact]  # by digest
    before: str  # digest of the weights that verdicts are compared with
    answers: tuple[tuple[GroupId, tuple[str, str]], ...]  # digest and answer of the groups in rotation, oldest first

    def at(self, ordinal: int) -> tuple[Group, ...]:
        """Units that share this ordinal."""
        return tuple(unit for unit in self.units if unit.group.ordinal == ordinal)

    def held(self, unit: Group) -> WeightsArtifact | None:
        """The weights that a unit has or was told to take; None where they are not known any more."""
        return self.known.get(unit.heading)

    @property
    def kept(self) -> WeightsArtifact | None:
        """The last good weights: they stay where they are staged, so that groups can go back to them."""
        return self.known.get(self.before)

    @property
    def available(self) -> int:
        """Wanted units that serve, go on serving and have done so long enough."""
        wanted = (unit for unit in self.units if unit.group.ordinal in self.wanted)
        return sum(unit.available(self.now, self.spec.rollout.min_ready_seconds) for unit in wanted)

    def judge(self, unit: Group, serve: WeightsArtifact) -> Verdict:
        """May this unit get requests with these weights, given what the others answer?"""
        answers = tuple(answer for group, answer in self.answers if group != unit.group)
        return judge(unit, serve, Criteria(self.spec.verify, self.world.status.baselines, self.before, answers))


def plan_state(world: Snapshot, spec: LlamaDeploymentSpec, settings: Settings, now: datetime) -> PlanState:
    """The scene of this pass."""
    known = known_weights(world, spec.model.name_in_api(world.key.name))
    before = world.status.stable.digest if world.status.stable else ""
    units = observed_groups(world)
    wanted = wanted_ordinals(units, spec.replicas, now)
    return PlanState(world, spec, settings, now, units, wanted, known, before, _answers(units, now))


def _answers(units: tuple[Group, ...], now: datetime) -> tuple[tuple[GroupId, tuple[str, str]], ...]:
    in_rotation = (unit for unit in units if unit.open)
    oldest_first = sorted(in_rotation, key=lambda unit: (unit.leader.rotation_since if unit.leader else None) or now)
    return tuple(
        (unit.group, (verdict.digest, verdict.answer_hash))
        for unit in oldest_first
        if (verdict := unit.verdict) and not verdict.error
    )
