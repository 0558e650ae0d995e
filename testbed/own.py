"""The bed's own cluster: compares what should run with what runs, and does the difference.

`up` may be called at any time: on nothing, on a running bed, after a crash, after a kill of any part.
"""

import base64
import os
import shutil
from dataclasses import replace
from pathlib import Path

from testbed import binaries, controlplane, pki, processes, progress, store
from testbed.api import Api, wait
from testbed.controlplane import Folders
from testbed.errors import BedError
from testbed.spec import Spec
from testbed.store import State
from testbed.units import Unit, changes, main_processes

_READY_S = 120.0


def folders(name: str) -> Folders:
    """Return where an instance keeps its files."""
    base = store.instance_dir(name)
    return Folders(base=base, etcd=store.etcd_dir(name), bin=base / "bin")


def api(state: State) -> Api:
    """Return the administrator's way to an instance's API server."""
    spec = state.spec
    return Api(url=spec.api_url, authority=folders(spec.name).pki / "ca.crt", token=state.token("admin"))


def up(name: str, *, nodes: int) -> State:
    """Bring an instance to the wanted number of nodes; does only what is missing.

    Raises:
        BedError: something the user must do, or a part that does not become ready.
    """
    with store.lock(store.instance_lock(name)):
        state = store.load(name) or store.create(name)
        wanted = replace(state.spec, node_count=nodes)
        if wanted != state.spec:
            state = state.model_copy(update={"spec": wanted})
            store.save(state)
        place = folders(name)
        _link_binaries(place, binaries.ensure(binaries.CONTROL_PLANE))
        pki.ensure(place.pki, state.spec)
        tokens = _write_files(state, place)
        run(state.spec, controlplane.core_units(state.spec, place, tokens=tokens))
        wait("the API server is not ready", api(state).ready, deadline_s=_READY_S)
        return state


def run(spec: Spec, wanted: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """Stop and start processes until exactly the wanted units run; returns what was started."""
    place = folders(spec.name)
    todo = changes(wanted, processes.found(spec.name))
    processes.stop(todo.stop, grace_s=10.0)
    for unit in todo.start:
        progress.say(f"starting {unit.name}")
        processes.start(unit, instance=spec.name, log=place.log(unit.name), enter=(), env=environment(place))
    return todo.start


def environment(place: Folders) -> dict[str, str]:
    """Return the environment of the bed's processes: nothing of the caller's but where programs are."""
    return {"PATH": f"{place.bin}:{os.environ.get('PATH', os.defpath)}", "HOME": str(place.base)}


def _link_binaries(place: Folders, paths: dict[str, Path]) -> None:
    place.bin.mkdir(parents=True, exist_ok=True)
    for name, target in paths.items():
        link = place.bin / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _write_files(state: State, place: Folders) -> str:
    """Write the control plane's files; returns the text of the token file."""
    spec = state.spec
    node_tokens = {node.name: state.token(node.name) for node in spec.nodes}
    tokens = controlplane.token_file(state.tokens, node_tokens)
    store.write_if_changed(place.base / "tokens.csv", tokens)
    store.write_if_changed(place.base / "audit-policy.json", controlplane.audit_policy())
    authority = base64.b64encode((place.pki / "ca.crt").read_bytes()).decode()
    for user in (*store.USERS, *node_tokens):
        path = place.kubeconfig if user == "admin" else place.base / f"{user}.kubeconfig"
        text = controlplane.kubeconfig(spec, authority=authority, token=state.token(user))
        store.write_if_changed(path, text)
    return tokens


def down(name: str) -> None:
    """Remove an instance and everything it made."""
    with store.lock(store.instance_lock(name)):
        processes.stop(processes.found(name), grace_s=5.0)
        shutil.rmtree(store.etcd_dir(name), ignore_errors=True)
        if store.instance_dir(name).exists():
            shutil.rmtree(store.instance_dir(name))


def status(name: str) -> dict[str, str]:
    """Return a word for each unit that should run.

    Raises:
        BedError: there is no such instance.
    """
    state = store.load(name)
    if state is None:
        raise BedError(f"there is no instance '{name}': `python -m testbed up --name {name}` makes it")
    place = folders(name)
    units = controlplane.core_units(state.spec, place, tokens="")
    mains = main_processes(units, processes.found(name))
    return {unit.name: f"pid {mains[unit.name].pid}" if unit.name in mains else "not running" for unit in units}


def env(name: str) -> dict[str, str]:
    """Return the variables that point a shell at an instance."""
    place = folders(name)
    return {"KUBECONFIG": str(place.kubeconfig), "PATH": f"{place.bin}:{os.environ.get('PATH', os.defpath)}"}
