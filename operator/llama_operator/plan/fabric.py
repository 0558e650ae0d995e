"""Groups that send between nodes by TCP although their pods have devices of a faster network."""

from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.reasons import Reason
from llama_serving.config.state import NCCL_SOCKET


def group_transports(group: Group) -> tuple[str, ...]:
    """Return what NCCL took between the ranks of all stages, sorted; empty on CPU, and before they are connected."""
    return tuple(sorted({one for state in group.states.values() for one in state.transports}))


def explain_fabrics(state: PlanState) -> tuple[Explanation, ...]:
    """Say of each group that serves from several nodes which of its stages do not use the fabric that they asked for.

    A fabric serves no group of one node: its ranks reach one another without a network.
    """
    return tuple(said for group in state.groups if group.serving and (said := _unused(group)))


def _unused(group: Group) -> Explanation | None:
    nodes = {pod.node for pod in group.pods}
    idle = {
        stage: cell.fabric for stage, cell in group.states.items() if cell.fabric and NCCL_SOCKET in cell.transports
    }
    if len(nodes) < 2 or not idle:
        return None
    devices = sorted({name for names in idle.values() for name in names})
    text = sentences.fabric_unused(group.id.ordinal, nodes=len(nodes), stages=sorted(idle), devices=devices)
    return Explanation(Reason.FABRIC_UNUSED, text, group.id.ordinal)
