"""A LlamaWeights and what its loop sees of it, in one readable line each; and the resolver's part of the play."""

import base64
import gzip
from datetime import datetime
from typing import Any, Final

from llama_operator.api import API_VERSION, WEIGHTS_KIND
from llama_serving.config import names
from llama_serving.config.model import MANIFEST_KEY, ModelFacts, WeightsReport
from llama_serving.config.weights import Manifest, ManifestFile

NAME: Final = "smollm2-0123456789"
UID: Final = "uid-weights"

FACTS: Final = ModelFacts(
    architecture="LlamaForCausalLM", layers=30, hidden_size=576, heads=9, kv_heads=3, head_dim=64, vocabulary=49152,
    max_context=8192, dtype="bfloat16", files=4, bytes=269_000_000,
)  # fmt: skip
MANIFEST: Final = Manifest(
    files=(
        ManifestFile(path="config.json", size=704, sha256="a" * 64),
        ManifestFile(path="model.safetensors", size=269_060_552, sha256="b" * 64),
    ),
    tensors={"model.safetensors": {"model.norm.weight": "c" * 64}},
)
ACCEPTED: Final = WeightsReport(
    outcome="accepted", reason="Accepted", message="2 files, 269 MB", facts=FACTS, digest=MANIFEST.digest,
    bytes=MANIFEST.bytes, files=2, license="apache-2.0", revision="0e9e39f",
)  # fmt: skip

SPEC: Final[dict[str, Any]] = {
    "source": "pvc://models/smollm2", "revision": "v1", "license": "apache-2.0", "acceptLicense": True,
}  # fmt: skip
REMOTE: Final = {**SPEC, "source": "s3://models/smollm2/{revision}", "credentialsSecret": "s3"}


def refusal(reason: str, message: str = "no") -> WeightsReport:
    return WeightsReport(outcome="refused", reason=reason, message=message)


def weights_body(spec: dict[str, Any] | None = None, *, name: str = NAME, **meta: Any) -> dict[str, Any]:
    """The object, as a watch shows it."""
    found = {"name": name, "namespace": "team", "uid": UID, "generation": 1, **meta}
    return {"apiVersion": API_VERSION, "kind": WEIGHTS_KIND, "metadata": found, "spec": SPEC if spec is None else spec}


def manifest_body(manifest: Manifest | None = MANIFEST, *, owner: str = UID) -> dict[str, Any]:
    """The ConfigMap of the manifest; empty for None."""
    body = _child("ConfigMap", f"{NAME}-manifest", version="v1", owner=owner)
    if manifest:
        body["binaryData"] = {MANIFEST_KEY: packed(manifest)}
    return body


def packed(manifest: Manifest) -> str:
    """As a resolver stores it."""
    return base64.b64encode(gzip.compress(manifest.model_dump_json().encode(), mtime=0)).decode()


def job_body(name: str, *, number: int = 1, created: datetime, **changes: Any) -> dict[str, Any]:
    """A Job that looks, as the Job controller shows it."""
    body = _child("Job", name, version="batch/v1", owner=UID)
    body["metadata"] |= {
        "uid": f"uid-{name}-{number}", "creationTimestamp": stamp(created),
        "annotations": {"llama-operator.dev/attempt": str(number)},
    }  # fmt: skip
    body["metadata"] |= changes.pop("metadata", {})
    return body | changes


def pod_body(job: dict[str, Any], *, created: datetime, **status: Any) -> dict[str, Any]:
    """The pod of a Job."""
    body = _child("Pod", f"{job['metadata']['name']}-x", version="v1", owner=job["metadata"]["uid"])
    body["metadata"]["creationTimestamp"] = stamp(created)
    return body | {"spec": {"nodeName": "node-1"}, "status": {"phase": "Running", **status}}


def ended(message: str, *, at: datetime, code: int = 0, reason: str = "Completed") -> dict[str, Any]:
    """The status of a pod that has ended with these last words."""
    last = {"exitCode": code, "message": message, "finishedAt": stamp(at), "reason": reason}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"state": {"terminated": last}}]}


def stamp(moment: datetime) -> str:
    """metav1.Time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _child(kind: str, name: str, *, version: str, owner: str) -> dict[str, Any]:
    labels = {names.LABEL_WEIGHTS: NAME, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    meta: dict[str, Any] = {"name": name, "namespace": "team", "labels": labels, "uid": f"uid-{kind}-{name}"}
    meta["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"apiVersion": version, "kind": kind, "metadata": meta}
