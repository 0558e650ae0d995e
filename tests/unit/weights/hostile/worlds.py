"""A folder of bytes behind a source, and what the resolver reports of it."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

from llama_serving.config.model import WeightsReport
from llama_serving.weights.model.inspection import REPORT_LIMIT, encode
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.report import Resolution
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.interface import ListedFile
from llama_serving.weights.source.retry import RetryPolicy

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_attention_heads": 2, "hidden_size": 8,
    "num_hidden_layers": 1, "vocab_size": 4, "max_position_embeddings": 16, "tie_word_embeddings": True,
    "torch_dtype": "float32",
}  # fmt: skip
HEADER: dict[str, Any] = {
    "model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]},
    "model.layers.0.input_layernorm.weight": {"dtype": "F32", "shape": [8], "data_offsets": [128, 160]},
    "model.norm.weight": {"dtype": "F32", "shape": [8], "data_offsets": [160, 192]},
}
DATA = bytes(192)
INDEX: dict[str, Any] = {"weight_map": dict.fromkeys(HEADER, "model.safetensors")}
ADAPTER_CONFIG: dict[str, Any] = {
    "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"], "base_model_name_or_path": "base",
    "rank_pattern": {}, "alpha_pattern": {},
}  # fmt: skip
ADAPTER_HEADER: dict[str, Any] = {
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": {
        "dtype": "F32", "shape": [1, 8], "data_offsets": [0, 32]
    },
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": {
        "dtype": "F32", "shape": [8, 1], "data_offsets": [32, 64]
    },
}  # fmt: skip


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def safetensors(header: bytes, data: bytes = DATA) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def model(**files: bytes) -> dict[str, bytes]:
    """A whole tiny Llama; keywords replace its files, ``__`` in a name stands for a point."""
    return {
        "config.json": dumped(CONFIG),
        "tokenizer.json": b"{}",
        "model.safetensors": safetensors(dumped(HEADER)),
        **{name.replace("__", "."): content for name, content in files.items()},
    }


def adapter(**files: bytes) -> dict[str, bytes]:
    """A whole tiny LoRA adapter, likewise."""
    return {
        "adapter_config.json": dumped(ADAPTER_CONFIG),
        "adapter_model.safetensors": safetensors(dumped(ADAPTER_HEADER), bytes(64)),
        **{name.replace("__", "."): content for name, content in files.items()},
    }


class BytesSource:
    """Files in memory. ``sizes``: what is listed of files that are larger than what lies here, as sparse ones are."""

    ranged = True

    def __init__(self, files: Mapping[str, bytes], sizes: Mapping[str, int] | None = None) -> None:
        self.files = dict(files)
        self.sizes = dict(sizes or {})
        self.read_bytes = 0

    async def resolve(self) -> str:
        return "v1"

    async def list(self) -> tuple[ListedFile, ...]:
        return tuple(ListedFile(name, self.sizes.get(name, len(data))) for name, data in sorted(self.files.items()))

    async def read(self, path: str, *, begin: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        data = self.files[path][begin:end]
        self.read_bytes += len(data)
        if data:
            yield data

    async def close(self) -> None:
        """Nothing is open."""


def resolved(
    files: Mapping[str, bytes], *, adapter: bool = False, sizes: Mapping[str, int] | None = None, license_: str = ""
) -> Resolution:
    """What the resolver makes of a folder. Every exception is a bug."""
    request = ResolveRequest("https://host/m", adapter=adapter, license=license_)
    retry = RetryPolicy(deadline=0, sleep=lambda _: asyncio.sleep(0))
    return asyncio.run(resolve(BytesSource(files, sizes), request, retry=retry, progress=ReadProgress(lambda _: None)))


def report(files: Mapping[str, bytes], **options: Any) -> WeightsReport:
    """The report, checked: it fits, reads back, and is one line of printable text."""
    found = resolved(files, **options).report
    text = encode(found)
    assert len(text) <= REPORT_LIMIT
    again = WeightsReport.model_validate_json(text)
    assert again.message
    assert again.message.isprintable()
    assert found.outcome in ("accepted", "refused")
    return again
