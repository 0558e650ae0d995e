"""One tensor-parallel rank of a Llama in plain PyTorch: parameters fused as vLLM does, filled as the cell fills them.

What goes where is decided by the project's own ``plan_reload``; how a tensor of the files is cut is what vLLM's weight
loaders do, written out. Needs torch and safetensors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

from llama_serving.cell.rank.checkpoint import CheckpointFiles
from llama_serving.cell.rank.reload_plan import ShardId, plan_reload

Copy = Callable[[torch.Tensor, torch.Tensor], object]  # target, source
Shapes = dict[str, tuple[int, ...]]

STACKED: Final[dict[str, tuple[str, ShardId]]] = {
    ".q_proj": (".qkv_proj", "q"),
    ".k_proj": (".qkv_proj", "k"),
    ".v_proj": (".qkv_proj", "v"),
    ".gate_proj": (".gate_up_proj", 0),
    ".up_proj": (".gate_up_proj", 1),
}


@dataclass(frozen=True)
class Size:
    """Sizes of a Llama."""

    hidden: int
    inner: int
    heads: int
    vocabulary: int
    kv_heads: int = 8
    head: int = 128


SIZES: Final = {
    "tiny": Size(256, 512, 4, 1024, kv_heads=2, head=64),
    "8b": Size(4096, 14336, 32, 128256),
    "70b": Size(8192, 28672, 64, 128256),
    "405b": Size(16384, 53248, 128, 128256),
}


@dataclass
class TensorRank:
    """Rank ``rank`` of ``tensor``, with the first ``layers`` layers of the model, embedding and head."""

    size: Size
    layers: int
    tensor: int
    rank: int
    device: torch.device
    parameters: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        empty = {name: torch.zeros(shape, dtype=torch.bfloat16, device=self.device) for name, shape in self._own()}
        self.parameters = empty

    @property
    def _query(self) -> int:
        return self.size.heads // self.tensor * self.size.head

    @property
    def _key(self) -> int:
        return max(1, self.size.kv_heads // self.tensor) * self.size.head

    @property
    def _same_key(self) -> int:
        """Ranks that hold the same KV head."""
        return max(1, self.tensor // self.size.kv_heads)

    def _own(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        size, inner = self.size, self.size.inner // self.tensor
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            yield name, (size.vocabulary // self.tensor, size.hidden)
        yield "model.norm.weight", (size.hidden,)
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            yield f"{at}self_attn.qkv_proj.weight", (self._query + 2 * self._key, size.hidden)
            yield f"{at}self_attn.o_proj.weight", (size.hidden, self._query)
            yield f"{at}mlp.gate_up_proj.weight", (2 * inner, size.hidden)
            yield f"{at}mlp.down_proj.weight", (size.hidden, inner)
            yield f"{at}input_layernorm.weight", (size.hidden,)
            yield f"{at}post_attention_layernorm.weight", (size.hidden,)

    def _whole(self) -> Iterator[Shapes]:
        """Return the tensors of the files, a file for each layer."""
        size = self.size
        table = (size.vocabulary, size.hidden)
        yield {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": (size.hidden,)}
        query, key = size.heads * size.head, size.kv_heads * size.head
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            yield {
                f"{at}self_attn.q_proj.weight": (query, size.hidden),
                f"{at}self_attn.k_proj.weight": (key, size.hidden),
                f"{at}self_attn.v_proj.weight": (key, size.hidden),
                f"{at}self_attn.o_proj.weight": (size.hidden, query),
                f"{at}mlp.gate_proj.weight": (size.inner, size.hidden),
                f"{at}mlp.up_proj.weight": (size.inner, size.hidden),
                f"{at}mlp.down_proj.weight": (size.hidden, size.inner),
                f"{at}input_layernorm.weight": (size.hidden,),
                f"{at}post_attention_layernorm.weight": (size.hidden,),
            }

    def write(self, folder: Path, *, seed: int) -> None:
        """Write a checkpoint of random tensors, made on the device."""
        folder.mkdir(parents=True)
        source = torch.Generator(device=self.device).manual_seed(seed)
        for number, shapes in enumerate(self._whole()):
            tensors = {name: self._random(shape, source) for name, shape in shapes.items()}
            save_file(tensors, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})

    def _random(self, shape: tuple[int, ...], source: torch.Generator) -> torch.Tensor:
        values = torch.randn(shape, generator=source, device=self.device) * shape[-1] ** -0.5
        return (values + (1.0 if len(shape) == 1 else 0.0)).to(torch.bfloat16).cpu()

    def reload(self, folder: Path, copy: Copy = torch.Tensor.copy_) -> int:
        """Fill the parameters in place; return the bytes that this rank took."""
        files, moved = CheckpointFiles(folder), 0
        todo = plan_reload(files.names, parameters=self.parameters, stacked=STACKED, is_elsewhere=lambda _: False)
        with torch.no_grad():
            for parameter, pieces in todo.items():
                for piece in pieces:
                    target, source = self._views(parameter, piece.shard, files.tensor(piece.name))
                    copy(target, source)
                    moved += source.nbytes
        return moved

    def _views(self, name: str, shard: ShardId | None, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the part of the parameter, and the part of the file's tensor that goes there."""
        parameter = self.parameters[name]
        if shard in ("q", "k", "v"):
            place = {"q": 0, "k": self._query, "v": self._query + self._key}[str(shard)]
            rows = self._query if shard == "q" else self._key
            share = self.rank if shard == "q" else self.rank // self._same_key
            return parameter.narrow(0, place, rows), tensor.narrow(0, share * rows, rows)
        if shard is not None:
            rows = self.size.inner // self.tensor
            return parameter.narrow(0, int(shard) * rows, rows), tensor.narrow(0, self.rank * rows, rows)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            columns = parameter.shape[1]
            return parameter, tensor.narrow(1, self.rank * columns, columns)
        if parameter.shape != tensor.shape:
            return parameter, tensor.narrow(0, self.rank * parameter.shape[0], parameter.shape[0])
        return parameter, tensor

    def differences(self, folder: Path) -> list[str]:
        """Return the parameters that are not what an independent load gives: ``split`` and ``cat``, on the device."""
        files = CheckpointFiles(folder)
        return [name for name, own in self.parameters.items() if not torch.equal(own, self._expected(name, files))]

    def _expected(self, name: str, files: CheckpointFiles) -> torch.Tensor:
        def share(tensor: str, dim: int, *, repeated: int = 1) -> torch.Tensor:
            whole = files.tensor(tensor)
            parts = max(self.tensor // repeated, 1)
            return whole.chunk(parts, dim)[self.rank // repeated].to(self.device)

        if "qkv_proj" in name:
            same = self._same_key
            parts = [share(name.replace("qkv", "q"), 0)]
            return torch.cat([*parts, *(share(name.replace("qkv", word), 0, repeated=same) for word in "kv")])
        if "gate_up_proj" in name:
            return torch.cat([share(name.replace("gate_up", word), 0) for word in ("gate", "up")])
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            return share(name, 1)
        return files.tensor(name).to(self.device) if "norm" in name else share(name, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute with every parameter of every layer, in the order of a Llama; its heads do not attend."""
        functional, own = torch.nn.functional, self.parameters
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            y = functional.rms_norm(x, (self.size.hidden,), own[f"{at}input_layernorm.weight"])
            qkv = functional.linear(y, own[f"{at}self_attn.qkv_proj.weight"])
            mixed = qkv[:, : self._query] * torch.tanh(qkv[:, self._query :].mean(dim=1, keepdim=True))
            x = x + functional.linear(mixed, own[f"{at}self_attn.o_proj.weight"])
            y = functional.rms_norm(x, (self.size.hidden,), own[f"{at}post_attention_layernorm.weight"])
            gate, up = functional.linear(y, own[f"{at}mlp.gate_up_proj.weight"]).chunk(2, dim=1)
            x = x + functional.linear(functional.silu(gate) * up, own[f"{at}mlp.down_proj.weight"])
        x = functional.rms_norm(x, (self.size.hidden,), own["model.norm.weight"])
        return functional.linear(x, own["lm_head.weight"])
