"""Whether a quota that refuses a new group takes it in the place of one that leaves: by the API server's numbers."""

from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.manifests.stage import stage_pod
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.observe.quotas import quota_views
from llama_operator.observe.rehearsal import Refusal
from llama_operator.plan.rehearsal.quota import Turns, counts_pods_of, group_counts, is_judged, told_quota
from llama_operator.ports import Quota, QuotaScope
from tests.fakes.samples import SAMPLES, context_of, whole_plan
from tests.fakes.world import spec_of

GPU = "nvidia.com/gpu"


def spec(devices: int = 4, **changes: Any) -> LlamaDeploymentSpec:
    """Two stages with so many devices each."""
    device = {"resource": GPU, "count": devices}
    return LlamaDeploymentSpec.model_validate(spec_of(device=device, sharding={"pipeline": 2}, **changes))


def verdict(said: str, new: LlamaDeploymentSpec, *, there: int = 2, beside: bool = False) -> tuple[bool, str]:
    """Say whether a refusal is judged by its numbers, and what is said about groups that come in the places of others.

    The refusal's own quota is all that is known.
    """
    cause = refusal_cause(f'pods "x" is forbidden: exceeded quota: team, {said}')
    assert cause is not None
    quota = told_quota(cause)
    turns = Turns(group_counts(new), (group_counts(spec()),) * there, beside)
    return is_judged(Refusal("refused", cause), new), turns.why_refused(quota)


def devices(used: int, limited: int) -> str:
    return f"requested: requests.{GPU}=4, used: requests.{GPU}={used}, limited: requests.{GPU}={limited}"


@pytest.mark.parametrize(
    ("said", "new", "fits"),
    [
        (devices(16, 16), spec(4), True),
        (devices(16, 16), spec(2), True),
        (devices(16, 16), spec(5), False),
        (devices(16, 17), spec(5), False),  # not even the first
        (devices(16, 18), spec(5), False),  # the first, and not the second
        (devices(16, 20), spec(5), True),
        (devices(17, 16), spec(4), False),  # the quota was lowered
        (devices(17, 16), spec(3), True),
        ("requested: pods=1, used: pods=6, limited: pods=6", spec(4), True),
        ("requested: count/pods=1,services=1, used: count/pods=6,services=9, limited: count/pods=6,services=9",
         spec(4), True),
        ("requested: requests.cpu=4050m, used: requests.cpu=16200m, limited: requests.cpu=16200m", spec(4), True),
        ("requested: requests.memory=33Gi, used: requests.memory=66Gi, limited: requests.memory=66Gi", spec(4), True),
        ("requested: limits.memory=33Gi, used: limits.memory=132Gi, limited: limits.memory=132Gi",
         spec(4, resources={"memory": "64Gi"}), False),
    ],
)  # fmt: skip
def test_what_is_given_back(said: str, new: LlamaDeploymentSpec, *, fits: bool) -> None:
    judged, refused = verdict(said, new)
    assert judged
    assert (not refused) is fits, refused


@pytest.mark.parametrize(
    "said",
    [
        "requested: requests.storage=9Gi, used: requests.storage=9Gi, limited: requests.storage=9Gi",
        "requested: pods, used: pods=6, limited: pods=6",
        "requested: pods=1, used: pods=six, limited: pods=6",
    ],
)
def test_a_refusal_stays_one_where_its_numbers_are_not_known(said: str) -> None:
    assert verdict(said, spec())[0] is False


def test_groups_that_come_beside_need_one_more() -> None:
    assert verdict(devices(16, 24), spec(4), beside=True)[1] == ""
    refused = verdict(devices(16, 23), spec(4), beside=True)[1]
    assert f"the ResourceQuota team allows no more: 1 new group asks for requests.{GPU}=8, 16 of 23 are used" in refused
    refused = verdict(devices(16, 26), spec(5), beside=True)[1]
    assert f"2 new groups ask for requests.{GPU}=20 and 8 comes back" in refused


def test_where_none_is_there_one_counts() -> None:
    assert verdict(devices(8, 16), spec(4), there=0)[1] == ""
    assert verdict(devices(9, 16), spec(4), there=0)[1] != ""


@pytest.mark.parametrize(
    ("scopes", "counts"),
    [
        ((), True),
        ((QuotaScope("NotTerminating"), QuotaScope("NotBestEffort")), True),
        ((QuotaScope("Terminating"),), False),
        ((QuotaScope("BestEffort"),), False),
        ((QuotaScope("CrossNamespacePodAffinity"),), False),
        ((QuotaScope("PriorityClass", "In", ("serving", "other")),), True),
        ((QuotaScope("PriorityClass", "In", ("other",)),), False),
        ((QuotaScope("PriorityClass", "NotIn", ("other",)),), True),
        ((QuotaScope("PriorityClass", "Exists"),), True),
        ((QuotaScope("PriorityClass", "DoesNotExist"),), False),
        ((QuotaScope("NotTerminating"), QuotaScope("PriorityClass", "In", ("other",))), False),
    ],
)
def test_which_quotas_count_the_pods(scopes: tuple[QuotaScope, ...], *, counts: bool) -> None:
    quota = Quota("team", {}, {}, scopes)
    assert counts_pods_of(spec(placement={"priorityClassName": "serving"}), quota) is counts


def test_a_quota_is_read_with_its_scopes() -> None:
    selected = [{"scopeName": "PriorityClass", "operator": "In", "values": ["serving"]}]
    listed = quota_views(
        [
            {"metadata": {"name": "b"}},
            {
                "metadata": {"name": "a"},
                "spec": {"scopes": ["NotTerminating"], "scopeSelector": {"matchExpressions": selected}},
                "status": {
                    "hard": {"requests.memory": "1Gi", "pods": "3"},
                    "used": {"requests.memory": "0", "pods": 1},
                },
            },
        ]
    )
    assert listed == (
        Quota(
            "a",
            hard={"requests.memory": 2.0**30, "pods": 3.0},
            used={"requests.memory": 0.0, "pods": 1.0},
            scopes=(QuotaScope("NotTerminating"), QuotaScope("PriorityClass", "In", ("serving",))),
        ),
        Quota("b", hard={}, used={}),
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_a_group_counts_what_its_pods_ask(name: str) -> None:
    """The counts are those of the pods that are rendered."""
    context = context_of(SAMPLES[name])
    pods = [stage_pod(context, item) for item in whole_plan(context).actions.creates if item.group.ordinal == 0]
    containers = [one for pod in pods for one in (*pod["spec"]["containers"], *pod["spec"]["initContainers"])]
    counts = group_counts(context.spec)
    assert counts["pods"] == len(pods)
    for section, resource in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        asked = sum(float(parse(one["resources"][section][resource])) for one in containers)
        assert counts[f"{section}.{resource}"] == pytest.approx(asked), (section, resource)


def test_network_devices_huge_pages_and_claims_count_for_the_whole_group() -> None:
    counts = group_counts(
        LlamaDeploymentSpec.model_validate(
            spec_of(
                device={"resource": GPU, "extra": {"rdma/hca": 2, "hugepages-2Mi": "5Gi"}, "claimTemplate": "gpus"},
                sharding={"pipeline": 2},
            )
        )
    )
    assert counts["requests.rdma/hca"] == 4
    assert counts["requests.hugepages-2Mi"] == counts["hugepages-2Mi"] == 10 * 2**30
    assert counts["count/resourceclaims.resource.k8s.io"] == 2
    assert f"requests.{GPU}" not in counts, "the devices come from the claim"
    quota = Quota("team", {"requests.rdma/hca": 4.0}, {"requests.rdma/hca": 4.0})
    assert Turns(counts, (counts,), beside=False).why_refused(quota) == ""
    assert "requests.rdma/hca=4" in Turns(counts, (counts,), beside=True).why_refused(quota)
