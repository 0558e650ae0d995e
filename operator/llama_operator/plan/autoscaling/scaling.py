"""From a snapshot to the number of groups: what the policy (plan/autoscale.py) is asked, and what is kept of it.

The target takes the place of ``spec.replicas`` for everything else in the plan. The number to begin with is the larger
of ``spec.replicas`` and of the groups that are there, within the limits; from then on the record in the status has it.

    start = START + bytes of a stage's weights / SPEED         until one was measured

A start is measured from the group's last pod placed to its leader in rotation; only of groups that this process saw
starting, once, and none of whose engines had to be started again.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from llama_operator.api import AutoscalingSpec, AutoscalingStatus, LlamaDeploymentSpec, ScaleDecision
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan import sentences
from llama_operator.plan.autoscaling import policy
from llama_operator.plan.autoscaling.load import Gateway, merge
from llama_operator.plan.autoscaling.memory import Recall, Scaled
from llama_operator.plan.autoscaling.policy import Decision, Groups, Kept, Limits, State
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum, floor_at
from llama_operator.plan.groups.drain import long_unready
from llama_operator.plan.groups.group import Group, observed_groups
from llama_operator.plan.groups.ordinals import is_leaving, wanted_ordinals
from llama_operator.plan.groups.weights_lookup import weights_of
from llama_operator.plan.placement.claims import warm_sentence
from llama_operator.plan.placement.gang import is_held
from llama_operator.plan.reasons import Explanation
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.reasons import Reason, ScaleReason

START = 60.0  # seconds: image, processes, the engine's own preparation
SPEED = 500e6  # bytes per second into a stage, where nothing was measured
KEPT_DECISIONS = 10


def scale(world: Snapshot, spec: LlamaDeploymentSpec, recall: Recall, now: datetime) -> Scaled | None:
    """How many groups there shall be; None without ``spec.autoscaling``."""
    auto = spec.autoscaling
    if auto is None:
        return None
    units, moment = observed_groups(world), now.replace(microsecond=0)
    floor = floor_at(auto.schedules, auto.min_replicas, now)
    before = recall.record or world.status.autoscaling
    record = before or _begin(spec, auto, floor, units, moment)
    merged, marks = merge(recall.marks, _heard(world, now), now)
    load = replace(merged, engine_waiting=_engine_waiting(units))
    groups = groups_of(units, record.target, _rolls(world), now)
    state = (recall.state or State(kept=_kept(record))).with_starts(_measured(units, recall.fresh))
    decision = policy.decide(load, groups, state, limits_of(world, spec, auto, floor), now)
    after = replace_record(record, decision, moment).model_copy(
        update={
            "floor": floor.groups,
            "ceiling": auto.max_replicas,
            "schedule": floor.schedule,
            "warm": warm_sentence(world),
        }
    )
    return Scaled(
        target=decision.target,
        record=after,
        decided=before is None or decision.target != record.target,
        recall=Recall(marks, decision.state, after, _fresh(units)),
        load=load,
        groups=groups,
        reason=decision.reason,
        message=decision.message,
        holds=tuple(Explanation(Reason.SPEC_INVALID, text) for text in floor.problems),
    )


# -- what the policy is asked -----------------------------------------------------------------------------------------


def _heard(world: Snapshot, now: datetime) -> dict[Gateway, GatewayLoad | None]:
    """All gateways that count. One that ends, has no address yet or is long not ready may be silent: it has nothing."""
    found: dict[Gateway, GatewayLoad | None] = {}
    for pod in world.gateways:
        load = world.loads.get(pod.name)
        gone = pod.finished or not pod.ip or pod.gone_by is not None or long_unready(pod, now)
        if load is not None or not gone:
            found[Gateway(pod.name, pod.uid)] = load
    return found


def groups_of(units: Iterable[Group], target: int, rolling: bool, now: datetime) -> Groups:
    """Every group in one class. Starting are those that are wanted and do not serve, whatever is the cause."""
    units = tuple(units)
    wanted = wanted_ordinals(units, target, now)
    serving, held, leaving, starting = 0, 0, 0, []
    for ordinal in sorted({unit.group.ordinal for unit in units}):
        mine = [unit for unit in units if unit.group.ordinal == ordinal]
        if any(unit.may_serve(now) and not unit.torn for unit in mine):
            serving += 1
        elif ordinal not in wanted:
            leaving += int(any(is_leaving(unit) and not unit.torn for unit in mine))
        elif all(is_held(unit, now) for unit in mine):
            held += 1
        else:
            starting.append(min(_age(unit, now) for unit in mine))
    return Groups(serving, tuple(sorted(starting, reverse=True)), held, leaving, rolling)


def limits_of(world: Snapshot, spec: LlamaDeploymentSpec, auto: AutoscalingSpec, floor: ScheduledMinimum) -> Limits:
    """What bounds the decision, from the spec and from the size of the model."""
    windows = auto.windows
    return Limits(
        floor=min(floor.groups, auto.max_replicas),
        ceiling=auto.max_replicas,
        slots=spec.max_concurrent_requests,
        wait=auto.target.wait_seconds,
        in_flight=auto.target.in_flight_per_group,
        stable=windows.stable_seconds,
        panic=windows.panic_seconds,
        cooldown=windows.cooldown_seconds,
        idle_after=auto.idle_after_seconds,
        step=auto.max_scale_up,
        start=_expected_start(world, spec),
    )


def _expected_start(world: Snapshot, spec: LlamaDeploymentSpec) -> float:
    view = weights_of(world.weights, spec.model)
    size = view.facts.bytes if view and view.facts else 0
    return START + size / spec.sharding.pipeline / SPEED


def _rolls(world: Snapshot) -> bool:
    return world.status.rollout is not None and world.status.rollout.phase in ("RollingOut", "RollingBack")


def _engine_waiting(units: Iterable[Group]) -> int:
    return sum(unit.state.waiting or 0 for unit in units if unit.state and unit.serving)


def _age(unit: Group, now: datetime) -> float:
    """Seconds since the unit was made, placed, or lost its requests: what its way back is counted from."""
    moments = [moment for pod in unit.pods for moment in (pod.created, pod.admitted, pod.bound) if moment]
    if unit.leader and unit.leader.in_rotation is not None:
        moments += [one for one in (unit.leader.rotation_since, unit.leader.ready_since) if one]
    return max((now - max(moments)).total_seconds(), 0.0)


# -- starts -----------------------------------------------------------------------------------------------------------


def _fresh(units: Iterable[Group]) -> frozenset[str]:
    leaders = (unit.leader for unit in units if unit.leader)
    return frozenset(pod.uid for pod in leaders if pod.alive and pod.in_rotation is None)


def _measured(units: Iterable[Group], fresh: frozenset[str]) -> tuple[float, ...]:
    """Seconds of the starts that have ended since the pass before."""
    found = []
    for unit in units:
        leader = unit.leader
        if leader is None or leader.uid not in fresh or not unit.serving or any(pod.restarts for pod in unit.pods):
            continue
        placed = max(pod.bound or pod.admitted or pod.created for pod in unit.pods)
        if leader.rotation_since and leader.rotation_since >= placed:
            found.append((leader.rotation_since - placed).total_seconds())
    return tuple(found)


# -- the record -------------------------------------------------------------------------------------------------------


def _begin(
    spec: LlamaDeploymentSpec, auto: AutoscalingSpec, floor: ScheduledMinimum, units: Iterable[Group], moment: datetime
) -> AutoscalingStatus:
    there = len({unit.group.ordinal for unit in units})
    target = min(max(spec.replicas, there, floor.groups), auto.max_replicas)
    text = sentences.autoscaling_begins(groups=target, there=there, replicas=spec.replicas)
    return AutoscalingStatus(target=target, reason=ScaleReason.BEGINS, message=text, since=moment)


def _kept(record: AutoscalingStatus) -> Kept:
    return Kept(record.target, record.raised, record.lowered, record.starts, record.seconds_per_token)


def replace_record(record: AutoscalingStatus, decision: Decision, moment: datetime) -> AutoscalingStatus:
    """The record after a decision: what survives a restart is taken over when the target or the starts change.

    All is rounded as it is read back, so that a record that nothing changed equals the one that was written.
    """
    kept = decision.state.kept
    record = record.model_copy(update={"starts": tuple(round(one, 1) for one in kept.starts)})
    if decision.target == record.target:
        return record
    speed = kept.seconds_per_token
    change = ScaleDecision.model_validate(
        {
            "at": moment,
            "from": record.target,
            "to": decision.target,
            "reason": decision.reason,
            "message": decision.message,
            "figures": {name: round(value, 3) for name, value in decision.detail.items()},
        }
    )
    return record.model_copy(
        update={
            "target": decision.target,
            "reason": decision.reason,
            "message": decision.message,
            "since": moment,
            "decisions": (change, *record.decisions)[:KEPT_DECISIONS],
            "seconds_per_token": None if speed is None else round(speed, 6),
            "raised": kept.raised.replace(microsecond=0) if kept.raised else None,
            "lowered": kept.lowered.replace(microsecond=0) if kept.lowered else None,
        }
    )
