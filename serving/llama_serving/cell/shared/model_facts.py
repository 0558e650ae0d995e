"""The sizes of the model that an engine is about to load.

A whole folder is inspected. A stage's own folder lacks the tensors of the other stages, which the inspector refuses; it
was verified by digest, and its config.json has the sizes.
"""

from pathlib import Path

from llama_serving.config.model import ModelFacts
from llama_serving.weights.model.config import facts_from_config, read_config
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.folder import open_folder
from llama_serving.weights.model.inspection import inspect


def model_facts(path: Path, *, whole: bool) -> ModelFacts:
    """Return the facts of the model in ``path``; ``whole``: all of its tensors must be there.

    Raises:
        ValueError: the model cannot be served; the supervisor has inspected it before, so its files changed meanwhile.
    """
    if not whole:
        return _staged_facts(path)
    report = inspect(path)
    if report.facts is None:
        raise ValueError(report.message)
    return report.facts


def _staged_facts(path: Path) -> ModelFacts:
    try:
        folder = open_folder(path)
        config = read_config(folder)
    except RefusedError as refusal:
        raise ValueError(refusal.message) from refusal
    shards = folder.ending(".safetensors")
    size = sum(folder.size(name) for name in shards)
    return facts_from_config(config, dtype=config.dtype, files=max(1, len(shards)), weights_bytes=size)
