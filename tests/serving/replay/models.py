"""Model folders for tests of replays."""

from pathlib import Path


def make_thinking(folder: Path) -> Path:
    """Make a tiny model whose tokenizer has the two tokens of reasoning, in place of two that nothing here says."""
    from testbed.models.tiny import make

    make(folder, seed=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        text = text.replace("<|pad|>", "<think>").replace("<|end_of_text|>", "</think>")
        (folder / name).write_text(text, encoding="utf-8")
    return folder
