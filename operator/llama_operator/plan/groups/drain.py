"""When the gateways have let go of a group that left the rotation, and how long they may take.

Let go: every gateway that can be asked shows the group not ready and with nothing in flight, or does not know it. A
gateway that cannot be asked may still hold requests of it, until its pod is gone or was not ready for UNHEARD.

    time = drainTimeoutSeconds, else contextLength / tokens_per_second, within [SHORTEST, LONGEST_DRAIN]

An answer has at most ``contextLength`` tokens, and the leader measures what speed one request gets; UNMEASURED holds
before it has.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.deployment import LONGEST_DRAIN
from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan import sentences
from llama_operator.plan.groups.group import Group
from llama_serving.config.gateway import GatewayLoad, GroupLoad

SHORTEST = 30  # seconds
UNMEASURED = 120  # seconds
UNHEARD = timedelta(seconds=30)
# Beyond the drain's time: what the gateways need to move the streams that are left to other groups.
MOVING = timedelta(seconds=5)


def drain_seconds(spec: LlamaDeploymentSpec, tokens_per_second: float | None) -> int:
    """Seconds that requests in flight are waited for."""
    if spec.drain_timeout_seconds is not None:
        return spec.drain_timeout_seconds
    if not tokens_per_second:
        return UNMEASURED
    return min(max(ceil(spec.context_length / tokens_per_second), SHORTEST), LONGEST_DRAIN)


def held_by(unit: Group, world: Snapshot, now: datetime) -> str:
    """Who still holds requests of this unit, in words; empty when nobody does."""
    return "; ".join(_holders(unit, world, now))


def overdue(unit: Group, spec: LlamaDeploymentSpec, now: datetime) -> bool:
    """The drain's time is over: streams that still run are to be moved to other groups."""
    seconds = drain_seconds(spec, unit.state.tokens_per_second if unit.state else None)
    return _closed_for(unit, now) >= timedelta(seconds=seconds)


def given_up(unit: Group, spec: LlamaDeploymentSpec, now: datetime) -> bool:
    """The gateways also had their time to move the streams."""
    return overdue(unit, spec, now - MOVING)


def _closed_for(unit: Group, now: datetime) -> timedelta:
    since = unit.leader.rotation_since if unit.leader and unit.leader.in_rotation is False else None
    return now - since if since else timedelta(0)


def _holders(unit: Group, world: Snapshot, now: datetime) -> Iterator[str]:
    leader = unit.leader.name if unit.leader else ""
    for pod in world.gateways:
        if pod.finished:
            continue
        load = world.loads.get(pod.name)
        if load is None:
            if pod.ip and not long_unready(pod, now):
                yield sentences.gateway_silent(pod.name)
            continue
        for group in _entries(load, leader):
            if group.in_flight:
                yield sentences.gateway_has_requests(pod.name, in_flight=group.in_flight)
            elif group.ready:
                yield sentences.gateway_still_routes(pod.name)


def _entries(load: GatewayLoad, leader: str) -> Iterator[GroupLoad]:
    return (group for group in load.groups if group.name == leader)


def long_unready(pod: PodView, now: datetime) -> bool:
    """Not ready for UNHEARD: nobody sends it requests, and what it had has ended."""
    return not pod.ready and pod.ready_since is not None and now - pod.ready_since >= UNHEARD
