"""Hostile forms of the files of a model: a good one, changed in some places, as JSON or as bytes."""

import json
from typing import Any

from hypothesis import strategies as st

_INTEGERS = st.sampled_from([-1, 0, 1, 2, 7, 1 << 31, 1 << 48, (1 << 63) - 1, 1 << 64, 10**30, 10**63, 10**400])
_FLOATS = st.sampled_from([0.0, -0.0, 0.5, 1e308, float("inf"), float("nan"), 5e-324])
_WORDS = st.sampled_from([
    "", ".", "..", "../x", "/etc/passwd", "a\nb", "\x00", "\x1b[31m", "\ud800", "\u2028", "x" * 300,
    "model.safetensors",
    "F32", "BF16", "ZZ", "true", "null", "llama", "fp8", "[TOOL_CALLS]", "{{ 1 }}", "layers.0.q_proj", "(a+)+$",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | _INTEGERS | _FLOATS | _WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)

#: Keys that some reader of a model's files asks for: a random key would never be one.
KEYS = st.sampled_from([
    "architectures", "model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size",
    "head_dim", "vocab_size", "intermediate_size", "max_position_embeddings", "model_max_length", "rope_scaling",
    "rope_parameters", "rope_theta", "rope_type", "type", "factor", "original_max_position_embeddings", "mrope_section",
    "quantization_config", "compression_config", "quant_method", "quant_algo", "bits", "group_size", "desc_act", "sym",
    "config_groups", "sparsity_config", "weight_block_size", "activation_scheme", "dynamic", "license", "auto_map",
    "dtype", "torch_dtype", "shape", "data_offsets", "weight_map", "metadata", "__metadata__", "chat_template",
    "added_tokens_decoder", "peft_type", "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "layers",
    "annotations", "digest", "size", "mediaType", "manifests", "sha", "siblings", "eos_token_id", "hidden_act",
])  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: Any) -> Any:
    """``good``, a JSON value, with up to four of its parts exchanged, added or taken out."""
    value = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 4))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Change one place: this one, or one further inside."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    if isinstance(value, list):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _changed(draw, value[place]), *value[place + 1 :]]
    if draw(st.booleans()):
        return {**value, draw(KEYS | _WORDS): draw(VALUES)}
    key = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 4)) == 0:
        return {name: item for name, item in value.items() if name != key}
    return {**value, key: _changed(draw, value[key])}


@st.composite
def json_files(draw: st.DrawFn, good: Any) -> bytes:
    """A file of JSON: mutated as a value, and sometimes as bytes."""
    text = json.dumps(draw(mutated(good))).encode()
    return draw(damaged(text)) if draw(st.integers(0, 4)) == 0 else text


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` with bytes cut out, put in or doubled."""
    begin, end = sorted((draw(st.integers(0, len(good))), draw(st.integers(0, len(good)))))
    between = draw(
        st.binary(max_size=20) | st.sampled_from([b"", b"[" * 2000, b"{" * 2000, b"9" * 5000, b"\\u0000", good])
    )
    return good[:begin] + between + good[end:]


_PIECES = st.sampled_from([
    "license: mit", "license:", "license: [", "]", "- a", "  - b", "license_name: x", "a: b: c", "\t", " ", "'", '"',
    "\\",
    "&a", "*a", "<<: *a", "!!python/object:x", "{", "}", ",", "#", "---", "...", ">-", "|", "? x", "%YAML 1.2",
    "\u2028",
    "\x85", "key: value", "license: {name: x}", "2024-99-99", "~", "\x00", "\ufeff", ": ", "\n", "\n", "\n",
])  # fmt: skip
HEADS = st.lists(_PIECES | st.text(max_size=5), max_size=30).map("".join)
READMES = st.builds(lambda head, end: f"---\n{head}\n{end}", HEADS, st.sampled_from(["---\n", "", "--- \ntext"]))

_LINES = st.builds(
    lambda digest, gap, name: f"{digest}{gap}{name}",
    st.sampled_from(["ab" * 32, "AB" * 32, "ab" * 31, "", "g" * 64]),
    st.sampled_from(["  ", " *", "\t", " ", ""]),
    _WORDS | st.text(max_size=10),
)
SUMS = st.lists(_LINES, max_size=10).map("\n".join)
