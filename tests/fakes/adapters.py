"""LoRA adapters as PEFT writes them, in a line: a whole small one, made bad in one place."""

import json
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llama_operator.api import ADAPTERS_KIND, API_VERSION, LlamaAdapterStatus
from llama_operator.observe.adapters import adapter_view
from llama_operator.observe.deployment import AdapterView
from llama_operator.plan.naming import manifest_name, resolved_prefix
from llama_serving.config import names
from llama_serving.config.desired import AdapterRef, WantedAdapter
from llama_serving.config.model import MANIFEST_KEY
from llama_serving.config.weights import Manifest, ManifestFile
from tests.fakes.models import packed
from tests.fakes.staging import sha

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: Inputs and outputs of each module of the small base: hidden 8, 4 heads and 2 KV heads of width 2, MLP 12.
WIDTHS = {
    "self_attn.q_proj": (8, 8), "self_attn.k_proj": (8, 4), "self_attn.v_proj": (8, 4), "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (8, 12), "mlp.up_proj": (8, 12), "mlp.down_proj": (12, 8),
}  # fmt: skip
PEFT: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none",
    "base_model_name_or_path": "meta-llama/Llama-3.1-8B-Instruct", "task_type": "CAUSAL_LM", "use_dora": False,
    "use_rslora": False, "modules_to_save": None, "init_lora_weights": True, "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip

Shapes = dict[str, list[int]]


def shapes_of(*, layers: int = 2, rank: int = 4, modules: tuple[str, ...] = tuple(WIDTHS)) -> Shapes:
    """Names and shapes of all matrices, in the order in which PEFT writes them."""
    found: Shapes = {}
    for layer in range(layers):
        for module in modules:
            inputs, outputs = WIDTHS[module]
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            found[f"{prefix}.lora_A.weight"] = [rank, inputs]
            found[f"{prefix}.lora_B.weight"] = [outputs, rank]
    return found


@dataclass(frozen=True)
class Adapter:
    """Files of an adapter, and the bytes of each matrix."""

    config: dict[str, Any]
    shapes: Shapes
    dtype: str = "BF16"
    seed: int = 1
    beside: dict[str, bytes] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, bytes]:
        chance = random.Random(self.seed)
        found = {}
        for name, shape in self.shapes.items():
            size = 4 if self.dtype == "F32" else 2
            for length in shape:
                size *= length
            found[name] = chance.randbytes(size)
        return found

    @property
    def files(self) -> dict[str, bytes]:
        entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, data in self.tensors.items():
            entries[name] = {"dtype": self.dtype, "shape": self.shapes[name], "data_offsets": [end, end + len(data)]}
            end += len(data)
        text = json.dumps(entries).encode()
        weights = struct.pack("<Q", len(text)) + text + b"".join(self.tensors.values())
        return {CONFIG: json.dumps(self.config).encode(), WEIGHTS: weights, **self.beside}

    def manifest(self) -> Manifest:
        """As the resolver makes it."""
        files = self.files
        served = tuple(
            ManifestFile(path=path, size=len(files[path]), sha256=sha(files[path])) for path in (CONFIG, WEIGHTS)
        )
        start = 8 + struct.unpack("<Q", files[WEIGHTS][:8])[0]
        return Manifest(
            files=served,
            tensors={WEIGHTS: {name: sha(data) for name, data in self.tensors.items()}},
            headers={WEIGHTS: sha(files[WEIGHTS][:start])},
        )

    def wanted(self, name: str = "sql", *, layers: int = 2, source: str = "mem://adapter") -> WantedAdapter:
        """What a desired state says of it."""
        manifest = self.manifest()
        adapter = AdapterRef(name=name, digest=manifest.digest, id=manifest.digest[7:19], rank=self.config["r"])
        return WantedAdapter(adapter=adapter, source=source, revision="r1", manifest=manifest, layers=layers)

    def write(self, folder: Path) -> Path:
        """As files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def adapter(
    *, layers: int = 2, rank: int = 4, modules: tuple[str, ...] = tuple(WIDTHS), seed: int = 1, **config: Any
) -> Adapter:
    """A whole one; keywords change adapter_config.json."""
    shapes = shapes_of(layers=layers, rank=rank, modules=modules)
    return Adapter({**PEFT, "r": rank, **config}, shapes, seed=seed)


def read_adapter(folder: Path) -> dict[str, bytes]:
    """Every matrix in the file of a folder, by its header."""
    data = (folder / WEIGHTS).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8:start])
    entries.pop("__metadata__")
    return {
        name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        for name, entry in entries.items()
    }


def adapter_objects(
    name: str,
    *,
    namespace: str = "team",
    rank: int = 16,
    width: int = 576,
    labels: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
    refused: str = "",
    word: str = "AdapterRefused",
    **facts: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A LlamaAdapter of this name, resolved, and the ConfigMap with its manifest, as the API server has them."""
    digest = sha(name.encode())
    manifest = Manifest(files=(ManifestFile(path=WEIGHTS, size=1000, sha256=digest),))
    found = {
        "rank": rank, "alpha": 32.0, "layers": 30, "dtype": "bfloat16", "tensors": 60, "bytes": 1000,
        "target_modules": ({"name": "q_proj", "inputs": width, "outputs": 576},), **facts,
    }  # fmt: skip
    look = {"key": "k", "number": 1, "at": "2026-01-01T00:00:00Z", "refused": True} if refused else None
    status = LlamaAdapterStatus.model_validate(
        {"ready": not refused, "reason": word if refused else "Accepted", "message": refused}
        | ({"lastResolve": look} if refused else {"digest": manifest.digest, "facts": found})
    )
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "labels": labels or {}}
    asked = {"source": f"pvc://models/{name}", "revision": "v1", "license": "apache-2.0", "acceptLicense": True}
    body = {
        "apiVersion": API_VERSION, "kind": ADAPTERS_KIND, "metadata": meta, "spec": asked | (spec or {}),
        "status": status.to_api(),
    }  # fmt: skip
    stored = {
        "apiVersion": "v1", "kind": "ConfigMap", "binaryData": {MANIFEST_KEY: packed(manifest)},
        "metadata": {
            "name": manifest_name(resolved_prefix(ADAPTERS_KIND, name)), "namespace": namespace,
            "labels": {names.LABEL_ADAPTER: name}, "ownerReferences": [{"uid": meta["uid"]}],
        },
    }  # fmt: skip
    return body, stored


def view(name: str, **fields: Any) -> AdapterView:
    """What a deployment sees of it."""
    return adapter_view(*adapter_objects(name, **fields))
