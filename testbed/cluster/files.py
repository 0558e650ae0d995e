"""Writes an instance's files; what they hold is decided elsewhere."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testbed.cluster import controlplane, dns, gpu_runtime, node
from testbed.cluster.controlplane import Folders
from testbed.cluster.store import State, write_if_changed


def environment(place: Folders) -> dict[str, str]:
    """Return the environment of the bed's processes: nothing of the caller's but where programs are."""
    path = f"{place.bin}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return {"PATH": path, "HOME": str(place.base)}


def link_binaries(place: Folders, paths: dict[str, Path]) -> None:
    """Put the programs into the instance's own folder, for its processes and for the user's search path."""
    place.bin.mkdir(parents=True, exist_ok=True)
    for name, target in paths.items():
        link = place.bin / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def write(state: State, place: Folders) -> str:
    """Write all configuration files; returns the text of the token file."""
    spec = state.spec
    tokens = controlplane.token_file(state.tokens)
    write_if_changed(place.base / "tokens.csv", tokens)
    write_if_changed(place.base / "audit-policy.json", controlplane.audit_policy())
    authority = base64.b64encode((place.pki / "ca.crt").read_bytes()).decode()
    for user, token in state.tokens.items():
        path = place.kubeconfig if user == "admin" else place.base / f"{user}.kubeconfig"
        write_if_changed(path, controlplane.kubeconfig(spec, authority=authority, token=token))
    write_if_changed(place.base / "Corefile", dns.corefile(spec, place))
    for one in spec.nodes:
        home = place.node(one.name)
        write_if_changed(home / "containerd.toml", node.containerd_config(place, one))
        gpu_runtime.make_folder(node.gpu_folder(place, one))
        specification = gpu_runtime.specification(_default_specification(), node.gpu_folder(place, one))
        write_if_changed(node.gpu_specification(place, one), specification)
        write_if_changed(home / "kubelet.json", node.kubelet_config(spec, one, place))
        write_if_changed(home / "cni" / "10-pods.conflist", node.cni_config(one))
    return tokens


def _default_specification() -> dict[str, Any]:
    """Return the OCI specification with which containerd begins a container."""
    done = subprocess.run(["ctr", "oci", "spec"], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def remove_covered() -> None:
    """Remove the empty folders that nodes needed as places to cover; one with content is somebody's."""
    for folder in map(Path, node.COVERED):
        try:
            folder.rmdir()
        except OSError:
            continue
