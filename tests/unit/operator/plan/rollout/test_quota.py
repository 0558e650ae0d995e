"""Whether a quota that refuses a new group takes it in the place of one that leaves: by the API server's numbers."""

from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.crdgen.quantity import parse
from llama_operator.manifests.stage import stage_pod
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.plan.rehearsal.quota import LeavingGroups, group_counts
from tests.fakes.samples import SAMPLES, context_of, whole_plan
from tests.fakes.world import spec_of

GPU = "nvidia.com/gpu"


def spec(devices: int = 4, **changes: Any) -> LlamaDeploymentSpec:
    """Two stages with so many devices each."""
    device = {"resource": GPU, "count": devices}
    return LlamaDeploymentSpec.model_validate(spec_of(device=device, sharding={"pipeline": 2}, **changes))


def given_back(
    said: str, new: LlamaDeploymentSpec, *, old: LlamaDeploymentSpec | None = None, there: int = 2, replicas: int = 2
) -> bool:
    cause = refusal_cause(f'pods "x" is forbidden: exceeded quota: team, {said}')
    assert cause is not None
    return LeavingGroups(old or spec(), there, replicas).give_back(cause, new)


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
        ("requested: requests.storage=9Gi, used: requests.storage=9Gi, limited: requests.storage=9Gi", spec(4), False),
        ("requested: pods, used: pods=6, limited: pods=6", spec(4), False),
        ("requested: pods=1, used: pods=six, limited: pods=6", spec(4), False),
    ],
)  # fmt: skip
def test_what_is_given_back(said: str, new: LlamaDeploymentSpec, *, fits: bool) -> None:
    assert given_back(said, new) is fits


def test_more_groups_than_are_there_count() -> None:
    assert given_back(devices(8, 16), spec(4), there=1, replicas=2)
    assert not given_back(devices(8, 15), spec(4), there=1, replicas=2)


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
