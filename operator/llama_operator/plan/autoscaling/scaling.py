"""From what was observed to the number of groups: what the policy (policy.py) is asked, and what is kept of it.

The target takes the place of ``spec.replicas`` for everything else in the plan. The number to begin with is the larger
of ``spec.replicas`` and of the groups that are there, within the limits; from then on it is in the status.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from llama_operator.api import AutoscalingSpec, LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot, WeightsView
from llama_operator.plan.autoscaling.formula.windows import horizon_for
from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.load import GatewayPod, merge
from llama_operator.plan.autoscaling.memory import AutoscalingMemory, ScalingResult
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.plan.autoscaling.promise import learner_after, promise_status
from llama_operator.plan.autoscaling.schedules import ScheduledMinimum, minimum_at
from llama_operator.plan.autoscaling.starts import expected_start, measured_starts, new_leaders
from llama_operator.plan.autoscaling.state import PolicyState
from llama_operator.plan.autoscaling.status_record import durable_state, first_status, status_after
from llama_operator.plan.groups.drain import long_unready
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.ordinals import is_leaving, wanted_ordinals
from llama_operator.plan.placement.claims import warm_sentence
from llama_operator.plan.placement.gang import is_held
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.start_limits import RESTARTS, start_limit
from llama_serving.config.gateway import GatewayLoad
from llama_serving.config.reasons import Reason


def scale(
    snapshot: Snapshot,
    groups: Sequence[Group],
    *,
    weights: WeightsView | None,
    memory: AutoscalingMemory,
    now: datetime,
) -> ScalingResult | None:
    """Decide how many groups there shall be; None without ``spec.autoscaling``. ``weights``: of the spec's model."""
    spec = snapshot.spec
    if spec is None or spec.autoscaling is None:
        return None
    auto, moment = spec.autoscaling, now.replace(microsecond=0)
    minimum = minimum_at(auto.schedules, auto.min_replicas, now)
    known = memory.status or snapshot.status.autoscaling
    there = len({group.id.ordinal for group in groups})
    before = known or first_status(spec.replicas, there, auto=auto, minimum=minimum, moment=moment)
    load, reading = merge(memory.reading, _answers(snapshot, now), now)
    counts = group_counts(groups, before.target, rolling=_rolls_out(snapshot), now=now)
    state = memory.state or PolicyState(durable=durable_state(before))
    state = state.with_starts(measured_starts(groups, memory.new_leaders))
    limits = limits_for(spec, auto, minimum=minimum, start=expected_start(weights, spec.sharding.pipeline))
    start = horizon_for(limits, state.durable.starts)
    learner = learner_after(memory.learner, load, auto=auto, status=before, limits=limits, delay=start, now=now)
    rule = learner.need if learner else None
    by = learner.limits(limits) if learner else limits
    decision = decide(load, counts, state=state, limits=by, now=now, rule=rule)
    promise = promise_status(before.promise, learner, spec, start=start, moment=moment)
    after = status_after(before, decision, moment).model_copy(
        update=_bounds(snapshot, auto, minimum) | {"promise": promise}
    )
    return ScalingResult(
        target=decision.target,
        status=after,
        decided=known is None or decision.target != before.target,
        memory=AutoscalingMemory(
            reading, decision.state, after, new_leaders(groups), learner=learner, next_serves=decision.next_serves
        ),
        load=load,
        groups=counts,
        reason=decision.reason,
        message=decision.message,
        explanations=tuple(Explanation(Reason.SPEC_INVALID, text) for text in minimum.problems),
    )


def group_counts(groups: Iterable[Group], target: int, *, rolling: bool, now: datetime) -> GroupCounts:
    """Count every group once. Starting are those that are wanted and do not serve, whatever is the cause."""
    groups = tuple(groups)
    wanted = wanted_ordinals(groups, target, now)
    serving, held, leaving, failing, starting = 0, 0, 0, 0, []
    for ordinal in sorted({group.id.ordinal for group in groups}):
        mine = [group for group in groups if group.id.ordinal == ordinal]
        if any(group.may_serve(now) and not group.incomplete for group in mine):
            serving += 1
        elif ordinal not in wanted:
            leaving += int(any(is_leaving(group) and not group.incomplete for group in mine))
        elif all(is_held(group, now) for group in mine):
            held += 1
        else:
            starting.append(min(_age(group, now) for group in mine))
            failing += int(all(_fails(group) for group in mine))
    return GroupCounts(serving, tuple(sorted(starting, reverse=True)), held, leaving, rolling, failing)


def limits_for(spec: LlamaDeploymentSpec, auto: AutoscalingSpec, *, minimum: ScheduledMinimum, start: float) -> Limits:
    """Collect the bounds of the decision. ``start``: seconds that a start takes before one was measured."""
    windows = auto.windows
    return Limits(
        floor=min(minimum.groups, auto.max_replicas),
        ceiling=auto.max_replicas,
        slots=spec.max_concurrent_requests,
        wait=auto.target.wait_seconds,
        in_flight=auto.target.in_flight_per_group,
        stable=windows.stable_seconds,
        panic=windows.panic_seconds,
        cooldown=windows.cooldown_seconds,
        idle_after=auto.idle_after_seconds,
        step=auto.max_scale_up,
        start=start,
        give_up=start_limit(spec).total_seconds(),
    )


def _answers(snapshot: Snapshot, now: datetime) -> dict[GatewayPod, GatewayLoad | None]:
    """List the gateways that count. One that ends, has no address yet or is long not ready may be silent."""
    found: dict[GatewayPod, GatewayLoad | None] = {}
    for pod in snapshot.gateways:
        load = snapshot.loads.get(pod.name)
        gone = pod.finished or not pod.ip or pod.gone_by is not None or long_unready(pod, now)
        if load is not None or not gone:
            found[GatewayPod(pod.name, pod.uid)] = load
    return found


def _rolls_out(snapshot: Snapshot) -> bool:
    rollout = snapshot.status.rollout
    return rollout is not None and rollout.phase in ("RollingOut", "RollingBack")


def _bounds(snapshot: Snapshot, auto: AutoscalingSpec, minimum: ScheduledMinimum) -> dict[str, object]:
    return {
        "floor": minimum.groups,
        "ceiling": auto.max_replicas,
        "schedule": minimum.schedule,
        "warm": warm_sentence(snapshot),
    }


def _fails(group: Group) -> bool:
    """Return whether an engine of it failed again and again, and it never had a request."""
    leader = group.leader
    return any(pod.restarts >= RESTARTS for pod in group.pods) and (leader is None or leader.in_rotation is None)


def _age(group: Group, now: datetime) -> float:
    """Compute the seconds since the group was created, placed, or lost its requests."""
    moments = [moment for pod in group.pods for moment in (pod.created, pod.admitted, pod.bound) if moment]
    if group.leader and group.leader.in_rotation is not None:
        moments += [one for one in (group.leader.rotation_since, group.leader.ready_since) if one]
    return max((now - max(moments)).total_seconds(), 0.0)
