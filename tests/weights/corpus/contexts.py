"""Forms in which config.json describes a rotary embedding and its lengths, each with the context that follows."""

from typing import Any

SHORT, LONG = [1.0] * 8, [2.0] * 8
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONGROPE = {"short_factor": SHORT, "long_factor": LONG}


def scaled(**rope: Any) -> dict[str, Any]:
    return {"rope_scaling": rope}


#: Name -> changes of config.json (4096 positions, theta 10000, heads of 16 numbers; "-" takes a key out), context.
TAKEN: dict[str, tuple[dict[str, Any], int]] = {
    "no scaling": ({}, 4096),
    "null": ({"rope_scaling": None}, 4096),
    "empty": ({"rope_scaling": {}}, 4096),
    "no theta": ({"rope_theta": "-"}, 4096),
    "theta as a whole number": ({"rope_theta": 10000}, 4096),
    "linear by its old key": (scaled(type="linear", factor=4.0), 16384),
    "linear by its new key": (scaled(rope_type="linear", factor=4.0), 16384),
    "linear by both keys": (scaled(type="linear", rope_type="linear", factor=4.0), 16384),
    "linear without theta": ({**scaled(type="linear", factor=4.0), "rope_theta": "-"}, 16384),
    "linear by a fraction": ({**scaled(type="linear", factor=2.5), "max_position_embeddings": 4097}, 10242),
    "linear below one": (scaled(type="linear", factor=0.5), 2048),
    "linear in rope_parameters": ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, 8192),
    "rope_scaling before rope_parameters": (
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0}, **scaled(type="linear", factor=4.0)},
        16384,
    ),
    "linear, as longchat has it": (
        {**scaled(type="linear", factor=8.0), "max_position_embeddings": 2048, "max_sequence_length": 16384},
        16384,
    ),
    "dynamic": (scaled(type="dynamic", factor=4.0), 16384),
    "dynamic by a whole number": (scaled(type="dynamic", factor=4), 16384),
    "dynamic with alpha": (scaled(rope_type="dynamic", factor=2.0, alpha=1000), 8192),
    "ntk": (scaled(type="ntk", factor=4.0), 16384),
    "default": (scaled(rope_type="default"), 4096),
    "default with a factor": (scaled(rope_type="default", factor=2.0), 8192),
    "default with a factor of null": (scaled(rope_type="default", factor=None), 4096),
    "a factor without a type": (scaled(factor=2.0), 8192),
    "proportional": (scaled(rope_type="proportional", factor=2.0), 8192),
    "mllama4": (scaled(rope_type="mllama4", factor=2.0), 8192),
    "yarn": (scaled(type="yarn", factor=4.0), 4096),
    "yarn with its original length": (
        scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024, beta_fast=32, beta_slow=1),
        4096,
    ),
    "yarn of TeleChat3": (scaled(type="telechat3-yarn", factor=4.0), 4096),
    "llama3": (scaled(**LLAMA3, original_max_position_embeddings=1024), 4096),
    "llama3 without its original length": (scaled(**LLAMA3), 4096),
    "llama3 in rope_parameters": (
        {"rope_theta": "-", "rope_parameters": {**LLAMA3, "rope_theta": 5e5, "original_max_position_embeddings": 8}},
        4096,
    ),
    "longrope": (scaled(type="longrope", **LONGROPE), 4096),
    "longrope with its original length beside it": (
        {**scaled(rope_type="longrope", factor=4.0, **LONGROPE), "original_max_position_embeddings": 1024},
        4096,
    ),
    "longrope with its original length inside": (
        scaled(type="longrope", factor=4.0, original_max_position_embeddings=1024, **LONGROPE),
        4096,
    ),
    "su": (scaled(type="su", **LONGROPE), 4096),
    "su and longrope": (scaled(type="su", rope_type="longrope", **LONGROPE), 4096),
    "mrope": (scaled(type="mrope", mrope_section=[2, 2, 4]), 4096),
    "mrope with a factor": (scaled(type="mrope", rope_type="default", mrope_section=[2, 2, 4], factor=2.0), 8192),
    "half of each head": ({"partial_rotary_factor": 0.5}, 4096),
    "no length": ({"max_position_embeddings": "-"}, 2048),
    "the length of LLaMA 1": ({"max_position_embeddings": "-", "max_sequence_length": 2048}, 2048),
    "n_positions": ({"n_positions": 1000}, 1000),
    "max_seq_len": ({"max_seq_len": 1000}, 1000),
    "seq_length": ({"seq_length": 1000}, 1000),
    "max_target_positions": ({"max_target_positions": 1000}, 1000),
    "max_sequence_length": ({"max_sequence_length": 1000}, 1000),
    "max_seq_length": ({"max_seq_length": 1000}, 1000),
    "seq_len": ({"seq_len": 1000}, 1000),
    "a longer length beside it": ({"max_seq_len": 100_000}, 4096),
    "a length of null": ({"n_positions": None}, 4096),
    "a length with a point": ({"max_seq_len": 1000.5}, 1000),
    "two lengths, and linear": ({**scaled(type="linear", factor=4.0), "seq_length": 1000}, 4000),
    "model_max_length below": ({"model_max_length": 1000}, 1000),
    "model_max_length above": ({"model_max_length": 100_000}, 100_000),
    "model_max_length and linear": ({"model_max_length": 10_000, **scaled(type="linear", factor=4.0)}, 40_000),
    "model_max_length, scaled below one": ({"model_max_length": 8000, **scaled(type="linear", factor=0.5)}, 8000),
    "a sliding window": ({"sliding_window": 1024}, 4096),
    "a sliding window of 0": ({"sliding_window": 0}, 4096),
    "chunks of attention": ({"attention_chunk_size": 512}, 4096),
}

#: Name -> changes of config.json, part of the refusal.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a type that nobody knows": (scaled(type="foo", factor=2.0), "has the type foo, served are"),
    "a type that is no text": (scaled(type=["linear"], factor=2.0), "has the type"),
    "two types": (scaled(type="linear", rope_type="dynamic", factor=2.0), "names two types, linear and dynamic"),
    "linear without a factor": (scaled(type="linear"), "of type linear needs a number above 0 as factor and has none"),
    "linear with a factor of null": (
        scaled(type="linear", factor=None),
        "needs a number above 0 as factor and has none",
    ),
    "linear with a factor as text": (scaled(type="linear", factor="4"), "must have a number as factor and has 4"),
    "linear by a whole number": (scaled(type="linear", factor=4), "write it with a point, 4.0"),
    "linear by 0": (scaled(type="linear", factor=0.0), "needs a number above 0 as factor and has 0.0"),
    "linear below 0": (scaled(type="linear", factor=-1.0), "needs a number above 0 as factor and has -1.0"),
    "dynamic without a factor": (
        scaled(type="dynamic", alpha=1000.0),
        "of type dynamic needs a number above 0 as factor",
    ),
    "ntk without a factor": (scaled(type="ntk"), "of type ntk needs a number above 0 as factor"),
    "yarn with a factor of null": (scaled(type="yarn", factor=None), "of type yarn needs a number above 0 as factor"),
    "llama3 without its frequencies": (
        scaled(rope_type="llama3", factor=8.0),
        "needs a number above 0 as low_freq_factor",
    ),
    "llama3 with a factor as text": (scaled(**{**LLAMA3, "factor": "8"}), "must have a number as factor"),
    "llama3 with an original length of null": (
        scaled(**LLAMA3, original_max_position_embeddings=None),
        "needs a number above 0 as original_max_position_embeddings",
    ),
    "longrope without its factors": (scaled(type="longrope", factor=4.0), "needs 8 numbers as short_factor"),
    "longrope of another width": (
        scaled(type="longrope", short_factor=[1.0] * 4, long_factor=LONG),
        "needs 8 numbers as short_factor and has 4 entries",
    ),
    "su without its factors": (scaled(type="su", factor=4.0), "needs 8 numbers as short_factor"),
    "mrope without sections": (scaled(type="mrope"), "of type mrope needs mrope_section"),
    "mrope with sections of another width": (scaled(type="mrope", mrope_section=[2, 2]), "must add up to 8"),
    "one per kind of layer": ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "per kind of layer"),
    "a list": ({"rope_scaling": [1]}, "rope_scaling must be an object or null"),
    "a text": ({"rope_scaling": "linear"}, "rope_scaling must be an object or null"),
    "theta as text": ({"rope_theta": "10000"}, "must have a number as rope_theta"),
    "theta of null": ({"rope_theta": None}, "needs a number above 0 as rope_theta"),
    "more than each head": ({"partial_rotary_factor": 2.0}, "partial_rotary_factor must be above 0 and at most 1"),
    "an odd head": ({"head_dim": 17}, "head_dim is 17"),
    "a length of null in max_position_embeddings": (
        {"max_position_embeddings": None},
        "max_position_embeddings must be a positive",
    ),
    "a length as text": ({"max_position_embeddings": "4096"}, "max_position_embeddings must be a positive"),
    "another length as text": ({"max_seq_len": "1000"}, "max_seq_len must be a number and is 1000"),
    "a length of 0": ({"n_positions": 0}, "gives a context of 0 tokens"),
    "a model_max_length of 0": ({"model_max_length": 0}, "gives a context of 0 tokens"),
}
