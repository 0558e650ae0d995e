"""One `up`: what to stop and start is decided once, then done in order, each part when its ground is ready."""

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from testbed import progress
from testbed.api import Api, wait
from testbed.cluster import cgroups, dns, files, kwok, network, node, pki, processes
from testbed.cluster.controlplane import Folders
from testbed.cluster.spec import Node, Spec
from testbed.cluster.store import State
from testbed.cluster.units import Unit, changes, main_processes
from testbed.errors import BedError
from testbed.images import runtime

_READY_S = 180.0
_GRACE_S = 5.0
# A process appears under its own name only when it has entered its namespaces, which takes long on a busy machine.
_ABSENT_S = 15.0
_LATE_S = 5.0  # after which one that was never seen is taken for ended
_AGAIN = 5


class Start:
    """Brings the processes, the network and the objects of an instance to what its state says."""

    def __init__(self, state: State, *, place: Folders, api: Api, units: Callable[..., tuple[Unit, ...]]) -> None:
        self.state = state
        self.spec: Spec = state.spec
        self.place = place
        self.api = api
        pki.ensure(place.pki, state.spec)
        wanted = units(state.spec, place, tokens=files.write(state, place))
        self.todo = changes(wanted, processes.found(state.spec.name))
        self.units = {unit.name: unit for unit in wanted}
        self.starting = {unit.name for unit in self.todo.start}
        self.seen: set[str] = set()  # to run, by this `up`
        self.again: Counter[str] = Counter()  # starts of what ended meanwhile
        self.complete = 0.0  # when all processes were seen last

    def run(self) -> None:
        """Do it all.

        Raises:
            BedError: a part does not become ready; the message names its log.
        """
        processes.stop(self.todo.stop, grace_s=_GRACE_S)
        if self.spec.node_count:
            network.batch(network.bridge_commands(self.spec, present=network.links()))
        self._start("etcd", "kube-apiserver")
        self.complete = time.monotonic()
        wait("the API server is not ready", self._api_not_ready, deadline_s=_READY_S)
        if self.spec.node_count:
            self._cluster()

    def _cluster(self) -> None:
        self._start("kube-controller-manager", "kube-scheduler")
        if "coredns" in self.starting or "etcd" in self.starting:
            for path, manifest in dns.manifests(self.spec).items():
                self.api.apply(path, manifest)
        self._start("coredns")
        for one in self.spec.nodes:
            self._node(one)
        network.batch(network.route_commands(self.spec))
        self._start("kwok")
        self._made_up_nodes()
        self.complete = time.monotonic()
        with progress.step("waiting for the nodes") if self.starting else progress.silent():
            wait("these nodes are not ready", self._unready, deadline_s=_READY_S)

    def _node(self, one: Node) -> None:
        cgroups.create(one.cgroup)
        self._start(node.holder(one))
        pid = self._holder(one)
        enter = node.enter(pid)
        if node.holder(one) in self.starting:
            self._plug_in(one, pid)
        network.batch(network.node_commands(self.spec, one), enter=enter)
        self._start(f"{one.name}/containerd", enter=enter)
        containers = runtime.Runtime(socket=node.socket(self.place, one))
        wait(f"containerd of {one.name} does not answer", containers.ready, deadline_s=_READY_S)
        if f"{one.name}/containerd" in self.starting:
            containers.load(runtime.pause_archive(node.PAUSE_IMAGE, (self.place.bin / "pause").read_bytes()))
        self._start(f"{one.name}/kubelet", f"{one.name}/kube-proxy", node.policies(one), enter=enter)

    def _plug_in(self, one: Node, pid: int) -> None:
        """Give a new node its cable; the one of a node that just ended goes away a moment after it."""

        def remains() -> str:
            return one.link if one.link in network.links() else ""

        wait("the cable of the node before is still there", remains, deadline_s=20.0)
        network.batch(network.cable_commands(self.spec, one, pid=pid))

    def _holder(self, one: Node) -> int:
        """Return the pid of a node's first process, once it has prepared the node."""
        unit = self.units[node.holder(one)]

        def pid() -> int | None:
            process = main_processes([unit], processes.found(self.spec.name)).get(unit.name)
            ready = process and Path(f"/proc/{process.pid}/root/{node.READY_FILE}").exists()
            return process.pid if process and ready else None

        log = self.place.log(unit.name)
        wait(f"{one.name} does not start", lambda: "" if pid() else f"see {log}", deadline_s=20.0)
        return pid() or 0

    def _start(self, *names: str, enter: tuple[str, ...] = ()) -> None:
        """Start those of the named units that are to be started."""
        for name in names:
            if name in self.starting:
                progress.say(f"starting {name}")
                log, env = self.place.log(name), files.environment(self.place)
                processes.start(self.units[name], instance=self.spec.name, log=log, enter=enter, env=env)

    def _made_up_nodes(self) -> None:
        """Create and delete kwok's nodes until their number is right."""
        present = [item["metadata"]["name"] for item in self.api.request("GET", "/api/v1/nodes")["items"]]
        for name in kwok.names(self.spec.kwok_nodes):
            if name not in present:
                self.api.request("POST", "/api/v1/nodes", kwok.manifest(name))
        for name in kwok.surplus(present, count=self.spec.kwok_nodes):
            self.api.request("DELETE", f"/api/v1/nodes/{name}")

    def _api_not_ready(self) -> str:
        self._start_again("etcd", "kube-apiserver")
        why = self._absent("etcd", "kube-apiserver") or self._etcd_not_ready() or self.api.ready()
        return f"{why} (see {self.place.log('kube-apiserver')})" if why else ""

    def _start_again(self, *names: str) -> None:
        """Start what has ended since it was seen to run, a few times each.

        A process that was killed a moment ago may hold its port until its last thread has left the kernel, which
        nothing in /proc tells: its successor then ends at once. And an API server may end when its etcd was killed.
        """
        running = main_processes(self.units.values(), processes.found(self.spec.name))
        late = time.monotonic() - self.complete > _LATE_S
        for name in names:
            if name in running:
                self.seen.add(name)
            elif (late or name in self.seen or name not in self.starting) and self.again[name] < _AGAIN:
                self.again[name] += 1
                self.complete = time.monotonic()
                self.seen.discard(name)
                self.starting.add(name)
                self._start(name)

    def _etcd_not_ready(self) -> str:
        """Ask etcd itself: the API server's word on it may be some seconds old."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.spec.ports.etcd}/health", timeout=5) as answer:
                return "" if answer.status == 200 else f"etcd is not healthy: HTTP {answer.status}"
        except OSError as error:
            return f"etcd does not answer: {error}"

    def _absent(self, *names: str) -> str:
        """Say which of these processes does not run; empty when all do.

        Raises:
            BedError: one does not run for so long that it must have ended, so that waiting is of no use.
        """
        running = main_processes(self.units.values(), processes.found(self.spec.name))
        absent = [name for name in names if name not in running]
        now = time.monotonic()
        if not absent:
            self.complete = now
            return ""
        if now - self.complete > _ABSENT_S:
            raise BedError(f"{absent[0]} ended soon after its start: see {self.place.log(absent[0])}")
        return f"{absent[0]} does not run yet"

    def _unready(self) -> str:
        """Say what does not run yet, or name the nodes that are not Ready or whose Services are not set up."""
        if absent := self._absent(*self.units):
            return absent
        try:
            found = self.api.request("GET", "/api/v1/nodes")["items"]
        except urllib.error.URLError as error:
            return str(error)
        ready = {item["metadata"]["name"] for item in found if is_ready(item)}
        ready -= {one.name for one in self.spec.nodes if not _has_services(one)}
        wanted = [*(one.name for one in self.spec.nodes), *kwok.names(self.spec.kwok_nodes)]
        return ", ".join(
            f"{name} (logs in {self.place.log(name).with_suffix('')})" for name in wanted if name not in ready
        )


def is_ready(item: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    """Tell whether a node says that it is ready."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _has_services(one: Node) -> bool:
    """Tell whether a node's kube-proxy has set up the Services."""
    try:
        with urllib.request.urlopen(f"http://{one.address}:{node.PROXY_HEALTH_PORT}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
