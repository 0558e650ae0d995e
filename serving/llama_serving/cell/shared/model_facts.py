"""The sizes of the model that an engine is about to load.

A whole folder is looked at as the inspector does. A stage's own folder lacks the tensors of the other stages, which the
inspector refuses; it was verified by digest, and its config.json says the sizes.
"""

from pathlib import Path

from llama_serving.config.model import ModelFacts
from llama_serving.weights.model.config import ARCHITECTURE, read_config
from llama_serving.weights.model.errors import RefusedError
from llama_serving.weights.model.folder import open_folder
from llama_serving.weights.model.inspection import inspect


def model_facts(path: Path, *, whole: bool) -> ModelFacts:
    """Facts of the model in ``path``; ``whole``: all of its tensors must be there.

    Raises:
        ValueError: the model's files cannot be served; the supervisor has looked before, so they changed meanwhile.
    """
    if not whole:
        return _from_config(path)
    report = inspect(path)
    if report.facts is None:
        raise ValueError(report.message)
    return report.facts


def _from_config(path: Path) -> ModelFacts:
    try:
        folder = open_folder(path)
        config = read_config(folder)
    except RefusedError as refusal:
        raise ValueError(refusal.message) from refusal
    shards = folder.ending(".safetensors")
    return ModelFacts(
        architecture=ARCHITECTURE,
        layers=config.layers,
        hidden_size=config.hidden_size,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        vocabulary=config.vocabulary,
        max_context=config.max_context,
        dtype=config.dtype,
        quantization=config.quantization,
        tied_embeddings=config.tied_embeddings,
        files=max(1, len(shards)),
        bytes=sum(folder.size(name) for name in shards),
    )
