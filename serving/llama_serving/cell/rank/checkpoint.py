"""The tensors of a model's folder, mapped: a tensor's bytes are read when they are copied, and never twice."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open

_INDEX: Final = "model.safetensors.index.json"


class CheckpointFiles:
    """The safetensors files of one folder; those that its index names, where it has one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self._file_of = self._places()
        self._requested: dict[str, int] = {}  # bytes of each tensor that was requested

    def _places(self) -> dict[str, str]:
        index = self._folder / _INDEX
        if index.exists():
            return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        files = sorted(path.name for path in self._folder.glob("*.safetensors"))
        return {name: file for file in files for name in self._file(file).keys()}  # noqa: SIM118  # no mapping

    @property
    def names(self) -> frozenset[str]:
        """Names of all tensors."""
        return frozenset(self._file_of)

    def tensor(self, name: str) -> torch.Tensor:
        """Return the tensor, in the pages of its file."""
        tensor: torch.Tensor = self._file(self._file_of[name]).get_tensor(name)
        self._requested[name] = tensor.nbytes
        return tensor

    @property
    def bytes(self) -> int:
        """Bytes of the tensors that were requested."""
        return sum(self._requested.values())

    def _file(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = safe_open(self._folder / name, framework="pt")
        return self._open[name]
