"""A folder with a Llama of random tensors: real names and shapes' proportions, as many bytes as asked for."""

import json
import os
import struct
from pathlib import Path

INDEX = "model.safetensors.index.json"
_PIECE = 16 << 20


def make(folder: Path, *, size: int, tied: bool, layers: int = 16, shards: int = 4) -> None:
    """About ``size`` bytes of BF16, cut into shards of about the same size wherever a tensor ends."""
    folder.mkdir(parents=True)
    hidden, vocabulary = _sizes(size, tied=tied, layers=layers)
    tensors = _shapes(layers=layers, hidden=hidden, vocabulary=vocabulary, tied=tied)
    limit = sum(_bytes(shape) for shape in tensors.values()) / shards
    files: list[dict[str, list[int]]] = [{}]
    for name, shape in tensors.items():
        if len(files) < shards and sum(map(_bytes, files[-1].values())) + _bytes(shape) / 2 > limit:
            files.append({})
        files[-1][name] = shape
    names = {f"model-{number + 1:05}-of-{len(files):05}.safetensors": some for number, some in enumerate(files)}
    for name, some in names.items():
        _write(folder / name, some)
    weight_map = {tensor: file for file, some in names.items() for tensor in some}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 256,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
    }
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": " " * (2 << 20)}}))


def _sizes(size: int, *, tied: bool, layers: int) -> tuple[int, int]:
    """Hidden size and vocabulary, the latter ten times as large, so that there are about ``size`` bytes."""
    hidden = 256
    while True:
        more = hidden + 256
        shapes = _shapes(layers=layers, hidden=more, vocabulary=10 * more, tied=tied)
        if sum(_bytes(shape) for shape in shapes.values()) > size:
            return hidden, 10 * hidden
        hidden = more


def _shapes(*, layers: int, hidden: int, vocabulary: int, tied: bool) -> dict[str, list[int]]:
    tensors = {"model.embed_tokens.weight": [vocabulary, hidden]}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {
            f"{prefix}input_layernorm.weight": [hidden],
            f"{prefix}mlp.down_proj.weight": [hidden, 3 * hidden],
            f"{prefix}mlp.gate_proj.weight": [3 * hidden, hidden],
            f"{prefix}mlp.up_proj.weight": [3 * hidden, hidden],
            f"{prefix}post_attention_layernorm.weight": [hidden],
            f"{prefix}self_attn.k_proj.weight": [hidden // 4, hidden],
            f"{prefix}self_attn.o_proj.weight": [hidden, hidden],
            f"{prefix}self_attn.q_proj.weight": [hidden, hidden],
            f"{prefix}self_attn.v_proj.weight": [hidden // 4, hidden],
        }
    tensors["model.norm.weight"] = [hidden]
    return tensors if tied else tensors | {"lm_head.weight": [vocabulary, hidden]}


def _bytes(shape: list[int]) -> int:
    total = 2
    for length in shape:
        total *= length
    return total


def _write(path: Path, tensors: dict[str, list[int]]) -> None:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + _bytes(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while end:
            piece = os.urandom(min(_PIECE, end))
            file.write(piece)
            end -= len(piece)
