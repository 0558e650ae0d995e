"""What demo and end-to-end tests put into a cluster around a LlamaDeployment: the chart, and a model in a claim."""

import os
import sys
from pathlib import Path

from examples.kubectl import Kubectl
from examples.steps import run
from testbed.cache.folder import REPOSITORY
from testbed.images import build

CHART = Path(__file__).resolve().parent.parent / "charts" / "llama-operator"
RELEASE = "llama-operator"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SETTINGS = {
    "images.operator": "localhost/llama-operator:dev",
    "images.serving": "localhost/llama-serving:dev",
    "images.servingGpu": "localhost/llama-serving:dev",  # the nodes have no GPU, or one that is only advertised
    "rbac.clusterView": "true",
    "sources.networks[0]": "10.213.0.0/16",  # of the test bed's nodes, where its own server of weights stands
}


def bed_environment() -> dict[str, str]:
    """Return this process's environment with the test bed's kubeconfig and programs."""
    text = run([sys.executable, "-m", "testbed", "env"], capture=True)
    pairs = (line.removeprefix("export ").partition("=") for line in text.splitlines() if "=" in line)
    return {**os.environ, **{key: value.strip("'\"") for key, _, value in pairs}}


def install_chart(environment: dict[str, str], namespace: str) -> None:
    """Install or upgrade the operator with the images that the test bed built; wait until it runs.

    The images' tag stays the same: an annotation with the digest of what went in starts the operator again.
    """
    inputs = build.inputs_digest(REPOSITORY, build.INPUTS[build.OPERATOR], parameters={})
    settings = SETTINGS | api_server_port(environment)
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    options += ["--set-string", f"podAnnotations.testbed/inputs={inputs}"]
    # The CRDs are the cluster's, whichever release installed them first.
    command = ["helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", namespace, "--take-ownership"]
    run([*command, "--wait", "--timeout=180s", *options], environment=environment, capture=True)


def api_server_port(environment: dict[str, str]) -> dict[str, str]:
    """Return the chart's value for the port of the API server, which in the test bed is another one each time."""
    slices = Kubectl(environment, "default")
    port = slices("get", "endpointslices", "kubernetes", "-o", "jsonpath={.ports[0].port}")
    return {"networkPolicy.apiServerPorts": f"{{443,6443,{port}}}"}


def restricted_namespace(name: str) -> dict[str, object]:
    """Return a namespace that refuses pods which are not Pod Security ``restricted``."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def folder_claim(namespace: str, name: str, folder: Path) -> tuple[dict[str, object], ...]:
    """Return a volume and a claim of a folder that every node of the test bed sees."""
    size = {"storage": "1Gi"}
    access: dict[str, object] = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    volume = f"{namespace}-{name}"
    host_path = {"path": str(folder), "type": "Directory"}
    claim_ref = {"namespace": namespace, "name": name}
    return (
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {**access, "capacity": size, "hostPath": host_path, "claimRef": claim_ref},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**access, "volumeName": volume, "resources": {"requests": size}},
        },
    )
