"""Reloads of quantized models against fresh loads, bit for bit: ``python -m tests.serving.quantized.reload FOLDER``.

Per method: load one checkpoint, reload another and then the first again, and each time compare every parameter, buffer
and other number that a layer keeps with a model that vLLM loads from the same files. The matrix kernels that exist for
GPUs alone are stood in for by one that leaves the weights as the method prepared them; what reloads them is vLLM's own
code and ours. Prints one line of JSON: by method, what differs. Run by ``test_quantized_reload.py``.
"""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from testbed.models.tiny import make
from tests.serving.quantized.models import METHODS, quantize


class StandIn:
    """In place of a matrix kernel: it takes the weights as they are."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def process_weights_after_loading(self, layer: object) -> None:
        """Leave them as they are."""

    def input_quant_key(self) -> None:
        """Ask for no quantized input."""


def to_fp8(tensor: torch.Tensor, scale: torch.Tensor, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
    """In place of the kernel that quantizes: round to FP8 by one scale."""
    return (tensor.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn), scale


def stand_in_for_kernels() -> None:
    """Let the methods that have kernels for GPUs alone prepare their weights here."""
    from vllm import _custom_ops
    from vllm.model_executor.layers.quantization import auto_gptq, fbgemm_fp8, fp8
    from vllm.model_executor.layers.quantization.compressed_tensors import compressed_tensors as ct
    from vllm.model_executor.layers.quantization.compressed_tensors.schemes import compressed_tensors_w8a8_fp8 as ct_fp8
    from vllm.platforms import current_platform

    type(current_platform).verify_quantization = classmethod(lambda _, __: None)
    _custom_ops.scaled_fp8_quant = to_fp8
    for module in (fbgemm_fp8, fp8, ct_fp8):
        module.init_fp8_linear_kernel = StandIn
    ct.CompressedTensorsConfig._check_scheme_supported = lambda *_, **__: True
    auto_gptq.verify_marlin_supported = lambda *_, **__: None
    stock = fbgemm_fp8.FBGEMMFp8Config.__init__

    def without_marlin(self: Any, *arguments: Any, **options: Any) -> None:
        stock(self, *arguments, **options)
        self.use_marlin = False  # as on a GPU that computes in FP8

    fbgemm_fp8.FBGEMMFp8Config.__init__ = without_marlin


def engine_config(folder: Path, **options: Any) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    arguments = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        dtype="bfloat16",
        enforce_eager=True,
        allow_deprecated_quantization=True,
        **options,
    )
    return arguments.create_engine_config()


def load(config: Any, folder: Path) -> Any:
    from vllm.model_executor.model_loader import get_model

    config.model_config.model = str(folder)
    config.compilation_config.static_forward_context.clear()
    return get_model(vllm_config=config)


#: Layers that two checkpoints have different numbers in: both ends and four that are quantized. vLLM leaves nothing of
#: the others to see on CPUs for which it packs their weights.
FEWEST = 6
#: What stock notes of a reload itself, on the model.
NOTES = ("_do_torchao_reload", "_original_do_torchao_reload")


def state(model: Any) -> dict[str, str]:
    """Every tensor and number that a module keeps, by name."""
    found: dict[str, str] = {}
    for prefix, module in model.named_modules():
        for name, value in {**module._parameters, **module._buffers, **vars(module)}.items():
            if isinstance(value, torch.Tensor):
                raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                found[f"{prefix}.{name}"] = f"{list(value.shape)} {value.dtype} {hashlib.sha256(raw).hexdigest()}"
            elif isinstance(value, (bool, int, float)) and name not in NOTES:
                found[f"{prefix}.{name}"] = repr(value)
    return found


def worker_of(model: Any, config: Any) -> Any:
    """A worker as the reload sees it; ``reload_weights`` is what vLLM's model runner does."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload.inplace import reload_weights

    def stock(*, weights_path: str) -> None:
        with set_current_vllm_config(config):
            reload_weights(config, model, None, weights_path, True)

    runner = SimpleNamespace(get_model=lambda: model)
    return SimpleNamespace(model_runner=runner, vllm_config=config, reload_weights=stock)


def fill_freed_memory() -> None:
    """Leave numbers in the allocator's free blocks, as a process that serves does: an empty tensor then holds them."""
    junk = [torch.full((size,), 3.25e8) for size in (1, 2, 64, 256) for _ in range(5000)]
    del junk


def compare(config: Any, first: Path, second: Path) -> list[str]:
    """What differs from a fresh load after a reload of the second, and after one of the first again."""
    from llama_serving.cell.rank.reload import reload_weights

    model = load(config, first)
    worker, differences = worker_of(model, config), []
    before, fresh = state(model), {first: state(model), second: state(load(config, second))}
    changed = {name.rpartition(".")[0] for name, value in fresh[second].items() if before[name] != value}
    if len(changed) < FEWEST:
        return [f"the two checkpoints are the same but for {sorted(changed)}"]
    for folder in (second, first, second):
        fill_freed_memory()
        assert reload_weights(worker, str(folder)) > 0
        now = state(model)
        names = sorted(now.keys() | fresh[folder].keys())
        differences += [f"{folder.name}: {name}" for name in names if now.get(name) != fresh[folder].get(name)]
    return differences


def refusals(config: Any, first: Path, second: Path) -> list[str]:
    """What a refused reload says, and what it changed all the same."""
    from llama_serving.cell.rank.reload import reload_weights
    from llama_serving.cell.rank.reload_plan import IncompleteError

    model = load(config, first)
    before = state(model)
    try:
        reload_weights(worker_of(model, config), str(second))
    except IncompleteError as error:
        return [str(error), *(name for name, value in state(model).items() if before[name] != value)]
    return ["taken"]


def main(folder: Path) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel

    stand_in_for_kernels()
    for seed, name in enumerate("ab"):
        make(folder / name, seed=seed)
    found: dict[str, list[str]] = {}
    for number, (name, method) in enumerate(METHODS.items()):
        first, second = folder / f"{number}-a", folder / f"{number}-b"
        for seed, out in enumerate((first, second)):
            quantize(folder / "ab"[seed], out, method=method, seed=seed)
        config = engine_config(first)
        with set_current_vllm_config(config):
            if number == 0:
                store = tempfile.mktemp(dir=folder)
                init_distributed_environment(1, 0, f"file://{store}", 0, "gloo")
                initialize_model_parallel(1, 1)
            found[name] = compare(config, first, second)
            print(name, found[name][:3], file=sys.stderr, flush=True)
    config = engine_config(folder / "a", quantization="fp8")
    with set_current_vllm_config(config):
        found["online"] = refusals(config, folder / "a", folder / "b")
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    main(Path(sys.argv[1]))
