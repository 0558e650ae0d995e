"""The few numbers of a model's ``config.json`` that the start of a cell depends on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DTYPE_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a Llama model."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str


def read_model_config(folder: Path) -> ModelConfig:
    """Read ``config.json`` of a model folder.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or lacks a number that every Llama config has.
    """
    raw: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        heads = int(raw["num_attention_heads"])
        return ModelConfig(
            layers=int(raw["num_hidden_layers"]),
            kv_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or int(raw["hidden_size"]) // heads),
            dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "bfloat16"),
        )
    except KeyError as error:
        raise ValueError(f"{folder / 'config.json'} has no {error.args[0]}") from error


def dtype_bytes(asked: str, *, model: ModelConfig) -> int:
    """Bytes of one number of the KV cache: of the asked dtype, of the model's where ``auto`` is asked."""
    return _DTYPE_BYTES.get(model.dtype if asked == "auto" else asked, 4)
