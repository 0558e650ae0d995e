"""What tests do to a running deployment: end the operator, the gateways or a stage, and see what becomes of it."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime

from examples.cluster import RELEASE
from llama_serving.config import names
from testbed import Bed as Machine
from tests.e2e.support.bed import NAMESPACE, Bed, Object


def machine() -> Machine:
    """The test bed from below: processes on the host."""
    return Machine("default")


def kill_operator(bed: Bed) -> None:
    """SIGKILL, as a lost node would do it: no farewell."""
    selector = "app.kubernetes.io/name=llama-operator"
    bed.kubectl("delete", "pod", "-l", selector, "--grace-period=0", "--force", "--wait=false")


def stage_pod(bed: Bed, pair: str, *, group: str, stage: str) -> Object:
    labels = {"llama-operator.dev/group": group, "llama-operator.dev/stage": stage}
    return next(pod for pod in bed.pods(pair) if labels.items() <= pod["metadata"]["labels"].items())


def started_again(pod: Object) -> int:
    """How often its first container, that of the stage, has started again."""
    return next(int(one["restartCount"]) for one in pod["status"]["containerStatuses"] if one["name"] == "stage")


def cell_state(leader: Object) -> Object:
    """What the supervisor of a group says."""
    url = f"http://{leader['status']['podIP']}:{names.PORT_STATE}{names.ROUTE_STATE}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return dict(json.load(answer))


def restart_gateways(bed: Bed, pair: str) -> None:
    bed.kubectl("rollout", "restart", f"deployment/{pair}-gateway")
    bed.kubectl("rollout", "status", f"deployment/{pair}-gateway", "--timeout=180s")


def operators_wanted(bed: Bed) -> int:
    """Operators of the chart: one holds the lease, the others stand by."""
    return int(bed.kubectl.json("get", "deployment", RELEASE)["spec"]["replicas"])


def scale_operator(bed: Bed, replicas: int) -> None:
    bed.kubectl("scale", f"deployment/{RELEASE}", f"--replicas={replicas}")
    selector = "app.kubernetes.io/name=llama-operator,app.kubernetes.io/component!=gateway"
    until(
        f"{replicas} operators run",
        lambda: "" if len(bed.kubectl.json("get", "pods", "-l", selector)["items"]) == replicas else "not yet",
        60,
    )


def not_ready(bed: Bed, pair: str, group: str) -> None:
    """Wait until a group is out of rotation, and the status says so: from then on a full one is a new one."""
    leader = stage_pod(bed, pair, group=group, stage="0")["metadata"]["name"]
    bed.wait_pod(leader, lambda found: not is_ready(found), within=60, what="out of rotation")

    def noticed(found: Object) -> bool:
        return bool(found["status"]["readyReplicas"] < found["spec"]["replicas"])

    bed.wait_for(pair, noticed, within=60, what="short of a group")


def kill_engine_part(bed: Bed, deployment: str, *, group: str, stage: str) -> None:
    """SIGKILL for the process that holds the layers of a stage; wait until its group is out of rotation."""
    processes = machine().pod_processes(
        NAMESPACE, stage_pod(bed, deployment, group=group, stage=stage)["metadata"]["name"]
    )
    victims = [process for process in processes if any("StageProc" in part for part in process.argv)]
    assert len(victims) == 1, processes
    os.kill(victims[0].pid, signal.SIGKILL)
    not_ready(bed, deployment, group)
    bed.wait_for(deployment, lambda d: d["status"]["groupsReady"] != "2/2", within=60, what="one group short")


def is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def until_time(moment: datetime, within: float) -> None:
    """Wait until the machine's clock shows a moment."""
    until(f"it is {moment}", lambda: "" if datetime.now(UTC) >= moment else "not yet", within)


def until(what: str, check: Callable[[], str], within: float) -> None:
    """Wait until ``check`` returns nothing; its last answer is shown when it does not."""
    end = time.monotonic() + within
    while missing := check():
        assert time.monotonic() < end, f"{what}: not within {within} s; {missing}"
        time.sleep(0.5)
