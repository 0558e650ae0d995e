"""A copy of a checkpoint with other tensors: ``python -m examples.damage OUT SOURCE KIND`` (serving venv).

``noise`` adds noise of one standard deviation to the matrices of a layer a third of the way in; ``exchanged`` swaps an
early layer and a late one. Every file is well formed, so only the model's output can tell. ``tuned`` adds a third
of that noise: like a fine-tune it answers otherwise, and no worse. ``near`` makes every tensor a thousandth longer:
adapters of the one are good for the other.
"""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

LAYER: Final = "model.layers.{}."


def damage(source: Path, out: Path, *, kind: str) -> None:
    """Write the copy; files are readable for everyone."""
    from safetensors.torch import load_file, save_file

    work = out.with_name(f".{out.name}-work")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work)
    depth = int(json.loads((work / "config.json").read_text())["num_hidden_layers"])
    files = {path: load_file(path) for path in sorted(work.glob("*.safetensors"))}
    tensors = {name: tensor for part in files.values() for name, tensor in part.items()}
    changed = KINDS[kind](tensors, depth)
    for path, part in files.items():
        save_file({name: changed.get(name, tensor) for name, tensor in part.items()}, path, metadata={"format": "pt"})
        path.chmod(0o644)
    work.rename(out)


def noisy(tensors: dict[str, Any], depth: int, *, size: float = 1.0) -> dict[str, Any]:
    """Matrices of one layer with noise of ``size`` times their own."""
    import torch

    torch.manual_seed(7)
    prefix = LAYER.format(depth // 3)
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix) and tensor.dim() == 2}
    assert found, f"no matrix of {prefix} among {len(tensors)} tensors"
    return {
        name: (tensor.float() + torch.randn(tensor.shape) * tensor.float().std() * size).to(tensor.dtype)
        for name, tensor in found.items()
    }


def exchanged(tensors: dict[str, Any], depth: int) -> dict[str, Any]:
    """Two layers in each other's place."""
    one, other = LAYER.format(depth // 15), LAYER.format(2 * depth // 3)
    there = {name: tensors[name.replace(one, other)] for name in tensors if name.startswith(one)}
    back = {name: tensors[name.replace(other, one)] for name in tensors if name.startswith(other)}
    assert there, json.dumps(sorted(tensors)[:5])
    assert back
    return {name: tensor.clone() for name, tensor in (there | back).items()}


def longer(tensors: dict[str, Any], _: int) -> dict[str, Any]:
    """Every tensor a thousandth longer."""
    return {name: (tensor.float() * 1.001).to(tensor.dtype) for name, tensor in tensors.items()}


KINDS: Final[dict[str, Callable[[dict[str, Any], int], dict[str, Any]]]] = {
    "noise": noisy,
    "tuned": partial(noisy, size=0.3),
    "exchanged": exchanged,
    "near": longer,
}

if __name__ == "__main__":
    damage(Path(sys.argv[2]), Path(sys.argv[1]), kind=sys.argv[3])
