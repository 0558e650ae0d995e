"""Hostile tenants of the bed: clients in a namespace of their own, models and ConfigMaps that are bombs, and what the
processes of others take meanwhile.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.cluster import folder_claim, restricted_namespace
from examples.kubectl import Kubectl
from llama_serving.config.model import MANIFEST_KEY
from tests.e2e.support.bed import NAMESPACE, Bed, Object
from tests.e2e.support.faults import machine
from tests.e2e.support.pods import python_pod
from tests.unit.weights.hostile.worlds import CONFIG, dumped, model, safetensors

HOSTILE: Final = "llama-storm"
ATTACKER: Final = "attacker"
SLEEP: Final = "import time; time.sleep(7200)"
_MIB: Final = 1 << 20
_ROOT: Final = Path(__file__).parents[3]
#: Folders of models by name: whole but for the one file that is a bomb.
FOLDERS: Final[Mapping[str, Mapping[str, bytes]]] = {
    "layers": model(config__json=dumped({**CONFIG, "num_hidden_layers": 10**9})),
    "deep": model(model__safetensors__index__json=b'{"weight_map":' + b"[" * 900_000),
    "aliases": model(
        README__md=b"---\na0: &a0 [x]\n"
        + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (at, at, at - 1, at - 1) for at in range(1, 40))
        + b"---\n"
    ),
    "numbers": model(model__safetensors=safetensors(b'{"a":{"dtype":"F32","shape":[' + b"9" * 50_000 + b"]}}")),
}


def write_folders(folder: Path) -> None:
    """Write the models, readable for everybody."""
    for name, files in FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def hostile_objects(folder: Path) -> tuple[Object, ...]:
    """A namespace with weights of each folder, and with ConfigMaps that unpack to 700 MiB where manifests are."""
    weights = tuple(_weights(name) for name in FOLDERS)
    bombs = tuple(
        {
            "apiVersion": "v1", "kind": "ConfigMap", "binaryData": {MANIFEST_KEY: _bomb()},
            "metadata": {
                "name": f"{name}-manifest", "namespace": HOSTILE,
                "labels": {"app.kubernetes.io/managed-by": "llama-operator", "llama-operator.dev/weights": name},
            },
        }
        for name in FOLDERS
    )  # fmt: skip
    return (*folder_claim(HOSTILE, "models", folder), *weights, *bombs)


def _weights(name: str) -> Object:
    spec = {"source": "pvc://models/{revision}", "revision": name, "license": "none", "acceptLicense": True}
    metadata = {"name": name, "namespace": HOSTILE}
    return {"apiVersion": "llama-operator.dev/v1alpha1", "kind": "LlamaWeights", "metadata": metadata, "spec": spec}


def _bomb() -> str:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(b" " * _MIB) for _ in range(700)]
    return base64.b64encode(b"".join([*packed, packer.flush()])).decode()


@contextlib.contextmanager
def hostile_namespace(bed: Bed, folder: Path) -> Iterator[Kubectl]:
    """A second namespace that the operator serves, with a pod of hostile clients and with bombs."""
    write_folders(folder)
    bed.kubectl.apply(restricted_namespace(HOSTILE))
    watched(bed, NAMESPACE, HOSTILE)
    kubectl = Kubectl(bed.environment, HOSTILE)
    try:
        kubectl.apply(python_pod(HOSTILE, ATTACKER, "-c", SLEEP), *hostile_objects(folder))
        kubectl("wait", f"pod/{ATTACKER}", "--for=condition=Ready", "--timeout=120s")
        yield kubectl
    finally:
        kubectl("delete", "llamaweights", "--all", "--wait=true", "--timeout=120s")
        bed.kubectl("delete", "namespace", HOSTILE, "--wait=true", "--timeout=180s")
        bed.kubectl("delete", "persistentvolume", f"{HOSTILE}-models", "--ignore-not-found")
        watched(bed)


def watched(bed: Bed, *namespaces: str) -> None:
    """Let the operator serve these namespaces, or its own one only."""
    chart = str(_ROOT / "charts" / "llama-operator")
    value = json.dumps(namespaces)
    bed.helm(
        "upgrade", "llama-operator", chart, "--reuse-values", "--set-json", f"watch.namespaces={value}", "--wait",
        "--timeout=180s",
    )  # fmt: skip


@contextlib.contextmanager
def attacked(address: str, *, scale: float, key: str, log: Path) -> Iterator[None]:
    """Hostile clients of every kind in the network of the attacker's pod, until the end of the block."""
    pid = machine().pod_processes(HOSTILE, ATTACKER)[0].pid
    command = ["nsenter", f"--target={pid}", "--net", "--", sys.executable, "-m", "benchmarks.storm.attacks"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, address, "1", str(scale)], cwd=_ROOT, env={**os.environ, "STORM_KEY": key},
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
            assert process.poll() is None, f"the hostile clients ended: {log.read_text()[-2000:]}"
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Memory:
    """Resident MiB of the first process of each pod of the operator and of gateways, by the pod's name."""

    resident: Mapping[str, float]

    @classmethod
    def of(cls, pods: list[Object]) -> "Memory":
        """Read it now."""
        return cls({pod["metadata"]["name"]: _resident(pod) for pod in pods})

    def growth(self, since: "Memory") -> dict[str, float]:
        """MiB that each has grown by."""
        return {name: now - since.resident[name] for name, now in self.resident.items()}


def _resident(pod: Object) -> float:
    processes = machine().pod_processes(NAMESPACE, pod["metadata"]["name"])
    pages = max(int(Path(f"/proc/{one.pid}/statm").read_text().split()[1]) for one in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
