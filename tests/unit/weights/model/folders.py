"""Model folders in a line: a whole tiny Llama, made bad in one place."""

import json
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 16,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}

TENSORS = {
    "model.embed_tokens.weight": [16, 8],
    "model.layers.0.input_layernorm.weight": [8],
    "model.layers.1.input_layernorm.weight": [8],
    "model.norm.weight": [8],
    "lm_head.weight": [16, 8],
}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def header(tensors: dict[str, list[int]], dtype: str = "BF16") -> tuple[dict[str, Any], int]:
    """A header that describes tensors of 16-bit numbers one after the other, and how many bytes they have."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        begin, size = end, 2
        for length in shape:
            size *= length
        end = begin + size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return entries, end


def safetensors(tensors: dict[str, list[int]], dtype: str = "BF16") -> bytes:
    entries, size = header(tensors, dtype)
    return with_header(entries, size)


def with_header(entries: dict[str, Any], size: int) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def split() -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    items = list(TENSORS.items())
    return dict(items[:2]), dict(items[2:])


def make_model(folder: Path, **config: Any) -> Path:
    """A tiny Llama in two files with an index; ``config`` changes config.json, None takes a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = split()
    (folder / FIRST).write_bytes(safetensors(first))
    (folder / SECOND).write_bytes(safetensors(second))
    index = dict.fromkeys(first, FIRST) | dict.fromkeys(second, SECOND)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    write_json(folder / "tokenizer.json", {})
    write_json(folder / "tokenizer_config.json", {})
    merged = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    write_json(folder / "config.json", merged)
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def edit_json(path: Path, **changes: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **changes})
