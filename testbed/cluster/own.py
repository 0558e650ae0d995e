"""The bed's own cluster: what an instance is made of, and up, down and status of it.

`up` may be called at any time: on nothing, on a running bed, after a crash, after a kill of any part.
"""

import os
import shutil
from dataclasses import replace

from testbed.api import Api
from testbed.cache import binaries, packages
from testbed.cache.folder import lock
from testbed.cluster import cgroups, controlplane, dns, files, kwok, network, node, processes, start, store
from testbed.cluster.controlplane import Folders
from testbed.cluster.spec import CGROUP, MAX_NODES, Spec, bridge_name
from testbed.cluster.store import State
from testbed.cluster.units import Unit, main_processes
from testbed.errors import BedError
from testbed.images.runtime import Runtime

_DEFAULT_NODES = 2


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
    return Api(url=spec.api_url, authority=folders(spec.name).pki / "ca.crt", token=state.tokens["admin"])


def runtimes(name: str) -> list[Runtime]:
    """Return the container runtimes of an instance's nodes.

    Raises:
        BedError: there is no such instance.
    """
    place = folders(name)
    return [Runtime(socket=node.socket(place, one)) for one in existing(name).spec.nodes]


def wanted_units(spec: Spec, place: Folders, *, tokens: str) -> tuple[Unit, ...]:
    """Return every process that the instance should have, in the order in which they start."""
    units = controlplane.core_units(spec, place, tokens=tokens)
    if spec.node_count:
        units += (*controlplane.controller_units(spec, place), dns.unit(spec, place))
        units += tuple(unit for one in spec.nodes for unit in node.units(spec, one, place))
    if spec.kwok_nodes:
        units += (kwok.unit(spec, place),)
    return units


def resize(spec: Spec, *, nodes: int | None, kwok_nodes: int | None) -> Spec:
    """Return the spec with these numbers of nodes; None leaves a number as it is, and a new instance gets two.

    Raises:
        BedError: the number is out of range, or the instance has more nodes than asked for.
    """
    if nodes is None:
        nodes = spec.node_count or _DEFAULT_NODES
    if not 0 <= nodes <= MAX_NODES:
        raise BedError(f"{nodes} nodes: use 0 to {MAX_NODES}")
    if nodes < spec.node_count:
        advice = f"`python -m testbed down --name {spec.name}` first"
        raise BedError(f"'{spec.name}' has {spec.node_count} nodes and cannot shrink to {nodes}: {advice}")
    kwok_nodes = spec.kwok_nodes if kwok_nodes is None else kwok_nodes
    if kwok_nodes and not nodes:
        raise BedError("made-up nodes need a scheduler: use `--nodes 1` or more")
    return replace(spec, node_count=nodes, kwok_nodes=kwok_nodes)


def up(name: str, *, nodes: int | None = None, kwok_nodes: int | None = None) -> State:
    """Bring an instance to the wanted numbers of nodes; does only what is missing.

    Args:
        name: of the instance; made if it does not exist.
        nodes: real nodes; None leaves the number as it is, and gives a new instance two.
        kwok_nodes: made-up nodes; None leaves the number as it is.

    Raises:
        BedError: something the user must do, or a part that does not become ready.
    """
    with lock(store.instance_lock(name)):
        state = store.load(name)
        if state is None and nodes == 0:  # needs no network of its own, so nothing to install for it
            packages.ensure(packages.CONTROL_PLANE)
        elif state is None:
            _ensure_nodes_possible()
        state = state or store.create(name)
        spec = resize(state.spec, nodes=nodes, kwok_nodes=kwok_nodes)
        if spec.node_count:
            _ensure_nodes_possible()
        files.link_binaries(folders(name), binaries.ensure(_programs(spec)))
        state = state.model_copy(update={"spec": spec}).with_tokens()
        store.save(state)
        start.Start(state, place=folders(name), api=api(state), units=wanted_units).run()
        return state


def _ensure_nodes_possible() -> None:
    if os.geteuid() != 0:
        raise BedError("nodes need root: use sudo, or `--nodes 0` for a control plane alone")
    packages.ensure(packages.NODES)


def _programs(spec: Spec) -> tuple[str, ...]:
    """Return what must be built."""
    nodes = binaries.NODES if spec.node_count else ()
    return (*binaries.CONTROL_PLANE, *nodes, *(("kwok",) if spec.kwok_nodes else ()))


def down(name: str) -> None:
    """Remove an instance and everything it made; nothing happens when there is none.

    Raises:
        BedError: a process survives SIGKILL.
    """
    with lock(store.instance_lock(name)):
        # Nothing of it is kept, so nothing needs to end gracefully. Who waits for a child comes last, to reap it.
        processes.stop((p for p in processes.found(name) if p.program not in node.PARENTS), grace_s=0.0)
        processes.stop(processes.found(name), grace_s=0.0)
        slot = store.slot(name)
        if slot is not None and shutil.which("ip"):
            network.remove(bridge_name(slot))
        cgroups.remove(f"{CGROUP}/{name}")
        files.remove_covered()
        shutil.rmtree(store.etcd_dir(name), ignore_errors=True)
        if store.instance_dir(name).exists():
            shutil.rmtree(store.instance_dir(name))


def status(name: str) -> dict[str, str]:
    """Return a word for each process that should run.

    Raises:
        BedError: there is no such instance.
    """
    state = existing(name)
    units = wanted_units(state.spec, folders(name), tokens="")
    mains = main_processes(units, processes.found(name))
    return {unit.name: f"pid {mains[unit.name].pid}" if unit.name in mains else "not running" for unit in units}


def holder_pid(name: str, node_name: str) -> int:
    """Return the pid of a node's first process, in whose namespaces the node lives.

    Raises:
        BedError: there is no such instance, or the node does not run.
    """
    spec = existing(name).spec
    return unit_pid(name, next(node.holder(one) for one in spec.nodes if one.name == node_name))


def unit_pid(name: str, unit_name: str) -> int:
    """Return the pid of the first process of a unit, such as ``kube-apiserver``.

    Raises:
        BedError: there is no such instance, or the unit does not run.
    """
    units = [unit for unit in wanted_units(existing(name).spec, folders(name), tokens="") if unit.name == unit_name]
    found = main_processes(units, processes.found(name)).get(unit_name)
    if found is None:
        raise BedError(f"{unit_name} does not run: `python -m testbed up --name {name}`")
    return found.pid


def env(name: str) -> dict[str, str]:
    """Return the variables that point a shell at an instance.

    Raises:
        BedError: there is no such instance.
    """
    place = folders(existing(name).spec.name)
    return {"KUBECONFIG": str(place.kubeconfig), "PATH": f"{place.bin}:{os.environ.get('PATH', os.defpath)}"}
