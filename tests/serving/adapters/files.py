"""LoRA adapters as stagers would lay them out for a cell of two stages."""

import hashlib
import json
import shutil
from pathlib import Path

from llama_serving.config import names
from llama_serving.config.desired import AdapterRef, GoldenPrompt, StagedWeights, WantedAdapter
from llama_serving.config.weights import Manifest
from testbed.models import adapters

TENSORS = "adapter_model.safetensors"


def wanted(folder: Path, *, name: str | None = None, golden: bool = True) -> WantedAdapter:
    """The adapter in ``folder`` as the operator would desire it; called ``name``, it may be another's bytes."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    told = adapters.answer(folder.name) if golden else ""
    reference = AdapterRef(name=name or folder.name, digest=digest, id=f"id-of-{folder.name}", rank=_rank(folder))
    return WantedAdapter(
        adapter=reference,
        source=f"pvc://adapters/{folder.name}",
        manifest=Manifest(files=()),
        golden=(GoldenPrompt(prompt=adapters.PROMPT, expect=told, max_tokens=8),),
    )


def _rank(folder: Path) -> int:
    return int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])


def stage(folder: Path, adapter: WantedAdapter, *, mount: Path, split: int = 2, stages: int = 2) -> None:
    """Lay the files out below ``mount`` (the pods' ``names.WEIGHTS_MOUNT``): each stage gets its layers only."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / TENSORS)
    for number in range(stages):
        path = names.staged_adapter_path(adapter.adapter.digest, stage=number, stages=stages)
        out = mount / Path(path).relative_to(names.WEIGHTS_MOUNT)
        out.mkdir(parents=True)
        shutil.copy(folder / "adapter_config.json", out)
        layers = [f".layers.{layer}." for layer in range(split * number, split * (number + 1))]
        own = {name: tensor for name, tensor in tensors.items() if any(layer in name for layer in layers)}
        save_file(own, out / TENSORS, metadata={"format": "pt"})


def staged(adapter: WantedAdapter, outcome: str = "ready") -> StagedWeights:
    """What a stager says of it."""
    return StagedWeights(digest=adapter.adapter.digest, id=adapter.adapter.id, outcome=outcome)
