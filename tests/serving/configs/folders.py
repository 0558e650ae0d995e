"""Folders with the config.json of Llama 3.1, as published and in the ways that it is quantized; no weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_COMMON: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
SIZES: Final[Mapping[str, Mapping[str, int]]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32},
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_hidden_layers": 80},
    "405b": {"hidden_size": 16384, "intermediate_size": 53248, "num_attention_heads": 128, "num_hidden_layers": 126},
}
#: Bytes of all tensors, by size and method: the shapes of the model, summed up. Those of BF16 are what the index of the
#: published weights names.
BYTES: Final[Mapping[tuple[str, str], int]] = {
    ("8b", ""): 16_060_522_496,
    ("70b", ""): 141_107_412_992,
    ("405b", ""): 811_706_777_600,
    ("405b", "compressed-tensors"): 410_099_965_952,
    ("405b", "fbgemm_fp8"): 487_229_259_776,
}


def _per_group(bits: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False, **more}


def _compressed(form: str, weights: dict[str, Any], activations: dict[str, Any] | None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
    }


def _meta(layers: int) -> dict[str, Any]:
    kept = [f"model.layers.{n}.self_attn.{p}_proj" for n in range(layers) for p in "qkvo"]
    ends = [f"model.layers.{n}.mlp.{p}_proj" for n in (0, layers - 1) for p in ("up", "gate", "down")]
    modules = [*kept, *ends, "lm_head"]
    return {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": modules}


METHODS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ct-fp8": _compressed(
        "float-quantized",
        _per_group(8, "float", strategy="channel"),
        {**_per_group(8, "float", strategy="token"), "dynamic": True},
    ),
    "ct-w4": _compressed("pack-quantized", _per_group(4, "int", strategy="group", group_size=128), None),
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "fbgemm": _meta(126),
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True},
}


def write(root: Path, size: str, method: str = "") -> Path:
    """Make the folder; ``method`` is a key of METHODS, or empty for whole weights."""
    folder = root / (f"{size}-{method}" if method else size)
    folder.mkdir(exist_ok=True)
    config = {**_COMMON, **SIZES[size]} | ({"quantization_config": METHODS[method]} if method else {})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tensor_bytes(size: str, method: str = "") -> int:
    """Sum up the shapes: of whole weights, of compressed-tensors FP8 (a scale per row), or as Meta has it."""
    hidden, inner, heads, layers = SIZES[size].values()
    heads, kv_heads, head = SIZES[size]["num_attention_heads"], 8, 128
    attention = 2 * hidden * heads * head + 2 * hidden * kv_heads * head
    mlp, norms, tables = 3 * hidden * inner, (2 * layers + 1) * hidden, 2 * 128256 * hidden
    rest = 2 * (norms + tables)  # BF16
    if not method:
        return 2 * layers * (attention + mlp) + rest
    if method == "compressed-tensors":
        rows = heads * head + 2 * kv_heads * head + hidden + 2 * inner + hidden
        return layers * (attention + mlp + 2 * rows) + rest
    scales = 4 * (2 * inner + hidden)  # float32, a scale per row
    return 2 * layers * attention + 2 * 2 * mlp + (layers - 2) * (mlp + scales) + rest
