"""A group gets all its nodes or none, on made-up nodes and really scheduled: two deployments; many groups of one."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from examples.steps import run
from tests.e2e.support.bed import Bed, Object, manifest
from tests.e2e.support.faults import until

NAMES = ("gang-a", "gang-b")
NODES_FOR_MANY, FIT, WANTED, LEFT = 40, 20, 23, 4
"""Groups of two nodes each."""
KWOK = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}


@pytest.fixture
def gpu_nodes(bed: Bed) -> Iterator[Callable[[int], None]]:
    """Makes so many GPU servers, of which kwok says that they run what is bound to them."""
    kwok = [sys.executable, "-m", "testbed", "kwok", "--nodes"]

    def make(count: int) -> None:
        run([*kwok, str(count)], environment=bed.environment)

    yield make
    bed.kubectl("delete", "llamadeployment", *NAMES, "--ignore-not-found", "--wait=true", "--timeout=120s")
    make(0)


def gang(name: str, *, replicas: int = 1) -> Object:
    """Groups of two stages, each of which fills most of a node."""
    return manifest(
        name,
        replicas=replicas,
        device={"resource": "nvidia.com/gpu", "count": 2},
        sharding={"pipeline": 2, "tensor": 2},
        resources={"cpu": "100", "memory": "64Gi"},
        placement={"spreadStages": True, "nodeSelector": {"type": "kwok"}, "tolerations": [KWOK]},
        drainTimeoutSeconds=1,
    )


def placed(bed: Bed, name: str) -> list[str]:
    """Nodes of the stage pods that have one."""
    return [pod["spec"]["nodeName"] for pod in bed.pods(name) if "nodeName" in pod["spec"]]


def groups(bed: Bed, name: str) -> Counter[str]:
    """Groups of which a stage has a node, with how many of their stages have one."""
    group = "llama-operator.dev/group"
    return Counter(pod["metadata"]["labels"][group] for pod in bed.pods(name) if "nodeName" in pod["spec"])


def test_one_runs_whole_the_other_holds_and_takes_over(bed: Bed, gpu_nodes: Callable[[int], None]) -> None:
    gpu_nodes(3)
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


def test_many_groups_fill_the_nodes_and_leave_them(bed: Bed, gpu_nodes: Callable[[int], None]) -> None:
    name = NAMES[0]
    gpu_nodes(NODES_FOR_MANY)
    bed.kubectl.apply(gang(name, replicas=WANTED))

    def with_both_stages(wanted: int) -> str:
        found = groups(bed, name)
        return "" if list(found.values()) == [2] * wanted else f"stages with a node, by group: {found}"

    until(f"{FIT} groups have both their nodes", lambda: with_both_stages(FIT), 180)

    def said(found: Object) -> str:
        """What the first group without room says; those after it are not made."""
        return next((one["message"] for one in found["status"]["groups"] if "come after it" in one["message"]), "")

    held = bed.wait_for(name, lambda found: bool(said(found)), within=90, what="held with its other groups named")
    message = said(held)
    assert message.startswith(f"group {FIT} needs 2 x "), message
    assert "groups 21, 22 come after it" in message, message
    assert "kwok-" in message, message
    assert with_both_stages(FIT) == "", "a held group has taken nothing"
    bed.kubectl("scale", "llamadeployment", name, f"--replicas={LEFT}")
    until(f"{LEFT} groups are left", lambda: with_both_stages(LEFT) or leftover(bed, name), 120)


def leftover(bed: Bed, name: str) -> str:
    """Stage pods that are too many."""
    pods = [pod["metadata"]["name"] for pod in bed.pods(name)]
    return "" if len(pods) == 2 * LEFT else f"{len(pods)} stage pods: {sorted(pods)}"
