"""Tiny quantized checkpoints, one per method, with the tensors and the config that published ones have.

The numbers are random: what is asked of them is that a reload makes of them what a fresh load does. Every linear layer
of the layers is quantized, but for Meta's FP8, which leaves attention and the first and last layer as they are.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

GROUP: Final = 128  # inputs that share a scale
PACKED: Final = 8  # numbers of 4 bits in an int32
FP8: Final = torch.float8_e4m3fn

Tensors = dict[str, torch.Tensor]
Weights = Callable[[torch.Tensor], Tensors]  # matrix [outputs, inputs] -> tensors by the end of their name


@dataclass(frozen=True)
class Method:
    """One way to quantize."""

    config: Mapping[str, Any]  # the quantization_config of config.json
    weights: Weights
    quantized: Callable[[str], bool] = lambda _: True  # of the linear layers


def _random(shape: tuple[int, ...], dtype: torch.dtype = torch.int32) -> torch.Tensor:
    return torch.randint(-(2**31), 2**31 - 1, shape, dtype=dtype)


def _scales(shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return (torch.rand(shape) * 0.01 + 0.001).to(dtype)


def _per_row(matrix: torch.Tensor, dtype: torch.dtype) -> Tensors:
    scale = matrix.abs().amax(dim=1, keepdim=True).float() / 448.0
    return {"weight": (matrix / scale).clamp(-448, 448).to(FP8), "weight_scale": scale.to(dtype)}


def _per_tensor(matrix: torch.Tensor) -> Tensors:
    scale = matrix.abs().max().float() / 448.0
    return {"weight": (matrix / scale).clamp(-448, 448).to(FP8), "weight_scale": scale}


def _static(matrix: torch.Tensor) -> Tensors:
    return {**_per_tensor(matrix), "input_scale": _scales((), torch.float32)}


def _blocks(matrix: torch.Tensor) -> Tensors:
    rows, columns = (-(-size // GROUP) for size in matrix.shape)
    return {"weight": matrix.clamp(-448, 448).to(FP8), "weight_scale_inv": _scales((rows, columns), torch.float32)}


def _packed(matrix: torch.Tensor) -> Tensors:
    outputs, inputs = matrix.shape
    return {
        "weight_packed": _random((outputs, inputs // PACKED)),
        "weight_scale": _scales((outputs, inputs // GROUP)),
        "weight_shape": torch.tensor([outputs, inputs], dtype=torch.int64),
    }


def _awq(matrix: torch.Tensor) -> Tensors:
    outputs, inputs = matrix.shape
    return {
        "qweight": _random((inputs, outputs // PACKED)),
        "qzeros": _random((inputs // GROUP, outputs // PACKED)),
        "scales": _scales((inputs // GROUP, outputs)),
    }


def _gptq(matrix: torch.Tensor) -> Tensors:
    outputs, inputs = matrix.shape
    return {
        "qweight": _random((inputs // PACKED, outputs)),
        "qzeros": _random((inputs // GROUP, outputs // PACKED)),
        "scales": _scales((inputs // GROUP, outputs)),
        "g_idx": torch.arange(inputs, dtype=torch.int32) // GROUP,
    }


def _compressed(form: str, weights: Mapping[str, Any], activations: Mapping[str, Any] | None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
    }


def _number(bits: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False, **more}


_KEPT: Final = [f"model.layers.{n}.self_attn.{p}_proj" for n in range(4) for p in "qkvo"]
_ENDS: Final = [f"model.layers.{n}.mlp.{p}_proj" for n in (0, 3) for p in ("up", "gate", "down")]

METHODS: Final[Mapping[str, Method]] = {
    "compressed-tensors FP8": Method(
        _compressed(
            "float-quantized",
            _number(8, "float", strategy="channel"),
            _number(8, "float", strategy="token") | {"dynamic": True},
        ),
        lambda matrix: _per_row(matrix, torch.bfloat16),
    ),
    "compressed-tensors W4": Method(
        _compressed("pack-quantized", _number(4, "int", strategy="group", group_size=GROUP), None), _packed
    ),
    "fp8 dynamic": Method({"quant_method": "fp8", "activation_scheme": "dynamic"}, _per_tensor),
    "fp8 static": Method({"quant_method": "fp8", "activation_scheme": "static"}, _static),
    "fp8 in blocks": Method(
        {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [GROUP, GROUP]}, _blocks
    ),
    "fbgemm_fp8": Method(
        {
            "quant_method": "fbgemm_fp8",
            "activation_scale_ub": 1200.0,
            "modules_to_not_convert": [*_KEPT, *_ENDS, "lm_head"],
        },
        lambda matrix: _per_row(matrix, torch.float32),
        lambda name: name not in (*_KEPT, *_ENDS),
    ),
    "awq": Method(
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}, _awq
    ),
    "gptq": Method(
        {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True},
        _gptq,
    ),
}  # fmt: skip


def quantize(source: Path, out: Path, *, method: Method, seed: int) -> None:
    """Write the model in ``source`` as ``method`` stores it."""
    shutil.copytree(source, out)
    torch.manual_seed(seed)
    tensors: Tensors = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        layer = name.removesuffix(".weight")
        if layer.endswith("_proj") and method.quantized(layer):
            found = method.weights(tensor)
            tensors |= {f"{layer}.{end}": value.contiguous() for end, value in found.items()}
        else:
            tensors[name] = tensor.to(torch.bfloat16)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(
        json.dumps(config | {"dtype": "bfloat16", "quantization_config": dict(method.config)})
    )
