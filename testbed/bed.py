"""What end-to-end tests do to a bed of ours: run kubectl, lose nodes, find and end the processes of a pod."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from testbed import audit
from testbed.cache import binaries
from testbed.cluster import cgroups, own
from testbed.cluster.node import enter, gpu_folder
from testbed.cluster.spec import Node
from testbed.errors import BedError


@dataclass(frozen=True)
class PodProcess:
    """A process of a pod, as the host sees it."""

    pid: int
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Bed:
    """A running instance of the bed's own cluster."""

    name: str = "default"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return own.folders(self.name).kubeconfig

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object per line, written before each answer."""
        return own.folders(self.name).audit_log

    def audit(self, since: datetime) -> Iterator[audit.Event]:
        """Audit events of requests that came from a moment on."""
        return audit.events(self.audit_log, since)

    @property
    def host_address(self) -> str:
        """This machine's address on the bridge: pods reach what listens there."""
        return own.existing(self.name).spec.host_address

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The real nodes."""
        return own.existing(self.name).spec.nodes

    @contextmanager
    def dra_driver(self, node: str, *, devices: int, log: Path) -> Iterator[None]:
        """Run Kubernetes' example driver of dynamic resource allocation on a node, with so many devices of paper."""
        place = own.folders(self.name)
        kubelet = place.node(node) / "kubelet"
        argv = [
            *enter(own.holder_pid(self.name, node)),
            str(binaries.ensure([binaries.DRA_DRIVER])[binaries.DRA_DRIVER]),
            f"--node-name={node}", f"--num-devices={devices}", f"--kubeconfig={self.kubeconfig}",
            f"--kubelet-plugins-directory-path={kubelet}/plugins",
            f"--kubelet-registrar-directory-path={kubelet}/plugins_registry",
            f"--cdi-root={kubelet}/cdi",
        ]  # fmt: skip
        with log.open("ab") as output:
            driver = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(driver.pid, signal.SIGTERM)  # the driver is a child of what enters the node
            driver.wait(timeout=30)

    def gpu_folder(self, node: str) -> Path:
        """Return the folder of a node that pods of the runtime ``nvidia`` see; testbed/cluster/gpu_runtime.py."""
        found = next(one for one in self.nodes if one.name == node)
        return gpu_folder(own.folders(self.name), found)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60.0) -> str:
        """Run kubectl as the administrator and return its output.

        Raises:
            BedError: it failed; the message holds what it said.
            subprocess.TimeoutExpired: it took longer than `timeout_s` seconds.
        """
        argv = [str(own.folders(self.name).bin / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s)
        if done.returncode:
            raise BedError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Any:
        """Make a request to the API server as the administrator; None where the object does not exist.

        Raises:
            OSError: the server cannot be reached or refused (urllib.error.HTTPError).
        """
        return own.api(own.existing(self.name)).request(method, path, body, content_type=content_type)

    def pod_processes(self, namespace: str, pod: str, container: str = "") -> list[PodProcess]:
        """Return the processes of a pod's containers (of one of them, if named) that run now.

        Raises:
            BedError: there is no such pod, or it has no running container of that name.
        """
        found = self.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")
        if found is None:
            raise BedError(f"there is no pod {namespace}/{pod}")
        node = next(one for one in self.nodes if one.name == found["spec"].get("nodeName"))
        statuses = found.get("status", {}).get("containerStatuses", [])
        wanted = [s for s in statuses if s.get("containerID") and container in ("", s["name"])]
        if not wanted:
            raise BedError(f"pod {namespace}/{pod} has no running container {container}".rstrip())
        groups = [status["containerID"].rpartition("/")[2] for status in wanted]
        return [_process(pid) for group in groups for pid in cgroups.processes(node.cgroup, named=group)]

    @contextmanager
    def silent_api_server(self) -> Iterator[None]:
        """Stop the API server until the end of the block: connections stay open, and nothing is answered."""
        pid = own.unit_pid(self.name, "kube-apiserver")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def advertise(self, node: str, resource: str, count: int) -> None:
        """Give a node an extended resource, as a device plugin would (kubelet keeps it until it starts again)."""
        amount = {resource: str(count)}
        body = {"status": {"capacity": amount, "allocatable": amount}}
        path = f"/api/v1/nodes/{node}/status"
        self.request("PATCH", path, body, content_type="application/merge-patch+json")


def _process(pid: int) -> PodProcess:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        argv = []  # ended while we looked
    return PodProcess(pid=pid, argv=tuple(os.fsdecode(part) for part in argv))
