"""A group gets all its nodes or none: two deployments of two nodes each on three made-up nodes, really scheduled."""

import sys
from collections.abc import Iterator

import pytest

from examples.steps import run
from tests.e2e.bed import Bed, Object, manifest
from tests.e2e.test_2_faults import until

NODES = 3
NAMES = ("gang-a", "gang-b")
KWOK = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}


@pytest.fixture
def gpu_nodes(bed: Bed) -> Iterator[None]:
    """Three GPU servers of which kwok says that they run what is bound to them."""
    kwok = [sys.executable, "-m", "testbed", "kwok", "--nodes"]
    run([*kwok, str(NODES)], environment=bed.environment)
    yield
    bed.kubectl("delete", "llamadeployment", *NAMES, "--ignore-not-found", "--wait=true", "--timeout=120s")
    run([*kwok, "0"], environment=bed.environment)


def gang(name: str) -> Object:
    """A group of two stages, each of which fills most of a node."""
    return manifest(
        name,
        device={"resource": "nvidia.com/gpu", "count": 2},
        sharding={"pipeline": 2, "tensor": 2},
        resources={"cpu": "100", "memory": "64Gi"},
        placement={"spreadStages": True, "nodeSelector": {"type": "kwok"}, "tolerations": [KWOK]},
        drainTimeoutSeconds=1,
    )


def placed(bed: Bed, name: str) -> list[str]:
    """Nodes of the stage pods that have one."""
    return [pod["spec"]["nodeName"] for pod in bed.pods(name) if "nodeName" in pod["spec"]]


def test_one_runs_whole_the_other_holds_and_takes_over(bed: Bed, gpu_nodes: None):
    bed.kubectl.apply(*(gang(name) for name in NAMES))

    def one_whole() -> str:
        nodes = {name: placed(bed, name) for name in NAMES}
        return "" if sorted(len(found) for found in nodes.values()) == [0, 2] else str(nodes)

    until("one deployment has both its nodes and the other none", one_whole, 90)
    first, second = sorted(NAMES, key=lambda name: -len(placed(bed, name)))
    held = bed.wait_for(second, lambda found: found["status"].get("reason") == "WaitingForRoom", within=30, what="held")
    message = held["status"]["message"]
    assert "kwok-" in message, message
    assert first in message, f"{message} does not say who has the room"
    assert placed(bed, second) == []
    bed.kubectl("delete", "llamadeployment", first, "--wait=true", "--timeout=120s")
    until(f"{second} has taken over", lambda: "" if len(placed(bed, second)) == 2 else str(bed.pods(second)), 60)
