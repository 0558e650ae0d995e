"""The parsers of the pinned vLLM 0.32, by name, each with the tokens without which the engine refuses to start.

Source: ``vllm.tool_parsers`` and ``vllm.reasoning``. A test compares names and tokens with the package.
"""

from collections.abc import Mapping
from typing import Final

_PYTHON: Final = ("<|python_tag|>",)
#: DeepSeek's tokens are written with a full-width bar and a low block.
DEEPSEEK_CALLS: Final = "<\uff5ctool\u2581calls\u2581begin\uff5c>"
_DEEPSEEK: Final = (DEEPSEEK_CALLS, "<\uff5ctool\u2581calls\u2581end\uff5c>")
_TOOL_CALLS: Final = ("<tool_calls>", "</tool_calls>")
_MISTRAL: Final = ("[TOOL_CALLS]",)
_THINK: Final = ("<think>", "</think>")

#: Parsers of tool calls, and the tokens that the tokenizer must have.
TOOL_PARSERS: Final[Mapping[str, tuple[str, ...]]] = {
    "apertus": (), "cohere_command3": (), "cohere_command4": (), "deepseek_v3": _DEEPSEEK, "deepseek_v31": _DEEPSEEK,
    "deepseek_v32": (), "deepseek_v4": (), "deepseek_v41": (), "dots": (), "ernie45": (), "functiongemma": (),
    "gemma4": (), "gigachat3": (), "glm45": (), "glm47": (), "granite": (), "granite-20b-fc": (), "granite4": (),
    "hermes": (), "hf": (), "hunyuan_a13b": (), "hy_v3": _TOOL_CALLS, "hy_v4": _TOOL_CALLS, "inkling": (),
    "internlm": (), "jamba": _TOOL_CALLS, "k2_horizon": (), "kimi_k2": (), "kimi_k3": (),
    "lfm2": ("<|tool_call_start|>", "<|tool_call_end|>"), "ling3": (), "llama3_json": _PYTHON, "llama4_json": _PYTHON,
    "llama4_pythonic": (), "longcat": (), "mimo": (), "minicpm5": (), "minimax_m2": (), "minimax_m3": (),
    "mistral": _MISTRAL, "muse_glimmer": (), "olmo3": (), "openai": (), "phi4_mini_json": (), "plamo3": (),
    "poolside_v1": (), "pythonic": (), "qwen3_coder": (), "qwen3_json": (), "qwen3_xml": (), "seed_oss": (),
    "step3": (), "step3p5": (), "xlam": (),
}  # fmt: skip

#: Parsers of reasoning, and the tokens that the tokenizer must have.
REASONING_PARSERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cohere_command3": (), "cohere_command4": (), "deepseek_r1": _THINK, "deepseek_v3": (), "deepseek_v4": (),
    "deepseek_v41": (), "ernie45": _THINK, "gemma4": (), "glm45": (), "glm47": (), "granite": (),
    "granite_thinking_parser": (), "hf": (), "holo2": _THINK, "hunyuan_a13b": (), "hy_v3": _THINK, "hy_v4": _THINK,
    "inkling": (), "k2_horizon": ("<ifm|think>", "</ifm|think>"), "kimi_k2": (), "kimi_k3": (), "ling3": (),
    "mimo": (), "minicpmv": (), "minimax_m2": (), "minimax_m2_append_think": (),
    "minimax_m3": ("<mm:think>", "</mm:think>"), "mistral": _MISTRAL, "muse_glimmer": (), "nemotron_v3": (),
    "olmo3": (), "openai_gptoss": (), "plamo3": (), "poolside_v1": ("<assistant>",), "qwen3": (), "seed_oss": (),
    "step3": ("</think>",), "step3p5": (),
}  # fmt: skip

#: Words of the spec that are no parser.
AUTO: Final = "auto"
OFF: Final = "off"

#: With it, Mistral's parser of reasoning reads what stands between [THINK] and [/THINK].
MISTRAL_THINK: Final = "[THINK]"

#: Tokens by which a parser is chosen or refused; of a tokenizer, no other token is reported.
MARKERS: Final = frozenset(
    {
        MISTRAL_THINK,
        *(one for table in (TOOL_PARSERS, REASONING_PARSERS) for needed in table.values() for one in needed),
    }
)
