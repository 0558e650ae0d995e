"""The longest context of a Llama, derived from its config.json exactly as the engine derives it.

``context = smallest length that config.json names x factor of the rotary embedding``, cut to whole tokens.

A factor counts for every type of scaling whose ``max_position_embeddings`` is not the scaled length already
(``Rope.context_factor``). ``model_max_length`` wins over the other lengths; a sentence-transformers file beside
config.json wins over all. The tokenizer's own ``model_max_length`` does not count, nor does a sliding window. Source:
vLLM 0.32, ``derive_max_model_len_and_key`` and ``_get_and_verify_max_len``; a test runs them over a table of forms.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from llama_serving.weights.model.errors import refused, shown
from llama_serving.weights.model.folder import CONFIG, Folder
from llama_serving.weights.model.rope import Rope

_LENGTHS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
_WINS: Final = "model_max_length"
_LONGEST: Final = 1 << 40  # tokens; "no limit" is written as a number of 31 digits
# The first of these that is there and not empty is read, as the engine does.
_SENTENCE_FILES: Final = tuple(
    f"sentence_{model}_config.json"
    for model in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_SENTENCE_LENGTH: Final = "max_seq_length"


def max_context(folder: Folder, config: Mapping[str, Any], *, rope: Rope, max_positions: int) -> int:
    """Return the longest context in tokens; ``max_positions`` is max_position_embeddings or its default.

    Raises:
        RefusedError: a length is no number, or what comes out is less than one token.
    """
    lengths = {key: value for key in _LENGTHS if (value := _length(CONFIG, config, key)) is not None}
    lengths["max_position_embeddings"] = max_positions
    derived = (lengths.get(_WINS) or min(lengths.values())) * rope.context_factor
    derived = _of_sentences(folder, derived)
    context = max(derived, lengths.get(_WINS, 0))  # the engine takes a context up to either of them
    if not 1 <= context < math.inf:
        raise refused(f"{CONFIG} gives a context of {context:g} tokens: correct its lengths, or its rope_scaling")
    return min(int(context), _LONGEST)


def _length(name: str, values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None or type(value) in (int, float):
        return value
    raise refused(f"{name}: {key} must be a number and is {shown(value)}")


def _of_sentences(folder: Folder, derived: float) -> float:
    for name in _SENTENCE_FILES:
        found = folder.read_json(name) if name in folder.names else {}
        if found:
            length = _length(name, found, _SENTENCE_LENGTH)
            return derived if length is None else length
    return derived
