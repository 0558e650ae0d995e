"""How a pod goes: once by its own or a given grace period, and by force where nobody will ever end it.

The kubelet of a lost node confirms nothing, so a pod there would stay for ever; the object is then removed without it.
After that only a finalizer of somebody else can keep the object, and asking again would not help.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from llama_operator.observe.deployment import PodView, Snapshot
from llama_operator.plan.plan import DeletePod

# A pod that outlives its grace period by this is on a node that nobody hears.
OVERDUE = timedelta(seconds=30)


def deletes(
    pods: Iterable[PodView], why: str, world: Snapshot, now: datetime, *, grace: int | None
) -> Iterator[DeletePod]:
    """The deletes that these pods still need. ``grace`` in seconds; None leaves each pod its own."""
    for pod in pods:
        if pod.gone_by is None:
            yield DeletePod(pod.name, pod.uid, why, grace)
        elif not pod.forced and (now > pod.gone_by + OVERDUE or _on_lost_node(pod, world)):
            yield DeletePod(pod.name, pod.uid, f"{why}; nobody answers on node {pod.node}", grace=0)


def _on_lost_node(pod: PodView, world: Snapshot) -> bool:
    nodes = world.capacity.nodes if world.capacity else ()
    return any(node.name == pod.node and not node.ready for node in nodes)
