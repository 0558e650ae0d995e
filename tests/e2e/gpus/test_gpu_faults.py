"""What is wrong with a node's GPUs is said in ``kubectl get`` and ends by itself; a node that stays bad is left."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from examples.steps import run
from tests.e2e.gpus.equipment import TENSOR, GpuNodes, gpu_nodes, on_gpus
from tests.e2e.support.bed import Bed, Object
from tests.soak import soak

pytestmark = soak

NAME, LEFT = "gpu-faults", "bad-node"
ONE = "node-1"
START = 900


@dataclass(frozen=True)
class Fault:
    """What the driver of one node shows, the reason of it, and words of its sentence."""

    what: str
    devices: Mapping[str, Any]
    reason: str
    words: tuple[str, ...] = ()


FAULTS = (
    Fault("no device", {"count": 0}, "DevicesMissing", ("0 ", str(TENSOR))),
    Fault("one device of two", {"count": 1}, "DevicesMissing", ("1 ", str(TENSOR))),
    Fault("an old driver", {"driver": "550.54.15"}, "DriverTooOld", ("550.54.15", "580")),
    Fault("uncorrected errors", {"one": {"ecc": 3}}, "DeviceUnhealthy", ("3",)),
    Fault("rows that wait for a reset", {"one": {"pending": 1}}, "DeviceUnhealthy"),
    Fault("a compute mode that forbids all", {"mode": 2}, "DeviceBusy", ("nvidia-smi -c 0",)),
    Fault("memory that others hold", {"zero": {"free": 4 << 30}, "processes": 1}, "DeviceBusy"),
)


@pytest.fixture(scope="module")
def nodes(bed: Bed) -> Iterator[GpuNodes]:
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=300s")
    with gpu_nodes(bed, each=TENSOR) as found:
        yield found


@pytest.fixture(autouse=True)
def clean(bed: Bed, nodes: GpuNodes) -> Iterator[None]:
    """Delete the deployment of each test, and end its faults."""
    yield
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=120s")
    nodes.healthy()


def runs_on(node: str) -> Any:
    """Whether the stage of a pod runs on a node: from then on its supervisor can look at the devices."""

    def seen(pod: Object) -> bool:
        statuses = pod.get("status", {}).get("containerStatuses", ())
        runs = any(one["name"] == "stage" and "running" in one["state"] for one in statuses)
        return runs and pod["spec"].get("nodeName") == node

    return seen


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.what for fault in FAULTS])
def test_a_fault_is_said_within_ten_seconds_and_ends_by_itself(bed: Bed, nodes: GpuNodes, fault: Fault) -> None:
    name = f"{NAME}-{FAULTS.index(fault)}"  # an object of its own: nothing of the one before is in its way
    nodes.driver(ONE).devices(**{"count": TENSOR, **fault.devices})
    bed.kubectl.apply(on_gpus(name, replicas=1))
    bed.wait_explained(name, fault.reason, ONE, *fault.words, cause=runs_on(ONE))
    nodes.healthy()

    def goes_on(found: Object) -> bool:
        return found["status"].get("reason") in ("EngineStarting", "StageNotJoined", "Verifying", "Serving")

    bed.wait_for(name, goes_on, within=60, what=f"going on after {fault.what}")


def test_a_group_comes_up_by_itself_when_the_fault_is_gone(bed: Bed, nodes: GpuNodes) -> None:
    nodes.driver(ONE).devices(TENSOR, one={"ecc": 1})
    bed.kubectl.apply(on_gpus(NAME, replicas=1))
    bed.wait_explained(NAME, "DeviceUnhealthy", ONE, cause=runs_on(ONE))
    nodes.healthy()
    bed.wait_serving(NAME, 1, within=START)


def test_a_node_whose_device_stays_bad_is_left(bed: Bed) -> None:
    run([sys.executable, "-m", "testbed", "up", "--nodes", "3"])
    run([sys.executable, "-m", "testbed", "images"])
    with gpu_nodes(bed, each=TENSOR) as nodes:
        nodes.driver(ONE).devices(TENSOR, one={"ecc": 1})
        bed.kubectl.apply(on_gpus(LEFT, replicas=1))
        bed.wait_explained(LEFT, "DeviceUnhealthy", ONE, cause=runs_on(ONE))
        found = bed.wait_serving(LEFT, 1, within=START)
        assert {pod["spec"]["nodeName"] for pod in bed.pods(LEFT)} == {"node-2", "node-3"}
        [strikes] = [one for one in found["status"]["nodeStrikes"] if one["node"] == ONE]
        print(strikes)
        bed.kubectl("delete", "llamadeployment", LEFT, "--wait=true", "--timeout=120s")
