"""Types of the fields of config.json, as strictly as transformers takes them: 0 is no ``false``, 1 is no ``1.0``.

Source: transformers 5, ``LlamaConfig``, whose fields are checked when the engine reads the file.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from llama_serving.weights.model.errors import refused, shown
from llama_serving.weights.model.folder import CONFIG

_NULL: Final = type(None)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("use_cache", "tie_word_embeddings", "attention_bias", "mlp_bias"), (bool,)),
    **dict.fromkeys(("rms_norm_eps", "initializer_range"), (float,)),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "pretraining_tp"), (int, _NULL)),
    "eos_token_id": (int, list, _NULL),
    "attention_dropout": (int, float, _NULL),
}
_WORDS: Final = {bool: "true or false", float: "a number with a point", int: "a whole number", list: "a list"}
_ACTIVATION: Final = "silu"
# Types of numbers that the engine knows by name; others end it with torch's words.
_DTYPES: Final = frozenset({
    "float16", "half", "bfloat16", "float32", "float", "float64", "double", "int8", "uint8", "int16", "int32", "int64",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
})  # fmt: skip


def check_types(config: Mapping[str, Any]) -> None:
    """Check the fields that are there and not read elsewhere. Raises RefusedError, naming field and value."""
    for key, types in _TYPES.items():
        if key in config and type(config[key]) not in types:
            wanted = " or ".join(_WORDS[kind] for kind in types if kind in _WORDS)
            raise refused(f"{CONFIG}: {key} must be {wanted} and is {shown(json.dumps(config[key]))}")
    if not 0 <= config.get("initializer_range", 0) <= 1:
        raise refused(f"{CONFIG}: initializer_range must be from 0 to 1 and is {shown(config['initializer_range'])}")
    activation = config.get("hidden_act", _ACTIVATION)
    if activation != _ACTIVATION:
        raise refused(f"{CONFIG}: hidden_act is {shown(activation)}; a Llama has {_ACTIVATION}, and no other is served")
    dtype = config.get("dtype") or config.get("torch_dtype")
    if isinstance(dtype, str) and dtype not in _DTYPES:
        raise refused(f"{CONFIG}: the dtype {shown(dtype)} is none of the engine's, such as bfloat16")
