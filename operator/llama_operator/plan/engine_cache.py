"""Groups that serve without the cache of compiled code that ``engine.cache`` asks for: their starts take longer."""

from llama_operator.plan.groups.group import Group
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.reasons import Reason


def explain_caches(state: PlanState) -> tuple[Explanation, ...]:
    """Say of each group that serves why a stage compiles anew; the first of its stages speaks for the others."""
    return tuple(said for group in state.groups if group.serving and (said := _unused(group)))


def _unused(group: Group) -> Explanation | None:
    for stage, cell in sorted(group.states.items()):
        if cell.cache_fault:
            text = sentences.cache_unused(group.id.ordinal, stage=stage, fault=cell.cache_fault)
            return Explanation(Reason.CACHE_UNUSED, text, group.id.ordinal)
    return None
