"""Where the next weights of a group stand, in words: staged beside those that serve, then loaded in place."""

from llama_operator.plan.groups.group import Group, Staging
from llama_operator.plan.groups.template import GroupTemplate
from llama_serving.config.reason_catalogue import reason_from
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reasons import Reason


def explain_update(group: Group, weights: str) -> Explanation:
    """Say where the in-place update of a group to ``weights`` stands."""
    swap, ordinal = group.last_swap, group.id.ordinal
    if swap and swap.outcome == "failed":
        text = f"group {ordinal} could not load {weights}: {swap.message.rstrip('.')}"
        return Explanation(Reason.SWAP_FAILED, text, ordinal)
    return Explanation(Reason.SWAPPING, f"group {ordinal}: loading {weights} in place", ordinal)


def explain_staging(group: Group, template: GroupTemplate, staging: Staging) -> Explanation:
    """Say how far the next weights are on a group's stages, or why they are refused."""
    ordinal, weights, refused = group.id.ordinal, template.serve.weights.id, staging.refused
    if refused:
        reason = reason_from(refused.reason, otherwise=Reason.WEIGHTS_REFUSED)
        text = f"group {ordinal} stage {staging.refused_stage} cannot stage {weights}: {refused.message.rstrip('.')}"
        return Explanation(reason, text, ordinal)
    done = f", {_tenths(staging)}% of {staging.total} bytes" if staging.total else ""
    return Explanation(Reason.STAGING_WEIGHTS, f"group {ordinal} stages {weights}{done}{_waits(staging)}", ordinal)


def _tenths(staging: Staging) -> int:
    """Return the percentage in steps of 10: the status is not written for each percent."""
    return min(staging.done * 10 // max(staging.total, 1), 10) * 10


def _waits(staging: Staging) -> str:
    return f"; {staging.message.rstrip('.')}" if staging.message and not staging.done else ""
