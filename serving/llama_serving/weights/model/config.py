"""Reads the sizes of a Llama from config.json; refuses another architecture, or code of its own."""

from dataclasses import dataclass
from typing import Any, Final

from llama_serving.config.model import ModelFacts
from llama_serving.weights.model.context import max_context
from llama_serving.weights.model.errors import refused, shown, shown_list
from llama_serving.weights.model.field_types import check_types
from llama_serving.weights.model.folder import CONFIG, Folder
from llama_serving.weights.model.limits import MOST_LAYERS
from llama_serving.weights.model.quantization import quantization
from llama_serving.weights.model.rope import read_rope

ARCHITECTURE: Final = "LlamaForCausalLM"
#: As the first conversions of LLaMA spell it; the engine takes it for the same.
_OLD_ARCHITECTURE: Final = "LLaMAForCausalLM"
_MODEL_TYPE: Final = "llama"
#: What transformers takes where config.json names none: the sizes of the first LLaMA.
_DEFAULT_POSITIONS: Final = 2048
_DEFAULT_INTERMEDIATE: Final = 11008

#: No size in a model's config comes near it; above it the file is damaged.
_LARGEST: Final = 1 << 40
#: The same of what must be smaller. Llama 3.1 405B has 126 layers and 128 heads.
_MOST: Final = {"num_hidden_layers": MOST_LAYERS, "num_attention_heads": 1 << 16, "num_key_value_heads": 1 << 16}


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a Llama."""

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    intermediate_size: int
    max_context: int
    dtype: str  # empty when config.json does not say
    quantization: str  # empty when the weights are not quantized
    tied_embeddings: bool


def read_config(folder: Folder) -> LlamaConfig:
    """Read config.json. Raises RefusedError when it is no Llama's or is inconsistent."""
    config = folder.read_json(CONFIG)
    refuse_code(CONFIG, config)
    _check_architecture(config)
    check_types(config)
    heads = _size(config, "num_attention_heads")
    hidden = _size(config, "hidden_size")
    kv_heads = _size(config, "num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise refused(f"{CONFIG}: num_attention_heads ({heads}) is no multiple of num_key_value_heads ({kv_heads})")
    if hidden % heads:
        raise refused(f"{CONFIG}: hidden_size ({hidden}) is no multiple of num_attention_heads ({heads})")
    head_dim = _size(config, "head_dim", default=hidden // heads)
    positions = _named_size(config, "max_position_embeddings", default=_DEFAULT_POSITIONS)
    rope = read_rope(config, head_dim=head_dim, max_positions=positions)
    return LlamaConfig(
        layers=_size(config, "num_hidden_layers"),
        hidden_size=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=_size(config, "vocab_size"),
        intermediate_size=_named_size(config, "intermediate_size", default=_DEFAULT_INTERMEDIATE),
        max_context=max_context(folder, config, rope=rope, max_positions=positions),
        dtype=_text(config, "dtype") or _text(config, "torch_dtype"),
        quantization=quantization(folder, config),
        tied_embeddings=config.get("tie_word_embeddings", False) is True,
    )


def facts_from_config(config: LlamaConfig, *, dtype: str, files: int, weights_bytes: int) -> ModelFacts:
    """Return the facts of a model by its config and the safetensors files of its folder."""
    return ModelFacts(
        architecture=ARCHITECTURE,
        layers=config.layers,
        hidden_size=config.hidden_size,
        heads=config.heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_dim,
        vocabulary=config.vocabulary,
        max_context=config.max_context,
        dtype=dtype,
        quantization=config.quantization,
        intermediate_size=config.intermediate_size,
        tied_embeddings=config.tied_embeddings,
        files=files,
        bytes=weights_bytes,
    )


def refuse_code(name: str, config: dict[str, Any]) -> None:
    """Refuse a file of the model that asks for code of its own to be run (``auto_map``)."""
    if "auto_map" in config:
        raise refused(
            f"{name} has an auto_map, which asks for the model's own code to be run; no remote code is run: "
            "take a model without it, or remove auto_map if the model is a plain Llama"
        )


def _check_architecture(config: dict[str, Any]) -> None:
    architectures = config.get("architectures")
    if architectures not in ([ARCHITECTURE], [_OLD_ARCHITECTURE]):
        named = shown_list([str(item) for item in architectures]) if isinstance(architectures, list) else "none"
        raise refused(f"{CONFIG} names the architecture {named or 'none'}; only {ARCHITECTURE} is served")
    if config.get("model_type") != _MODEL_TYPE:
        raise refused(f"{CONFIG} has model_type {shown(config.get('model_type'))} instead of {_MODEL_TYPE}")


def _size(config: dict[str, Any], key: str, *, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    most = _MOST.get(key, _LARGEST)
    if type(value) is not int or not 1 <= value <= most:
        limit = f" of at most {most}" if type(value) is int and value > most else ""
        raise refused(f"{CONFIG}: {key} must be a positive whole number{limit} and is {shown(value)}")
    return value


def _text(config: dict[str, Any], key: str) -> str:
    value = config.get(key)
    return shown(value) if isinstance(value, str) else ""


def _named_size(config: dict[str, Any], key: str, *, default: int) -> int:
    """Return a size that may be left out, and may not be null."""
    return _size(config, key) if key in config else default
