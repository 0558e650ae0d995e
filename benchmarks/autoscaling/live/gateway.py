"""The real gateway of a deployment whose pods nobody runs: with its file and the rights of its account."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llama_operator.manifests.gateway import CONFIG_KEY
from llama_operator.plan.naming import gateway_name
from llama_serving.config import names
from tests.contract.support.operators import until
from tests.contract.support.stand import Stand

ADDRESS = "127.77.0.1"  # of its pod


@contextmanager
def gateway_of(stand: Stand, deployment: str, folder: Path) -> Iterator[None]:
    """Run it on ADDRESS; what it logged is shown at the end."""
    name = gateway_name(deployment)
    until(lambda: name in {one["metadata"]["name"] for one in stand.items("configmaps")}, "the gateway has a file")
    files = folder / "gateway"
    files.mkdir()
    for key, text in stand.get("configmap", name)["data"].items():
        (files / key).write_text(text)
    environment = os.environ | {"KUBECONFIG": str(stand.kubeconfig_of(name, folder / "gateway.kubeconfig"))}
    command = [sys.executable, "-m", "llama_serving.gateway", "--config", str(files / CONFIG_KEY), "--host", ADDRESS]
    log = folder / "gateway.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        _make_pod(stand, deployment, name)
        yield
    finally:
        process.kill()
        process.wait()
        sys.stderr.write(log.read_text()[-2000:])


def _make_pod(stand: Stand, deployment: str, name: str) -> None:
    labels = {
        names.LABEL_DEPLOYMENT: deployment, names.LABEL_COMPONENT: names.COMPONENT_GATEWAY,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }  # fmt: skip
    inside = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "gateway", "image": "gateway:1", "securityContext": inside}],
    }
    about = {"name": f"{name}-0", "labels": labels}
    stand.create({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    conditions = [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}]
    told = {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}], "conditions": conditions}
    stand.set_status("pod", f"{name}-0", told)
