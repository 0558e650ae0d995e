"""Which resource is short, and by how much: pods that were not placed, compared with what every node has free.

The scheduler's own message names the reasons per node without amounts. Where the operator may list nodes and pods, the
node that comes closest is named with what it has free and what is missing. Nodes that the pod may not use do not count.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from llama_operator.observe.pods import PodView
from llama_operator.plan.placement.fit import (
    PODS,
    FreeCapacity,
    as_many_as_fit,
    could_ever_fit,
    free_on,
    has_capacity,
    may_run,
    why_not,
)
from llama_operator.plan.placement.scheduler_words import scheduler_words
from llama_operator.plan.sentences import placement as sentences
from llama_operator.ports import Capacity, NodeCapacity, PodRequest
from llama_serving.config.reasons import Reason

_COMMON = frozenset({"cpu", "memory", "ephemeral-storage", PODS})  # named only where no device is short
_NODES_NAMED, _USERS_NAMED = 3, 2
_ANY_TAINT = ({"operator": "Exists"},)

Nodes = tuple[NodeCapacity, ...]


def pod_shortage(pod: PodView, capacity: Capacity | None) -> str:
    """Say what a pod that the scheduler refused needs, where it comes closest, and what the scheduler said."""
    request = _request(pod, capacity)
    needs, nearest = sentences.needs(_amounts(request.requests)), _nearest(request, capacity.nodes if capacity else ())
    return sentences.pod_shortage(needs, nearest=nearest, said=scheduler_words(pod.unscheduled))


def group_shortage(pods: tuple[PodRequest, ...], free: FreeCapacity) -> tuple[Reason, str]:
    """Say why the pods of a group, which are alike, do not fit together: what is missing, where, and who has it."""
    pod, usable = pods[0], tuple(node for node in free.nodes if may_run(pods[0], node))
    if not usable:
        needs = sentences.group_needs(pods=len(pods), amounts=_amounts(pod.requests))
        return Reason.UNSCHEDULABLE, sentences.no_usable_node(needs, kept_away=_kept_away(pod, free.nodes))
    text = _missing_together(pods, usable, free)
    if could_ever_fit(pods, free.nodes):
        return Reason.WAITING_FOR_ROOM, text
    return Reason.UNSCHEDULABLE, sentences.never_fits(text)


def show_quantity(value: float) -> str:
    """Write an amount in the shortest usual form: ``2``, ``500m``, ``16Gi``."""
    for suffix, factor in (("Gi", 2**30), ("Mi", 2**20)):
        if value >= factor:
            return f"{value / factor:.1f}".removesuffix(".0") + suffix
    if value != int(value):
        return f"{value * 1000:.0f}m"
    return str(int(value))


def _request(pod: PodView, capacity: Capacity | None) -> PodRequest:
    """Find the pod in the capacity; one that is not there yet is only known by its requests."""
    found = (one for one in (capacity.waiting if capacity else ()) if one.uid == pod.uid)
    bare = PodRequest("", pod.name, pod.uid, requests=pod.requests, tolerations=_ANY_TAINT)
    return next(found, bare)


def _nearest(pod: PodRequest, nodes: Nodes) -> str:
    usable = tuple(node for node in nodes if may_run(pod, node))
    if not usable:
        return f"; {_kept_away(pod, nodes)}" if nodes else ""
    free = {node.name: free_on(node) for node in usable}
    lacking, node = _closest(pod, usable, free)
    if not lacking:
        return sentences.another_rule(node.name)
    return _closest_sentence(lacking, node, free[node.name], usable=len(usable))


def _missing_together(pods: tuple[PodRequest, ...], usable: Nodes, free: FreeCapacity) -> str:
    """Say what the nodes lack for the first pod that finds none, once the pods before it have theirs."""
    pod, left = pods[0], {node.name: dict(free.free[node.name]) for node in usable}
    names = as_many_as_fit(pods, usable, left)
    others = [node for node in usable if not (pod.one_per_node and node.name in names)]
    lacking, closest = _closest(pod, others, left) if others else ({}, usable[0])
    name = min(lacking or pod.requests, key=lambda one: (one in _COMMON, one), default=PODS)
    total = sum(max(free.free[node.name].get(name, 0), 0) for node in usable)
    amount = show_quantity(pod.requests.get(name, 1))
    needs = sentences.amount_free(pods=len(pods), amount=amount, resource=name, free=show_quantity(total))
    where = _closest_sentence(lacking, closest, left[closest.name], usable=len(usable))
    return f"{needs}{_users(pod, name, usable, free=free)}{_spread(pod, len(pods), len(names))}{where}"


def _closest(
    pod: PodRequest, nodes: Iterable[NodeCapacity], free: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, float], NodeCapacity]:
    """Find the node that lacks least, with what it lacks: resource -> amount."""
    amounts = {PODS: 1, **pod.requests}

    def distance(one: tuple[dict[str, float], NodeCapacity]) -> tuple[int, float, str]:
        lacking, node = one
        return len(lacking), max((short / amounts[name] for name, short in lacking.items()), default=0), node.name

    return min(((_lacking(pod, free[node.name]), node) for node in nodes), key=distance)


def _lacking(pod: PodRequest, free: Mapping[str, float]) -> dict[str, float]:
    if has_capacity(free, pod):
        return {}
    has = {name: max(free.get(name, 0), 0) for name in pod.requests}
    found = {name: amount - has[name] for name, amount in pod.requests.items() if amount > has[name]}
    return found or {PODS: 1}


def _closest_sentence(
    lacking: Mapping[str, float], node: NodeCapacity, free: Mapping[str, float], *, usable: int
) -> str:
    if not lacking:
        return ""
    parts = [
        sentences.amount_short(
            name,
            free=show_quantity(max(free.get(name, 0), 0)),
            total=show_quantity(node.allocatable.get(name, 0)),
            short=show_quantity(short),
        )
        for name, short in sorted(lacking.items())
    ]
    return sentences.closest_node(node.name, nodes=usable, lacking=parts)


def _kept_away(pod: PodRequest, nodes: Nodes) -> str:
    return sentences.kept_away(nodes=len(nodes), why=Counter(why_not(pod, node) for node in nodes))


def _users(pod: PodRequest, name: str, usable: Nodes, *, free: FreeCapacity) -> str:
    """Say who has what is missing, on the nodes that would hold the pod without them."""
    needs = pod.requests.get(name, 1)
    full = [node for node in usable if free.free[node.name].get(name, 0) < needs <= node.allocatable.get(name, 0)]
    full.sort(key=lambda node: (-free.free[node.name].get(name, 0), node.name))
    parts = [part for node in full[:_NODES_NAMED] if (part := _users_of(node, name, free))]
    return f": {'; '.join(parts)}" if parts else ""


def _users_of(node: NodeCapacity, name: str, free: FreeCapacity) -> str:
    users = [*node.pods, *free.reserved.get(node.name, ())]
    found = sorted((-_amount(user, name), f"{user.namespace}/{user.name}") for user in users if _amount(user, name))
    if not found:
        return ""
    amount, named = show_quantity(-sum(amount for amount, _ in found)), [who for _, who in found[:_USERS_NAMED]]
    return sentences.in_use_by(node.name, amount=amount, pods=named, more=len(found) - len(named))


def _amount(pod: PodRequest, name: str) -> float:
    return 1 if name == PODS else pod.requests.get(name, 0)


def _spread(pod: PodRequest, stages: int, placed: int) -> str:
    if not pod.one_per_node:
        return ""
    return sentences.one_stage_a_node(stages=stages, placed=placed)


def _amounts(requests: Mapping[str, float]) -> str:
    return ", ".join(f"{show_quantity(amount)} {name}" for name, amount in sorted(requests.items()))
