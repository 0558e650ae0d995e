"""Whether the ResourceQuotas of the namespace take the new groups of a rollout, in their turns.

Where a group leaves before a new one comes (drain), a quota gets back what its pods have; where the new one comes first
(surge), it must take one more. Of each resource that a quota limits and that the objects of a group count, for each
number ``k`` of groups that were changed:

    drain    used - (the k smallest old groups)     + k * new <= hard
    surge    used - (the k - 1 smallest old groups) + k * new <= hard

for as many groups as there are now: those that ``replicas`` asks for besides take nothing from what serves. The quotas
are those that were listed; without the right to list them, those that refused an object on trial, with the numbers of
the refusal. Pods made since then are in none of these numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.crdgen.device_rules import HUGE_PAGES
from llama_operator.api.crdgen.quantity import parse
from llama_operator.observe.causes.cause import PodCause
from llama_operator.observe.findings import CLAIM_TEMPLATE
from llama_operator.observe.pods import PodView
from llama_operator.observe.rehearsal import AdmissionAnswer, Refusal
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, leaving_groups, stable_spec
from llama_operator.plan.placement.group_request import stage_requests
from llama_operator.plan.placement.shortage import show_quantity
from llama_operator.plan.sentences import rehearsal as sentences
from llama_operator.plan.settings import STAGER_MEMORY_LIMIT
from llama_operator.ports import Quota, QuotaScope

_ROUNDING: Final = 1e-6  # of sums of floats
#: Objects of a group beside its pods, under the names by which a quota may count them.
_ONE_A_GROUP: Final = (
    "services", "count/services", "configmaps", "count/configmaps", "count/networkpolicies.networking.k8s.io",
)  # fmt: skip
_PODS: Final = ("pods", "count/pods")
#: Of a pod that has devices by a ResourceClaimTemplate.
_CLAIMS: Final = "count/resourceclaims.resource.k8s.io"

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Turns:
    """What the objects of the new groups count, and of those in whose places they come."""

    new: Counts  # of one group
    old: tuple[Counts, ...]
    beside: bool  # each new group comes before an old one leaves

    def why_refused(self, quota: Quota) -> str:
        """Say which resource of the quota is too small; empty where it takes the groups."""
        for name in sorted(quota.hard.keys() & quota.used.keys() & self.new.keys()):
            smallest = sorted(counts.get(name, 0.0) for counts in self.old)
            for changed in range(1, max(len(smallest), 1) + 1):
                leaving = changed - 1 if self.beside else changed
                back = sum(smallest[:leaving])
                new = changed * self.new[name]
                if new > 0 and quota.used[name] - back + new > quota.hard[name] + _ROUNDING:
                    return sentences.quota_too_small(
                        quota.name, resource=name, groups=changed, new=show_quantity(new), back=show_quantity(back),
                        used=show_quantity(quota.used[name]), hard=show_quantity(quota.hard[name]),
                    )  # fmt: skip
        return ""


def why_quota_refuses(template: GroupTemplate, state: PlanState, *, beside: bool) -> str:
    """Say which quota does not take groups of the template; empty where all take them, or nobody was asked yet.

    ``beside``: one more group comes before each old one leaves.
    """
    answer = state.snapshot.rehearsal.answer_to(template.spec_hash)
    if answer is None:
        return ""
    stable = state.snapshot.status.stable
    new, before = group_counts(template.spec), stable_spec(stable) if stable else None
    leaving = _leaving(template, state, answer)
    for quota in _quotas(answer, template.spec):
        counted = before is not None and counts_pods_of(before, quota)
        turns = Turns(new, leaving if counted else ({},) * len(leaving), beside)
        if said := turns.why_refused(_without_rehearsal(quota, state, answer)):
            return said
    return ""


def is_judged(refusal: Refusal, spec: LlamaDeploymentSpec) -> bool:
    """Return whether a refusal is that of a quota whose numbers are known, so that ``Turns`` judge it."""
    if refusal.quota is None:
        return False
    requested, told = _amounts(refusal.quota.other), told_quota(refusal.quota)
    known = requested.keys() & told.used.keys() & told.hard.keys() & group_counts(spec).keys()
    return bool(requested) and requested.keys() == known


def group_counts(spec: LlamaDeploymentSpec) -> dict[str, float]:
    """Return what the objects of a group count, under the names of a ResourceQuota."""
    pods, requests = spec.sharding.pipeline, stage_requests(spec)
    counts = dict.fromkeys(_ONE_A_GROUP, 1.0) | dict.fromkeys(_PODS, float(pods))
    for name in ("cpu", "memory"):
        counts[name] = counts[f"requests.{name}"] = pods * requests[name]
    counts["limits.memory"] = pods * float(parse(spec.resources.size.memory) + parse(STAGER_MEMORY_LIMIT))
    counts |= {f"requests.{name}": pods * requests[name] for name in spec.device.counted}
    counts |= {name: pods * requests[name] for name in spec.device.counted if name.startswith(HUGE_PAGES)}
    if spec.device.claim_template:  # a controller makes one for each pod
        counts[_CLAIMS] = float(pods)
    return counts


def _leaving(template: GroupTemplate, state: PlanState, answer: AdmissionAnswer) -> tuple[Counts, ...]:
    """Return what each group counts that leaves for one of the template."""
    changing = [ordinal for ordinal in state.ordinals if ordinal >= state.spec.rollout.partition]
    groups = leaving_groups(template, state, changing=changing)
    return tuple(dict.fromkeys(_ONE_A_GROUP, 1.0) | _pod_counts(group.pods, answer) for group in groups)


def _without_rehearsal(quota: Quota, state: PlanState, answer: AdmissionAnswer) -> Quota:
    """Take off what the rehearsal's pods use: they are gone when the first group comes."""
    used = _pod_counts((one.pod for one in state.snapshot.rehearsal.pods if not one.pod.finished), answer)
    return replace(quota, used={name: amount - used.get(name, 0.0) for name, amount in quota.used.items()})


def _pod_counts(pods: Iterable[PodView], answer: AdmissionAnswer) -> dict[str, float]:
    """Return what the pods count that were there when the quotas were listed."""
    listed = answer.at - timedelta(seconds=1)  # moments of creation are cut to seconds
    there = [pod for pod in pods if pod.created < listed]
    counts = dict.fromkeys(_PODS, float(len(there)))
    for pod in there:
        asked = {f"requests.{name}": amount for name, amount in pod.requests.items()}
        asked |= {f"limits.{name}": amount for name, amount in pod.limits.items()}
        counts |= {name: counts.get(name, 0.0) + amount for name, amount in asked.items()}
        counts[_CLAIMS] = counts.get(_CLAIMS, 0.0) + sum(one.kind == CLAIM_TEMPLATE for one in pod.references)
    pages = {name.removeprefix("requests.") for name in counts if name.startswith(f"requests.{HUGE_PAGES}")}
    return counts | {name: counts.get(f"requests.{name}", 0.0) for name in ("cpu", "memory", *pages)}


def _quotas(answer: AdmissionAnswer, spec: LlamaDeploymentSpec) -> Sequence[Quota]:
    """Return the quotas that count a group's pods: those listed, and those told by a refusal."""
    listed = [quota for quota in answer.quotas if counts_pods_of(spec, quota)]
    names = {quota.name for quota in answer.quotas}
    told = [told_quota(one.quota) for one in answer.refusals if one.quota and is_judged(one, spec)]
    return [*listed, *(quota for quota in told if quota.name not in names)]


def counts_pods_of(spec: LlamaDeploymentSpec, quota: Quota) -> bool:
    """Return whether the quota counts the pods of a group."""
    return all(_applies(scope, spec) for scope in quota.scopes)


def _applies(scope: QuotaScope, spec: LlamaDeploymentSpec) -> bool:
    """Return whether a scope holds the pods of a group, which have requests and no end.

    A class that the namespace's default gives them is not known: then it does not.
    """
    if scope.name in ("NotBestEffort", "NotTerminating"):
        return scope.operator == "Exists"
    if scope.name != "PriorityClass":
        return False
    name = spec.placement.priority_class_name
    verdicts = {
        "In": name in scope.values, "NotIn": name not in scope.values, "Exists": bool(name), "DoesNotExist": not name,
    }  # fmt: skip
    return verdicts.get(scope.operator, False)


def told_quota(refusal: PodCause) -> Quota:
    """Return what a refusal tells of its quota: ``used: a=1,b=2, limited: a=3,b=4``."""
    used, _, limited = refusal.said.partition(", limited: ")
    return Quota(refusal.name, hard=_amounts(limited), used=_amounts(used.removeprefix("used: ")))


def _amounts(text: str) -> dict[str, float]:
    """Read ``a=1,b=500m``; nothing where a part has another form."""
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return {name.strip(): float(parse(amount.strip())) for name, _, amount in pairs}
    except ValueError:
        return {}
