"""Whole tiny Llamas, as small as the engine itself loads, in the forms that real derivatives have."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.weights.model.folders import with_header, write_json

INDEX = "model.safetensors.index.json"
LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, VOCABULARY = 2, 64, 128, 4, 2, 128
HEAD_DIM = HIDDEN // HEADS
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1, "I32": 4}

Shape = list[int]
Tensors = dict[str, tuple[str, Shape]]  # name -> dtype, shape


def llama(*, dtype: str = "BF16", layers: int = LAYERS, kv_heads: int = KV_HEADS, head: bool = True) -> Tensors:
    """The tensors of a Llama that is not quantized."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": [VOCABULARY, HIDDEN]}
    for number in range(layers):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in _layer(kv_heads).items()}
    shapes["model.norm.weight"] = [HIDDEN]
    if head:
        shapes["lm_head.weight"] = [VOCABULARY, HIDDEN]
    return {name: (dtype, shape) for name, shape in shapes.items()}


def _layer(kv_heads: int) -> dict[str, Shape]:
    return {
        "self_attn.q_proj": [HIDDEN, HIDDEN],
        "self_attn.k_proj": [kv_heads * HEAD_DIM, HIDDEN],
        "self_attn.v_proj": [kv_heads * HEAD_DIM, HIDDEN],
        "self_attn.o_proj": [HIDDEN, HIDDEN],
        "mlp.gate_proj": [INNER, HIDDEN],
        "mlp.up_proj": [INNER, HIDDEN],
        "mlp.down_proj": [HIDDEN, INNER],
        "input_layernorm": [HIDDEN],
        "post_attention_layernorm": [HIDDEN],
    }


def in_each_layer(names: Mapping[str, Shape], *, dtype: str = "BF16") -> Tensors:
    """The same tensors in every layer."""
    return {f"model.layers.{n}.{name}": (dtype, shape) for n in range(LAYERS) for name, shape in names.items()}


def scales() -> Tensors:
    """One scale for every row of every projection, as FP8 weights have them."""
    return in_each_layer(
        {f"{name}.weight_scale": [shape[0], 1] for name, shape in _layer(KV_HEADS).items() if len(shape) == 2},
        dtype="F32",
    )


def lora(prefix: str = "base_model.model.") -> Tensors:
    """The tensors of a LoRA adapter of rank 4."""
    names = in_each_layer(
        {"self_attn.q_proj.lora_A.weight": [4, HIDDEN], "self_attn.q_proj.lora_B.weight": [HIDDEN, 4]}, dtype="F32"
    )
    return {prefix + name: tensor for name, tensor in names.items()}


def safetensors(tensors: Tensors) -> bytes:
    """A file with these tensors, all of them zero."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype]
        for length in shape:
            size *= length
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return with_header(entries, end)


@dataclass(frozen=True)
class Derivative:
    """A made-up folder: a plain Llama with some things changed."""

    name: str
    says: str = ""  # part of the refusal; empty: it is served
    config: Mapping[str, Any] = field(default_factory=dict)  # "-" takes a key out
    tensors: Tensors = field(default_factory=llama)
    shards: int = 1
    index: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)  # file -> JSON value, or its bytes
    without: tuple[str, ...] = ()
    context: int = 4096
    quantization: str = ""
    #: Why the project refuses what the engine would take; empty: both say the same.
    policy: str = ""

    @property
    def served(self) -> bool:
        """Whether it is to be accepted."""
        return not self.says


def build(case: Derivative, folder: Path) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {key: value for key, value in {**CONFIG, **case.config}.items() if value != "-"})
    write_json(folder / "tokenizer.json", {})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 1000})
    files = dict(_split(case.tensors, case.shards))
    for name, tensors in files.items():
        (folder / name).write_bytes(safetensors(tensors))
    if case.index:
        write_json(folder / INDEX, {"metadata": {}, "weight_map": {t: f for f, ts in files.items() for t in ts}})
    for name, content in case.beside.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    for name in case.without:
        (folder / name).unlink()
    return folder


def _split(tensors: Tensors, shards: int) -> Iterable[tuple[str, Tensors]]:
    names = list(tensors)
    if shards == 1:
        yield "model.safetensors", tensors
        return
    for number in range(shards):
        part = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        yield f"model-{number + 1:05}-of-{shards:05}.safetensors", {name: tensors[name] for name in part}
