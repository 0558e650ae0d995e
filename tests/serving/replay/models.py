"""Model folders for tests of replays: the tiny model, with the special tokens that a parser wants."""

from collections.abc import Mapping
from pathlib import Path

THINKING = {"<|pad|>": "<think>", "<|end_of_text|>": "</think>"}  # for deepseek_r1
CALLING = {"<|pad|>": "<|python_tag|>"}  # for llama3_json


def make_model(folder: Path, renamed: Mapping[str, str]) -> Path:
    """Make a tiny model in ``folder``; nothing in these tests says the tokens that are renamed."""
    from testbed.models.tiny import make

    make(folder, seed=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        for old, new in renamed.items():
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
