"""The nodes that the groups of a rollout will use, as far as that is known before: the image is pulled there ahead."""

from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, stable_spec
from llama_operator.plan.placement.fit import FreeCapacity
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.placement.leaving import capacity_without

#: More nodes pull the image when their group starts.
MOST_NODES = 16


def rehearsal_nodes(template: GroupTemplate, stable: StableTemplate, state: PlanState) -> tuple[str, ...]:
    """Choose where the template's image is pulled ahead; nowhere when it is that of the groups that are there.

    What is free now is used first, then what the groups of the deployment give back.
    """
    capacity, there = state.snapshot.capacity, stable_spec(stable)
    if capacity is None or (there and there.images.serving == template.spec.images.serving):
        return ()
    own = frozenset(pod.uid for pod in state.snapshot.stages)
    request = group_request(template.spec, capacity, own_uids=own)
    free, later = FreeCapacity(capacity), FreeCapacity(capacity_without(capacity, own))
    for _ in range(state.spec.replicas):
        if not free.place(request) and not later.place(request):
            break
    places = ((name, pods) for one in (free, later) for name, pods in one.reserved.items())
    mine = (name for name, pods in places if any(pod in request for pod in pods))
    return tuple(dict.fromkeys(mine))[:MOST_NODES]
