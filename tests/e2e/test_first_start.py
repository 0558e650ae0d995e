"""The operator may die at any moment of the first start: its end is the same."""

import random
from datetime import UTC, datetime, timedelta

from tests.e2e.support.bed import PAIR, Bed, manifest
from tests.e2e.support.faults import kill_operator, until, until_time

SEED = 20261124
START_S = 60
"""Both groups serve about so many seconds after the apply, on a quiet machine."""


def shape(bed: Bed, name: str) -> set[str]:
    """Kinds and names of everything that belongs to a deployment."""
    kinds = "pods,services,configmaps,secrets,deployments,serviceaccounts,roles,rolebindings,networkpolicies,pdb"
    found = bed.kubectl.json("get", kinds, "-l", f"llama-operator.dev/deployment={name}")["items"]
    gateways = {"Pod"}
    return {
        f"{item['kind']}/{item['metadata']['name']}"
        for item in found
        if item["kind"] not in gateways or "llama-operator.dev/stage" in item["metadata"]["labels"]
    }


def consists_of(name: str, pod_hash: str) -> set[str]:
    """Kinds and names of a deployment of two groups of two stages."""
    groups = [f"{name}-{pod_hash}-{group}" for group in (0, 1)]
    common = ("ServiceAccount", "PodDisruptionBudget")
    gateway = ("ConfigMap", "Deployment", "Role", "RoleBinding", "NetworkPolicy", *common)
    return {
        *(f"Pod/{group}-{stage}" for group in groups for stage in (0, 1)),
        *(f"{kind}/{group}" for kind in ("ConfigMap", "Service", "NetworkPolicy") for group in groups),
        *(f"{kind}/{name}-gateway" for kind in gateway),
        *(f"{kind}/{name}-stages" for kind in common),
        f"Service/{name}",
        f"NetworkPolicy/{name}-rehearsals",
        f"Secret/{name}-token",
        f"Secret/{name}-engine-key",
        f"Secret/{name}-stager-key",
    }


def test_ten_kills_at_random_moments_end_in_the_same_state(bed: Bed) -> None:
    """All other tests go on with these groups (``pair`` in conftest.py)."""
    bed.kubectl("delete", "llamadeployment", PAIR, "--ignore-not-found", "--wait=true", "--timeout=180s")
    until("nothing is left", lambda: ", ".join(sorted(shape(bed, PAIR))), 120)
    chance = random.Random(SEED)
    moments = sorted(chance.uniform(0, START_S) for _ in range(10))
    bed.kubectl.apply(manifest(PAIR, replicas=2))
    start = datetime.now(UTC)
    for moment in moments:
        until_time(start + timedelta(seconds=moment), 120)
        kill_operator(bed)
    bed.wait_serving(PAIR, 2)
    hashes = {pod["metadata"]["labels"]["llama-operator.dev/pod-hash"] for pod in bed.pods(PAIR)}
    assert shape(bed, PAIR) == consists_of(PAIR, *hashes)
