"""When the gateways have no request left of a group that left the rotation, and how long they may take.

None left: every gateway that can be asked shows the group not ready and with nothing in flight, or does not know it. A
gateway that cannot be asked may still have requests of it, until its pod is gone or was not ready for UNHEARD.

    time = drainTimeoutSeconds, else contextLength / tokens_per_second, within [SHORTEST, longest_drain of the spec]

An answer has at most ``contextLength`` tokens. The speed is the smaller of what the leader measures that one request
gets alone, and of what requests have had so far beside each other, as the gateways count it; UNMEASURED is used until
the leader has measured. A time for a lone request would end while long answers of a full batch still run, and on the
last group with its weights nobody could continue them.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.groups.group import Group
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.gateway import GatewayLoad, GroupLoad

SHORTEST = 30  # seconds
UNMEASURED = 120  # seconds
UNHEARD = timedelta(seconds=30)
# Beyond the drain's time: what the gateways need to move the streams that are left to other groups.
MOVING = timedelta(seconds=5)


def drain_seconds(spec: LlamaDeploymentSpec, tokens_per_second: float | None) -> int:
    """Return the seconds that requests in flight are waited for."""
    if spec.drain_timeout_seconds is not None:
        return spec.drain_timeout_seconds
    if not tokens_per_second:
        return UNMEASURED
    return min(max(ceil(spec.context_length / tokens_per_second), SHORTEST), spec.longest_drain)


def requests_left(group: Group, snapshot: Snapshot, now: datetime) -> str:
    """Say which gateways still have requests of this group; empty when none has."""
    return "; ".join(_holders(group, snapshot, now))


def tokens_per_second(group: Group, snapshot: Snapshot) -> float | None:
    """Return the speed that a request gets on a group that has as many as usual; None before it was measured."""
    alone = group.state.tokens_per_second if group.state else None
    served = [load.served for load in snapshot.loads.values() if load is not None]
    tokens, seconds = sum(one.answer_tokens for one in served), sum(one.seconds for one in served)
    return min(alone, tokens / seconds) if alone and tokens and seconds else alone


def overdue(group: Group, spec: LlamaDeploymentSpec, snapshot: Snapshot, *, now: datetime) -> bool:
    """Return whether the drain's time is over: streams that still run are to be moved to other groups."""
    seconds = drain_seconds(spec, tokens_per_second(group, snapshot))
    return _closed_for(group, now) >= timedelta(seconds=seconds)


def drain_expired(group: Group, spec: LlamaDeploymentSpec, snapshot: Snapshot, *, now: datetime) -> bool:
    """Return whether the gateways also had their time to move the streams."""
    return overdue(group, spec, snapshot, now=now - MOVING)


def _closed_for(group: Group, now: datetime) -> timedelta:
    since = group.leader.rotation_since if group.leader and group.leader.in_rotation is False else None
    return now - since if since else timedelta(0)


def _holders(group: Group, snapshot: Snapshot, now: datetime) -> Iterator[str]:
    leader = group.leader.name if group.leader else ""
    for pod in snapshot.gateways:
        if pod.finished:
            continue
        load = snapshot.loads.get(pod.name)
        if load is None:
            if pod.ip and not long_unready(pod, now):
                yield sentences.gateway_silent(pod.name)
            continue
        for entry in _entries(load, leader):
            if entry.in_flight:
                yield sentences.gateway_has_requests(pod.name, in_flight=entry.in_flight)
            elif entry.ready:
                yield sentences.gateway_still_routes(pod.name)


def _entries(load: GatewayLoad, leader: str) -> Iterator[GroupLoad]:
    return (entry for entry in load.groups if entry.name == leader)


def long_unready(pod: PodView, now: datetime) -> bool:
    """Return whether it was not ready for UNHEARD: nobody sends it requests, and what it had has ended."""
    return not pod.ready and pod.ready_since is not None and now - pod.ready_since >= UNHEARD
