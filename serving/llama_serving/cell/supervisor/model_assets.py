"""Model assets: what an engine reads besides tensors, once, when it starts: config, tokenizer, chat template.

Weights with other assets cannot be swapped in place: the engine would go on with the old tokenizer, or with the old
positions of its rotary embedding. It restarts with them instead.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_KINDS: Final = frozenset({".json", ".jinja", ".model"})
_OTHERS: Final = frozenset({"model.safetensors.index.json", "staged.json"})
_CONFIG: Final = "config.json"
_NOTES: Final = frozenset({"_name_or_path", "transformers_version", "torch_dtype"})  # of config.json, not used


def read_assets(path: str) -> dict[str, str]:
    """Return a hash by file, and by field of config.json; empty where the folder cannot be read."""
    try:
        found = [file for file in Path(path).iterdir() if file.suffix in _KINDS and file.name not in _OTHERS]
        assets = {file.name: _digest(file.read_bytes()) for file in found if file.name != _CONFIG}
        return assets | _fields(json.loads((Path(path) / _CONFIG).read_bytes()))
    except (OSError, ValueError, AttributeError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fields(config: Mapping[str, Any]) -> dict[str, str]:
    values = {name: value for name, value in config.items() if name not in _NOTES}
    values["dtype"] = config.get("dtype") or config.get("torch_dtype")
    return {f"{name} in {_CONFIG}": json.dumps(value, sort_keys=True) for name, value in values.items()}
