"""Which way a change takes, why, and what it will take: said before the first step.

``auto``: in place when only the weights change and a group may be out of rotation; else surge when the free devices
hold one more group; else drain when the groups that stay are enough for the present load; else nothing, and what is
missing. Enough: ``in flight + waiting <= (serving groups - 1) * maxConcurrentRequests``. With nobody to ask, or without
the right to look at nodes, surge is left out and the load counts as it was last seen.
"""

from dataclasses import dataclass

from llama_operator.api import CPU
from llama_operator.api.crdgen.quantity import parse
from llama_operator.api.v1alpha1.rollout import RolloutSpec, Strategy
from llama_operator.api.v1alpha1.status import RolloutPreview
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.reasons import Reason
from llama_operator.plan.settings import STAGER_REQUESTS
from llama_operator.ports import NodeCapacity


@dataclass(frozen=True)
class Choice:
    """``way`` is empty where none is possible; then ``reason`` says what kind of obstacle that is."""

    way: str
    why: str
    reason: Reason = Reason.ROLLING_OUT


def choose(scene: PlanState, hash_before: str, target: GroupTemplate) -> Choice:
    """The way of a rollout from pods of ``hash_before`` to the target."""
    rollout, only_weights = scene.spec.rollout, hash_before == target.template_hash
    asked: Strategy = rollout.strategy
    if asked == "inPlace":
        return _in_place(rollout, only_weights)
    if asked == "surge":
        return _surge_asked(rollout)
    if asked == "drain":
        return _drain_asked(rollout)
    if not scene.units and not only_weights and rollout.max_unavailable:
        return Choice("drain", "no group is there that would have to go for it")
    if only_weights and rollout.max_unavailable:
        return Choice("inPlace", "only the weights change, so they are exchanged in the running pods")
    return _auto(scene, target, rollout)


def pod_hash_for(choice: Choice, hash_before: str, pods_before: str, target: GroupTemplate) -> str:
    """Return the hash of the pods after the rollout: that of those there are when they stay, else one of their own."""
    if hash_before != target.template_hash:
        return target.template_hash
    return pods_before if choice.way in ("inPlace", "") else short_hash([target.template_hash, target.digest])


def _in_place(rollout: RolloutSpec, only_weights: bool) -> Choice:
    if not only_weights:
        text = (
            "spec.rollout.strategy is inPlace, but more than the weights changes (image, layout, resources or the"
            " model's shape), which needs new pods; use auto, surge or drain"
        )
        return Choice("", text, Reason.ROLLOUT_HELD)
    if not rollout.max_unavailable:
        text = (
            "spec.rollout.strategy is inPlace and spec.rollout.maxUnavailable is 0, but a group is out of rotation"
            " while its weights are exchanged; use maxUnavailable 1, or strategy surge"
        )
        return Choice("", text, Reason.ROLLOUT_HELD)
    return Choice("inPlace", "spec.rollout.strategy is inPlace")


def _surge_asked(rollout: RolloutSpec) -> Choice:
    if rollout.max_surge:
        return Choice("surge", "spec.rollout.strategy is surge")
    text = "spec.rollout.strategy is surge, but spec.rollout.maxSurge is 0; use at least 1, or strategy drain"
    return Choice("", text, Reason.ROLLOUT_HELD)


def _drain_asked(rollout: RolloutSpec) -> Choice:
    if rollout.max_unavailable:
        return Choice("drain", "spec.rollout.strategy is drain")
    text = "spec.rollout.strategy is drain, but spec.rollout.maxUnavailable is 0; use at least 1, or strategy surge"
    return Choice("", text, Reason.ROLLOUT_HELD)


def _auto(scene: PlanState, target: GroupTemplate, rollout: RolloutSpec) -> Choice:
    missing = "spec.rollout.maxSurge is 0"
    if rollout.max_surge:
        missing = room_for_one(scene.world.rooms, target)
        if not missing:
            return Choice("surge", "the pods change, and the free devices hold one more group")
    if not rollout.max_unavailable:
        return Choice("", f"{missing}, and spec.rollout.maxUnavailable is 0", Reason.WAITING_FOR_ROOM)
    load, staying = present_load(scene), max(scene.available - 1, 0)
    holds = staying * scene.spec.max_concurrent_requests
    if load <= holds:
        why = f"{missing}; the {staying} group(s) that stay hold {holds} requests at a time, {load} are there now"
        return Choice("drain", why)
    text = (
        f"{missing}, and the {staying} group(s) that would stay hold {holds} requests at a time while {load} are there;"
        " free the devices of one group, or accept that requests wait with spec.rollout.strategy drain"
    )
    return Choice("", text, Reason.WAITING_FOR_ROOM)


def present_load(scene: PlanState) -> int:
    """Requests that the gateways have in flight or waiting."""
    return sum(load.in_flight + load.waiting for load in scene.world.loads.values() if load)


def room_for_one(rooms: tuple[NodeCapacity, ...] | None, target: GroupTemplate) -> str:
    """Why the nodes do not hold one more group; empty when they do. First fit, with the placement of the spec."""
    if rooms is None:
        return "the room on the nodes is not known"
    spec, free = target.spec, {room.name: _free(room) for room in rooms if _usable(room, target)}
    needs = _needs(target)
    used: set[str] = set()
    for stage in range(spec.sharding.pipeline):
        fits = (
            name
            for name, has in sorted(free.items())
            if all(has.get(kind, 0) >= amount for kind, amount in needs.items())
            and not (spec.placement.spread_stages and name in used)
        )
        node = next(fits, None)
        if node is None:
            asked = ", ".join(f"{amount:g} {kind}" for kind, amount in sorted(needs.items()) if kind != "memory")
            return f"of {spec.sharding.pipeline} stages of {asked} each, {stage} fit(s) on the {len(free)} usable nodes"
        used.add(node)
        free[node] = {kind: has - needs.get(kind, 0) for kind, has in free[node].items()}
    return ""


def _needs(target: GroupTemplate) -> dict[str, float]:
    spec = target.spec
    stage = {"cpu": spec.resources.cpu, "memory": spec.resources.memory}
    needs = {kind: float(parse(stage[kind]) + parse(amount)) for kind, amount in STAGER_REQUESTS.items()}
    if spec.device.resource != CPU:
        needs[spec.device.resource] = float(spec.device.count)
    return needs


def _usable(room: NodeCapacity, target: GroupTemplate) -> bool:
    wanted = target.spec.placement.node_selector
    return room.ready and room.schedulable and all(room.labels.get(key) == value for key, value in wanted.items())


def _free(room: NodeCapacity) -> dict[str, float]:
    return {kind: has - room.requested.get(kind, 0) for kind, has in room.allocatable.items()}


# -- what it will take ------------------------------------------------------------------------------------------------


def expectation(choice: Choice, scene: PlanState, target: GroupTemplate, before: str) -> RolloutPreview:
    """Strategy, steps, devices, capacity and time of a rollout, for its user to read before it begins."""
    rollout, replicas = scene.spec.rollout, scene.spec.replicas
    if not choice.way:
        return RolloutPreview(why=choice.why)
    surge = min(rollout.max_surge, replicas) if choice.way == "surge" else 0
    down = 0 if choice.way == "surge" else min(rollout.max_unavailable, replicas)
    devices = (
        surge * target.spec.sharding.pipeline * (1 if target.spec.device.resource == CPU else target.spec.device.count)
    )
    each = _measured_seconds(choice.way, scene.units)
    rounds = -(-replicas // max(surge or down, 1))
    watch = rollout.canary.seconds if rollout.canary.groups else 0
    return RolloutPreview(
        strategy=choice.way,
        why=choice.why,
        steps=tuple(_steps(choice.way, scene, target, before)),
        extra_devices=devices,
        lowest_capacity=f"{replicas - down} of {replicas}",
        seconds=None if each is None else round(rounds * (each + rollout.min_ready_seconds)) + watch,
    )


def _steps(way: str, scene: PlanState, target: GroupTemplate, before: str) -> list[str]:
    rollout, replicas, wanted = scene.spec.rollout, scene.spec.replicas, target.serve.weights.id
    which = _which([ordinal for ordinal in scene.wanted if ordinal >= rollout.partition])
    at_once = rollout.max_surge if way == "surge" else rollout.max_unavailable
    steps = [f"stage {wanted} beside what serves, and verify it"] if way == "inPlace" else []
    if rollout.canary.groups:
        steps.append(f"change {rollout.canary.groups} group(s) first and watch them for {rollout.canary.seconds} s")
    sentence = {
        "inPlace": f"{which}, {at_once} at a time: out of rotation, requests end, weights exchanged, verified, back",
        "surge": f"{which}, up to {at_once} at a time: start a new group, verify it, then drain the old one",
        "drain": f"{which}, {at_once} at a time: drain the old group, start the new one, verify it",
    }[way]
    steps.append(sentence)
    if way != "surge" and replicas == 1:
        steps.append("there is one group only: its requests wait in the gateway meanwhile")
    steps.append(f"a failure puts all groups back on {before}")
    return steps


def _which(ordinals: list[int]) -> str:
    if not ordinals:
        return "the next groups"
    if len(ordinals) == 1:
        return f"group {ordinals[0]}"
    if ordinals[-1] - ordinals[0] == len(ordinals) - 1:
        return f"groups {ordinals[0]} to {ordinals[-1]}"
    return f"groups {', '.join(str(ordinal) for ordinal in ordinals)}"


def _measured_seconds(way: str, units: tuple[Group, ...]) -> float | None:
    """Of one group: the last exchange and verification, or the last start; None before anything was measured."""
    states = [unit.state for unit in units if unit.state]
    if way == "inPlace":
        swaps = [state.swap.seconds for state in states if state.swap and state.swap.outcome == "done"]
        checks = [state.measurement.seconds for state in states if state.measurement]
        return max(swaps) + max(checks, default=0) if swaps else None
    starts = [sum(state.timings.values()) for state in states if state.timings]
    return max(starts) if starts else None
