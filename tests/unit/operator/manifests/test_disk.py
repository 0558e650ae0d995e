"""Disk of the node: every emptyDir has a limit, and no sum of limits is below what the pod may take."""

from typing import Any

import pytest

from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.manifests.stage import stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import GroupId
from llama_operator.ports import Manifest
from tests.fakes.samples import CPU_SPEC, SAMPLES, context_of
from tests.fakes.weights import REMOTE
from tests.unit.operator import golden

DISK = "ephemeral-storage"
REMOTE_SPEC = {**CPU_SPEC, "model": REMOTE}


def jobs() -> list[Manifest]:
    """Templates of resolvers."""
    found = [one for name in golden.FILES if name.startswith("resolver") for one in golden.FILES[name]()]
    return [one["spec"]["template"] for one in found if one["kind"] == "Job"]


def stage(spec: dict[str, Any], *, claim: str = "") -> Manifest:
    return stage_pod(context_of(spec), CreateStage(GroupId("chat", 0, "90d590d5"), 0), claim=claim)


def containers(pod: Manifest) -> list[dict[str, Any]]:
    return [one for part in ("initContainers", "containers") for one in pod["spec"].get(part, ())]


def emptied(pod: Manifest, *, memory: bool = False) -> dict[str, str | None]:
    """Limits of the emptyDirs of a pod by their names, of those on disk or in memory."""
    dirs = {one["name"]: one["emptyDir"] for one in pod["spec"].get("volumes", ()) if "emptyDir" in one}
    return {name: one.get("sizeLimit") for name, one in dirs.items() if (one.get("medium") == "Memory") == memory}


PODS = [
    *(
        pytest.param(pod, id=f"{name}-{number}")
        for name in SAMPLES
        for number, pod in enumerate(golden.pods(name))
        if emptied(pod).get("weights", "none") is not None  # see the last test
    ),
    *(pytest.param(job, id=f"resolver-{number}") for number, job in enumerate(jobs())),
    pytest.param(stage({**REMOTE_SPEC, "staging": {"sizeLimit": "200Gi"}}), id="limited"),
    pytest.param(stage({**REMOTE_SPEC, "staging": {"sharedClaimName": "shared"}}), id="shared"),
    pytest.param(stage({**REMOTE_SPEC, "staging": {"volumeClaimTemplate": {"size": "9Gi"}}}, claim="c"), id="claim"),
]


@pytest.mark.parametrize("pod", PODS)
def test_every_part_of_a_pod_has_a_limit_of_disk(pod: Manifest) -> None:
    assert all(emptied(pod).values()), emptied(pod)
    assert all(emptied(pod, memory=True).values())
    for one in containers(pod):
        assert DISK in one["resources"]["limits"], one["name"]
        assert one["resources"]["requests"][DISK] == "0", "else it would be its limit"


@pytest.mark.parametrize("pod", PODS)
def test_the_limits_of_the_containers_hold_all_that_the_pod_may_write(pod: Manifest) -> None:
    """The kubelet evicts a pod whose emptyDirs and logs are more than the sum; init containers that end do not add."""
    adding = [one for one in containers(pod) if one in pod["spec"]["containers"] or one.get("restartPolicy")]
    most = sum(parse_bytes(one["resources"]["limits"][DISK]) for one in adding)
    logs = len(adding) * (64 << 20)
    assert most >= logs + sum(parse_bytes(size) for size in emptied(pod).values() if size)


def test_weights_without_a_limit_leave_the_containers_without_one() -> None:
    pod = stage(REMOTE_SPEC)
    assert emptied(pod).pop("weights") is None
    assert all(size for name, size in emptied(pod).items() if name != "weights")
    for one in containers(pod):
        assert DISK not in one["resources"]["limits"]
        assert DISK not in one["resources"]["requests"]
