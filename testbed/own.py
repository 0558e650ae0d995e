"""The bed's own cluster: compares what should run with what runs, and does the difference.

`up` may be called at any time: on nothing, on a running bed, after a crash, after a kill of any part.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from testbed import binaries, cgroups, controlplane, dns, files, network, node, packages, pki, processes, progress, store
from testbed.api import Api, wait
from testbed.controlplane import Folders
from testbed.errors import BedError
from testbed.images import runtime
from testbed.spec import Node, Spec
from testbed.store import State
from testbed.units import Unit, changes, main_processes

_READY_S = 180.0
_GRACE_S = 5.0


def folders(name: str) -> Folders:
    """Return where an instance keeps its files."""
    base = store.instance_dir(name)
    return Folders(base=base, etcd=store.etcd_dir(name), bin=base / "bin")


def existing(name: str) -> State:
    """Return an instance's state.

    Raises:
        BedError: there is no such instance.
    """
    state = store.load(name)
    if state is None:
        raise BedError(f"there is no instance '{name}': `python -m testbed up --name {name}` makes it")
    return state


def api(state: State) -> Api:
    """Return the administrator's way to an instance's API server."""
    spec = state.spec
    return Api(url=spec.api_url, authority=folders(spec.name).pki / "ca.crt", token=state.token("admin"))


def wanted_units(spec: Spec, place: Folders, *, tokens: str) -> tuple[Unit, ...]:
    """Return every process that the instance should have, in the order in which they start."""
    core = controlplane.core_units(spec, place, tokens=tokens)
    if not spec.node_count:
        return core
    rest = [unit for one in spec.nodes for unit in node.units(spec, one, place)]
    return (*core, *controlplane.controller_units(spec, place), dns.unit(spec, place), *rest)


def up(name: str, *, nodes: int) -> State:
    """Bring an instance to the wanted number of nodes; does only what is missing.

    Raises:
        BedError: something the user must do, or a part that does not become ready.
    """
    if nodes and os.geteuid() != 0:
        raise BedError("nodes need root: use sudo, or `--nodes 0` for a control plane alone")
    packages.ensure(packages.NODES if nodes else packages.CONTROL_PLANE)
    paths = binaries.ensure(binaries.CONTROL_PLANE + (binaries.NODES if nodes else ()))
    with store.lock(store.instance_lock(name)):
        state = store.load(name) or store.create(name)
        if state.spec.node_count != nodes:
            state = state.model_copy(update={"spec": replace(state.spec, node_count=nodes)})
            store.save(state)
        files.link_binaries(folders(name), paths)
        Start(state).run()
    return state


class Start:
    """One `up`: what is to be started is decided once, then started in order, each part when its ground is ready."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.spec = state.spec
        self.place = folders(self.spec.name)
        self.api = api(state)

    def run(self) -> None:
        """Do it all."""
        pki.ensure(self.place.pki, self.spec)
        tokens = files.write(self.state, self.place)
        units = wanted_units(self.spec, self.place, tokens=tokens)
        todo = changes(units, processes.found(self.spec.name))
        processes.stop(todo.stop, grace_s=_GRACE_S)
        self.starting = {unit.name for unit in todo.start}
        self.units = {unit.name: unit for unit in units}
        if self.spec.node_count:
            network.batch(network.bridge_commands(self.spec, present=network.links()))
        self._start("etcd", "kube-apiserver")
        wait("the API server is not ready", self.api.ready, deadline_s=_READY_S)
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
        with progress.step("waiting for the nodes") if self.starting else progress.silent():
            wait("the nodes are not ready", self._unready_nodes, deadline_s=_READY_S)

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
        self._start(f"{one.name}/kubelet", f"{one.name}/kube-proxy", enter=enter)

    def _plug_in(self, one: Node, pid: int) -> None:
        """Give a new node its cable; the one of a node that just ended goes away a moment after it."""
        wait(
            f"{one.link} of the node before is still there",
            lambda: one.link if one.link in network.links() else "",
            deadline_s=10.0,
        )
        network.batch(network.cable_commands(self.spec, one, pid=pid))

    def _holder(self, one: Node) -> int:
        """Return the pid of a node's first process, once the node is prepared."""
        unit = self.units[node.holder(one)]

        def prepared() -> str:
            process = main_processes([unit], processes.found(self.spec.name)).get(unit.name)
            ready = process and Path(f"/proc/{process.pid}/root/{node.READY_FILE}").exists()
            return "" if ready else f"see {self.place.log(unit.name)}"

        wait(f"{one.name} does not start", prepared, deadline_s=10.0)
        return main_processes([unit], processes.found(self.spec.name))[unit.name].pid

    def _start(self, *names: str, enter: tuple[str, ...] = ()) -> None:
        for name in names:
            if name in self.starting:
                progress.say(f"starting {name}")
                log, env = self.place.log(name), files.environment(self.place)
                processes.start(self.units[name], instance=self.spec.name, log=log, enter=enter, env=env)

    def _unready_nodes(self) -> str:
        """Name the nodes that are not Ready."""
        try:
            found = self.api.request("GET", "/api/v1/nodes")["items"]
        except OSError as error:
            return str(error)
        ready = {
            item["metadata"]["name"]
            for item in found
            for condition in item.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        }
        waiting = [f"{one.name} (see {self.place.log(one.name + '/kubelet')})" for one in self.spec.nodes if one.name not in ready]
        return ", ".join(waiting)


def runtimes(name: str) -> list[runtime.Runtime]:
    """Return the container runtimes of an instance's nodes.

    Raises:
        BedError: there is no such instance.
    """
    place = folders(name)
    return [runtime.Runtime(socket=node.socket(place, one)) for one in existing(name).spec.nodes]


def down(name: str) -> None:
    """Remove an instance and everything it made; nothing happens when there is none."""
    with store.lock(store.instance_lock(name)):
        state = store.load(name)
        # Nothing of it is kept, so nothing needs to end gracefully. Those that wait for a child come last: they reap it.
        processes.stop((p for p in processes.found(name) if p.program not in node.PARENTS), grace_s=0.0)
        processes.stop(processes.found(name), grace_s=0.0)
        if state is not None and shutil.which("ip"):
            network.remove(state.spec)
        cgroups.remove(f"llama-testbed/{name}")
        files.remove_covered()
        shutil.rmtree(store.etcd_dir(name), ignore_errors=True)
        if store.instance_dir(name).exists():
            shutil.rmtree(store.instance_dir(name))
    store.instance_lock(name).unlink(missing_ok=True)


def status(name: str) -> dict[str, str]:
    """Return a word for each unit that should run.

    Raises:
        BedError: there is no such instance.
    """
    state = existing(name)
    units = wanted_units(state.spec, folders(name), tokens="")
    mains = main_processes(units, processes.found(name))
    return {unit.name: f"pid {mains[unit.name].pid}" if unit.name in mains else "not running" for unit in units}


def env(name: str) -> dict[str, str]:
    """Return the variables that point a shell at an instance."""
    place = folders(name)
    return {"KUBECONFIG": str(place.kubeconfig), "PATH": f"{place.bin}:{os.environ.get('PATH', os.defpath)}"}
