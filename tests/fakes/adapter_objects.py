"""LlamaAdapters that are resolved, with their manifests: ``adapter_bodies("style", 2)``."""

from typing import Any

from llama_operator.api import ADAPTERS_KIND, API_VERSION
from llama_serving.config import names
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import Manifest, ManifestFile
from tests.fakes.weights import packed

FACTS: dict[str, Any] = {
    "rank": 8, "alpha": 8, "targetModules": [], "layers": 1, "dtype": "bfloat16", "tensors": 1, "bytes": 1,
}  # fmt: skip


def adapter_manifest(name: str, version: int = 1) -> Manifest:
    """Its one file differs by version."""
    text = f"{name}{version}".encode().hex()
    return Manifest(files=(ManifestFile(path="adapter_model.safetensors", size=1, sha256=text.zfill(64)[-64:]),))


def adapter_bodies(name: str, version: int = 1) -> list[dict[str, Any]]:
    """The object ``{name}-{version}``, as its resolver left it, and the ConfigMap of its manifest."""
    manifest, called = adapter_manifest(name, version), f"{name}-{version}"
    meta = {"name": called, "namespace": "team", "uid": f"uid-{called}", "generation": 1}
    spec = {"source": f"pvc://models/{name}", "revision": f"r{version}", "license": "apache-2.0", "acceptLicense": True}
    status = {"ready": True, "digest": manifest.digest, "reason": "Accepted", "message": "fine", "facts": FACTS}
    owner = {"uid": meta["uid"], "controller": True}
    labels = {names.LABEL_WEIGHTS: called, names.LABEL_MANAGED_BY: names.MANAGED_BY}
    stored = {"name": f"{called}-manifest", "namespace": "team", "labels": labels, "ownerReferences": [owner]}
    return [
        {"apiVersion": API_VERSION, "kind": ADAPTERS_KIND, "metadata": meta, "spec": spec, "status": status},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": stored, "binaryData": {MANIFEST_KEY: packed(manifest)}},
    ]
