"""A quota that refuses a new group beside the old ones, and would take it in the place of one.

Where a group leaves before a new one comes, the quota gets back what the old one has. With ``used`` and ``limited`` as
the API server told them, of each resource that is short:

    used - old + new                          <= limited    the first new group
    used - groups * old + replicas * new      <= limited    the last one

where ``old`` and ``new`` are what a group's objects count. A resource that is not known to be in them is not given
back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llama_operator.api import CPU, LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.observe.causes.cause import PodCause
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import stable_spec
from llama_operator.plan.placement.group_request import stage_requests
from llama_operator.plan.settings import STAGER_MEMORY_LIMIT

_ROUNDING: Final = 1e-6  # of sums of floats
#: Objects of a group beside its pods, under the names by which a quota may count them.
_ONE_A_GROUP: Final = (
    "services", "count/services", "configmaps", "count/configmaps", "count/networkpolicies.networking.k8s.io",
)  # fmt: skip


@dataclass(frozen=True)
class LeavingGroups:
    """Groups of one shape, each of which leaves before a new one comes."""

    spec: LlamaDeploymentSpec
    there: int
    replicas: int  # that take their places

    def give_back(self, quota: PodCause, new: LlamaDeploymentSpec) -> bool:
        """Return whether the quota takes groups of ``new`` in the places of these."""
        requested, (used, limited) = _amounts(quota.other), _told(quota.said)
        old_counts, new_counts = group_counts(self.spec), group_counts(new)
        known = requested.keys() & used.keys() & limited.keys() & old_counts.keys() & new_counts.keys()
        if not requested or requested.keys() != known:
            return False
        for name in requested:
            first = used[name] - old_counts[name] + new_counts[name]
            last = used[name] - self.there * old_counts[name] + self.replicas * new_counts[name]
            if max(first, last) > limited[name] + _ROUNDING:
                return False
        return True


def leaving_groups(stable: StableTemplate, state: PlanState) -> LeavingGroups | None:
    """Return the groups that are there; None where they are not all of the stable template, or it cannot be read."""
    if any(group.id.pod_hash != stable.pod_hash for group in state.groups):
        return None
    spec, partition = stable_spec(stable), state.spec.rollout.partition
    there = sum(group.id.ordinal >= partition for group in state.groups)
    return LeavingGroups(spec, there, max(state.spec.replicas - partition, 0)) if spec else None


def group_counts(spec: LlamaDeploymentSpec) -> dict[str, float]:
    """Return what the objects of a group count, under the names of a ResourceQuota."""
    pods, requests = spec.sharding.pipeline, stage_requests(spec)
    counts = dict.fromkeys(_ONE_A_GROUP, 1.0) | {"pods": float(pods), "count/pods": float(pods)}
    for name in ("cpu", "memory"):
        counts[name] = counts[f"requests.{name}"] = pods * requests[name]
    counts["limits.memory"] = pods * float(parse(spec.resources.memory) + parse(STAGER_MEMORY_LIMIT))
    if spec.device.resource != CPU:
        counts[f"requests.{spec.device.resource}"] = pods * requests[spec.device.resource]
    return counts


def _told(said: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Read ``used: a=1,b=2, limited: a=3,b=4``."""
    used, _, limited = said.partition(", limited: ")
    return _amounts(used.removeprefix("used: ")), _amounts(limited)


def _amounts(text: str) -> dict[str, float]:
    """Read ``a=1,b=500m``; nothing where a part has another form."""
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return {name.strip(): float(parse(amount.strip())) for name, _, amount in pairs}
    except ValueError:
        return {}
