"""The whole bed, for real: two nodes, pods that reach each other, repair after kills, and nothing left by `down`."""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import Bed
from testbed.api import wait
from testbed.cluster import cgroups, node, own, processes, store
from testbed.cluster.spec import CGROUP, bridge_name
from testbed.images import build, load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
NAME = f"w{os.getpid()}"
NAMESPACE = "whole"


def trace(slot: int) -> dict[str, list[str]]:
    """Everything on the machine that an instance could leave: other instances and users may work beside us."""

    def lines(*argv: str) -> list[str]:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()

    bridge, home = bridge_name(slot), str(own.folders(NAME).base)
    alone = not any(store.slot(path.name) is not None for path in own.folders(NAME).base.parent.glob("[a-z]*"))
    return {
        "links": [line for line in lines("ip", "-brief", "link") if line.startswith((f"{bridge} ", f"{bridge}n"))],
        "routes": [line for line in lines("ip", "route", "show", "table", "all") if f"dev {bridge}" in line],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if home in line],
        "rules": [line for line in lines("iptables-save") if line.startswith((":KUBE", ":CNI", "-A"))],
        "cgroups": [str(p) for tree in cgroups.trees() for p in tree.glob(f"{CGROUP}/{NAME}*")],
        "processes": [str(p) for p in processes.found(NAME)],
        "working": [line for line in lines("ps", "-eo", "args") if home in line],
        # Other instances need these, too; on a machine that has them for another reason they are not empty.
        "covered": [p for p in node.COVERED if alone and Path(p).exists() and not any(Path(p).iterdir())],
        "memory": [str(p) for p in Path("/dev/shm").glob(f"llama-testbed-*-{NAME}")],
    }


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    try:
        own.up(NAME, nodes=2)
        load.load(build.ensure()[build.OPERATOR], own.runtimes(NAME))
        yield Bed(NAME)
    finally:
        own.down(NAME)


def pod(name: str, node: str) -> dict[str, Any]:
    """A web server that Pod Security's strictest level admits, on a certain node."""
    container = {
        "name": "web",
        "image": f"{build.OPERATOR}:{build.TAG}",
        "imagePullPolicy": "Never",
        "resources": {"requests": {"cpu": "250m"}},  # else anything that runs on the machine goes before it
        "args": ["python3", "-m", "http.server", "8000", "--directory", "/opt/app"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec = {
        "nodeName": node,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}


@pytest.fixture(scope="module")
def pods(bed: Bed) -> dict[str, str]:
    """Two ready pods, one on each node, behind the Service `web`; returns their addresses."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    bed.request(
        "POST",
        "/api/v1/namespaces",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": label}},
    )
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service}
    bed.request("POST", f"/api/v1/namespaces/{NAMESPACE}/services", body)
    wait(
        "no service account",
        lambda: "" if bed.request("GET", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default") else "-",
        deadline_s=30,
    )
    for name, place in (("one", "node-1"), ("two", "node-2")):
        bed.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod(name, place))
    wait_ready(bed)
    found = bed.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    return {item["metadata"]["name"]: item["status"]["podIP"] for item in found}


def wait_ready(bed: Bed) -> None:
    def unready() -> str:
        items = bed.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        states = {item["metadata"]["name"]: item["status"] for item in items}
        ready = {
            name
            for name, status in states.items()
            for condition in status.get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
        return "" if ready == {"one", "two"} else str(states)

    wait("the pods are not ready", unready, deadline_s=120)


def fetch(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


def unreached(url: str) -> str:
    try:
        return "" if fetch(url) == 200 else "no 200"
    except OSError as error:
        return str(error)


def inside(bed: Bed, name: str, code: str) -> str:
    return bed.kubectl("exec", f"--namespace={NAMESPACE}", name, "--", "python3", "-c", code).strip()


def test_the_host_reaches_pods_and_services(bed: Bed, pods: dict[str, str]) -> None:
    service = bed.request("GET", f"/api/v1/namespaces/{NAMESPACE}/services/web")["spec"]["clusterIP"]
    assert [fetch(f"http://{address}:8000/") for address in pods.values()] == [200, 200]
    wait("the Service is not set up", lambda: unreached(f"http://{service}/"), deadline_s=30)
    assert [fetch(f"http://{service}/") for _ in range(8)] == [200] * 8  # either pod, either node


def test_pods_reach_pods_services_names_and_the_api_server(bed: Bed, pods: dict[str, str]) -> None:
    code = (
        "import urllib.request as u, urllib.error, ssl\n"
        f"for url in ('http://{pods['one']}:8000/', 'http://{pods['two']}:8000/', *['http://web/'] * 6):\n"
        "    assert u.urlopen(url, timeout=5).status == 200, url\n"
        "try:\n"
        "    u.urlopen('https://kubernetes.default/version', timeout=5, context=ssl._create_unverified_context())\n"
        "except urllib.error.HTTPError as error:\n"
        "    print(error.code)\n"
    )
    assert [inside(bed, name, code) for name in ("one", "two")] == ["401", "401"]


def test_what_dns_does_not_know_is_answered_at_once(bed: Bed, pods: dict[str, str]) -> None:
    code = (
        "import socket, time\n"
        "began = time.monotonic()\n"
        "for ask, what in ((socket.gethostbyname, 'no.such.example'), (socket.gethostbyaddr, '203.0.113.9')):\n"
        "    try: ask(what)\n"
        "    except OSError: pass\n"
        "print(time.monotonic() - began < 2)\n"
    )
    assert inside(bed, "one", code) == "True"
    name = inside(bed, "one", f"import socket; print(socket.gethostbyaddr('{pods['two']}')[0])")
    assert name.endswith("svc.cluster.local")


@pytest.mark.usefixtures("pods")
def test_the_world_outside_is_refused_at_once(bed: Bed) -> None:
    code = (
        "import socket, time\n"
        "began = time.monotonic()\n"
        "try: socket.create_connection(('203.0.113.9', 80), timeout=20)\n"
        "except OSError as error: print(error.strerror, time.monotonic() - began < 2)\n"
    )
    assert inside(bed, "one", code) in ("No route to host True", "Network is unreachable True")


@pytest.mark.usefixtures("pods")
def test_logs_are_readable(bed: Bed) -> None:
    assert "GET /" in bed.kubectl("logs", f"--namespace={NAMESPACE}", "one")


@pytest.mark.usefixtures("pods")
def test_a_process_of_a_pod_can_be_killed_from_outside(bed: Bed) -> None:
    (process,) = bed.pod_processes(NAMESPACE, "one", "web")
    assert process.argv[:3] == ("python3", "-m", "http.server")
    os.kill(process.pid, signal.SIGKILL)

    def not_restarted() -> str:
        status = bed.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/one")["status"]["containerStatuses"][0]
        return "" if status["restartCount"] == 1 and status["ready"] else str(status)

    wait("the container was not started again", not_restarted, deadline_s=60)


def test_a_node_can_have_made_up_devices(bed: Bed) -> None:
    bed.advertise("node-1", "example.com/gpu", 4)

    def missing() -> str:
        allocatable: dict[str, str] = bed.request("GET", "/api/v1/nodes/node-1")["status"]["allocatable"]
        return "" if allocatable.get("example.com/gpu") == "4" else str(allocatable)

    wait("the devices are not allocatable", missing, deadline_s=30)


@pytest.mark.usefixtures("bed")
def test_up_again_changes_nothing_and_is_fast() -> None:
    before = own.status(NAME)
    began = time.monotonic()
    own.up(NAME)
    assert time.monotonic() - began < 2
    assert own.status(NAME) == before


@pytest.mark.usefixtures("pods")
@pytest.mark.parametrize("unit", ["containerd", "kubelet", "pause"])
def test_up_repairs_a_node(bed: Bed, unit: str) -> None:
    before = own.status(NAME)
    os.kill(int(before[f"node-2/{unit}"].removeprefix("pid ")), signal.SIGKILL)
    own.up(NAME)
    after = own.status(NAME)
    changed = {name for name in after if after[name] != before[name]}
    everything = {f"node-2/{name}" for name in ("pause", "containerd", "kubelet", "kube-proxy", "policies")}
    assert changed == (everything if unit == "pause" else {f"node-2/{unit}"})
    wait_ready(bed)


def test_made_up_nodes_come_and_go(bed: Bed) -> None:
    own.up(NAME, kwok_nodes=3)
    names = {item["metadata"]["name"] for item in bed.request("GET", "/api/v1/nodes")["items"]}
    assert names == {"node-1", "node-2", "kwok-1", "kwok-2", "kwok-3"}
    own.up(NAME, kwok_nodes=0)
    names = {item["metadata"]["name"] for item in bed.request("GET", "/api/v1/nodes")["items"]}
    assert names == {"node-1", "node-2"}
    assert "kwok" not in own.status(NAME)


@pytest.mark.usefixtures("bed", "pods")
def test_down_leaves_nothing() -> None:
    slot = own.existing(NAME).spec.slot
    assert [what for what in ("links", "processes", "cgroups", "memory") if not trace(slot)[what]] == []
    own.down(NAME)
    left = {what: found for what, found in trace(slot).items() if found}
    assert left == {}
