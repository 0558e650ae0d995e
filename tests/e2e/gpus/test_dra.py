"""Devices by dynamic resource allocation: a ResourceClaimTemplate, and Kubernetes' own example driver on both nodes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.gpus.equipment import GPU, TENSOR, gpu_nodes, on_gpus
from tests.e2e.support.bed import NAMESPACE, Bed, Object
from tests.e2e.support.faults import machine, until
from tests.soak import soak

pytestmark = [soak, pytest.mark.usefixtures("driver")]

NAME, OTHER = "by-claim", "too-many"
START = 900
CLASS = "gpu.example.com"
TEMPLATE = "two-gpus"
OBJECTS: tuple[Object, ...] = (
    {
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": CLASS},
        "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{CLASS}'"}}]},
    },
    {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": TEMPLATE, "namespace": NAMESPACE},
        "spec": {"spec": {"devices": {"requests": [
            {"name": "gpus", "exactly": {"deviceClassName": CLASS, "count": TENSOR}},
        ]}}},
    },
)  # fmt: skip


@pytest.fixture(scope="module")
def driver(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two devices on each of two nodes, which no device plug-in advertises."""
    logs = tmp_path_factory.mktemp("dra")
    with gpu_nodes(bed, each=0) as nodes, ExitStack() as stack:
        for name in nodes.names[:2]:
            stack.enter_context(machine().dra_driver(name, devices=TENSOR, log=logs / name))
        bed.kubectl.apply(*OBJECTS)

        def advertised() -> str:
            slices = bed.kubectl.json("get", "resourceslices")["items"]
            found = {one["spec"]["nodeName"]: len(one["spec"]["devices"]) for one in slices}
            wanted = dict.fromkeys(nodes.names[:2], TENSOR)
            return "" if wanted.items() <= found.items() else f"{found}; {_tail(logs)}"

        until("the driver offers its devices", advertised, 60)
        yield
        bed.kubectl("delete", "llamadeployment", NAME, OTHER, "--ignore-not-found", "--wait=true", "--timeout=120s")


def _tail(logs: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in logs.iterdir())


def by_claim(name: str) -> Object:
    return on_gpus(name, replicas=1, device={"resource": GPU, "count": TENSOR, "claimTemplate": TEMPLATE})


def claims(bed: Bed) -> list[Object]:
    found: list[Object] = bed.kubectl.json("get", "resourceclaims")["items"]
    return found


def test_a_group_serves_on_claimed_devices_and_gives_them_back(bed: Bed) -> None:
    bed.kubectl.apply(by_claim(NAME))
    bed.wait_serving(NAME, 1, within=START)
    given = [claim["status"]["allocation"]["devices"]["results"] for claim in claims(bed)]
    assert sorted(len(results) for results in given) == [TENSOR, TENSOR], given
    assert sorted({result["pool"] for results in given for result in results}) == ["node-1", "node-2"], given

    bed.kubectl.apply(by_claim(OTHER))
    found = bed.wait_for(OTHER, lambda d: d["status"].get("reason") == "Unschedulable", within=120, what="without room")
    print(found["status"]["message"])
    assert "the devices that its ResourceClaim asks for" in found["status"]["message"], found["status"]["message"]
    bed.kubectl("delete", "llamadeployment", NAME, OTHER, "--wait=true", "--timeout=120s")
    until("the claims are gone", lambda: ", ".join(one["metadata"]["name"] for one in claims(bed)), 60)
