"""What an engine reads of a model's folder besides tensors, once, when it starts: config, tokenizer, chat template.

Weights whose kit is another cannot be exchanged in place: the engine would go on with the old tokenizer, or with the
old positions of its rotary embedding. It is started anew with them instead.
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


def read_kit(path: str) -> dict[str, str]:
    """By file, and by field of config.json, a hash of its content; empty where the folder cannot be read."""
    try:
        found = [file for file in Path(path).iterdir() if file.suffix in _KINDS and file.name not in _OTHERS]
        kit = {file.name: _digest(file.read_bytes()) for file in found if file.name != _CONFIG}
        return kit | _fields(json.loads((Path(path) / _CONFIG).read_bytes()))
    except (OSError, ValueError, AttributeError):
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fields(config: Mapping[str, Any]) -> dict[str, str]:
    values = {name: value for name, value in config.items() if name not in _NOTES}
    values["dtype"] = config.get("dtype") or config.get("torch_dtype")
    return {f"{name} in {_CONFIG}": json.dumps(value, sort_keys=True) for name, value in values.items()}


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What differs, for a sentence; empty where nothing does, or where one of them is not known."""
    if not before or not after:
        return ""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
