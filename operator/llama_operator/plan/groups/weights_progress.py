"""Where the next weights of a group stand, in words: staged beside those that serve, then loaded in place."""

from llama_operator.plan.groups.group import Group, Staging
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import weights as sentences
from llama_serving.config.reason_catalogue import reason_from
from llama_serving.config.reasons import Reason


def explain_update(group: Group, weights: str) -> Explanation:
    """Say where the in-place update of a group to ``weights`` stands."""
    swap, ordinal = group.last_swap, group.id.ordinal
    if swap and swap.outcome == "failed":
        text = sentences.swap_failed(ordinal, weights, said=swap.message)
        return Explanation(Reason.SWAP_FAILED, text, ordinal)
    return Explanation(Reason.SWAPPING, sentences.swap_running(ordinal, weights), ordinal)


def explain_staging(group: Group, template: GroupTemplate, staging: Staging) -> Explanation:
    """Say how far the next weights are on a group's stages, or why they are refused."""
    ordinal, weights, refused = group.id.ordinal, template.serve.weights.id, staging.refused
    if refused:
        reason = reason_from(refused.reason, otherwise=Reason.WEIGHTS_REFUSED)
        text = sentences.staging_refused(ordinal, weights, stage=staging.refused_stage, said=refused.message)
        return Explanation(reason, text, ordinal)
    waits = "" if staging.done else staging.message
    text = sentences.staging(ordinal, weights, percent=_tenths(staging), total=staging.total, waits=waits)
    return Explanation(Reason.STAGING_WEIGHTS, text, ordinal)


def _tenths(staging: Staging) -> int:
    """Return the percentage in steps of 10: the status is not written for each percent."""
    return min(staging.done * 10 // max(staging.total, 1), 10) * 10
