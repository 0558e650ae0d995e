"""Which parsers fit a model: inferred from the text of its chat template and from its tokens, never from its name.

A chat template tells the model how to write a call, and writes earlier calls in that form. The first form of ``FORMS``
that the template contains decides, if the tokenizer has the tokens that its parser needs.
"""

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Final

from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.chat.parsers import DEEPSEEK_CALLS, MARKERS, MISTRAL_THINK, REASONING_PARSERS, TOOL_PARSERS
from llama_serving.config.chat.template_code import code_of

#: Longest chat template that is read, in bytes; those of Llamas have 4 kB.
TEMPLATE_LIMIT: Final = 1 << 20

_PYTHONIC_CALL: Final = re.compile(r"\[\w+\(\w+=")
_LIST_OF_CALLS: Final = re.compile(r"\[\s*\{\s*\\?\"name\"")
_NAME: Final = re.compile(r"\\?\"name\\?\"\s*:|'name'\s*:")
_PARAMETERS: Final = re.compile(r"\\?\"(?:parameters|arguments)\\?\"\s*:|'(?:parameters|arguments)'\s*:")
_TOOLS: Final = re.compile(r"\btools\b")
_THINKING: Final = re.compile(r"\benable_thinking\b")
_LLAMA4: Final = ("<|python_start|>", "<|header_start|>")
_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Form:
    """One way to write a call, the parser that reads it, and how a template shows it."""

    parser: str
    shown: str  # for the sentence
    found: Callable[[str], bool]  # in the template's text


def _has(*markers: str) -> Callable[[str], bool]:
    return lambda text: all(marker in text for marker in markers)


def _is_llama4(text: str) -> bool:
    return any(marker in text for marker in _LLAMA4)


def _is_json(text: str) -> bool:
    return _NAME.search(text) is not None and _PARAMETERS.search(text) is not None


#: The most particular form first. JSON is last: tools are shown to the model as JSON whatever it answers.
FORMS: Final = (
    Form("mistral", "[TOOL_CALLS]", _has("[TOOL_CALLS]")),
    Form("deepseek_v3", f"{DEEPSEEK_CALLS} and ```json", _has(DEEPSEEK_CALLS, "```json")),
    Form("deepseek_v31", DEEPSEEK_CALLS, _has(DEEPSEEK_CALLS)),
    Form("qwen3_coder", "<tool_call><function=", _has("<tool_call>", "<function=", "<parameter=")),
    Form("glm45", "<tool_call> with <arg_key>", _has("<tool_call>", "<arg_key>")),
    Form("hermes", "<tool_call>", _has("<tool_call>")),
    Form("lfm2", "<|tool_call_start|>", _has("<|tool_call_start|>")),
    Form("jamba", "<tool_calls>", _has("<tool_calls>")),
    Form("internlm", "<|action_start|><|plugin|>", _has("<|action_start|>", "<|plugin|>")),
    Form("phi4_mini_json", "functools[", _has("functools[")),
    Form(
        "llama4_pythonic",
        "[name(parameter=value)] after a header of Llama 4",
        lambda text: _PYTHONIC_CALL.search(text) is not None and _is_llama4(text),
    ),
    Form("pythonic", "[name(parameter=value)]", lambda text: _PYTHONIC_CALL.search(text) is not None),
    Form("xlam", 'a JSON list, [{"name": ...}]', lambda text: _LIST_OF_CALLS.search(text) is not None),
    Form("llama4_json", "JSON after a header of Llama 4", lambda text: _is_json(text) and _is_llama4(text)),
    Form("llama3_json", "JSON with name and parameters", _is_json),
)


def infer(template: str, tokens: Set[str], *, origin: str) -> ChatFacts:
    """Return what the template and the tokens of a model say; ``origin`` names the template, empty: there is none.

    ``template`` is the text that is used for a request with tools.
    """
    known = ChatFacts(template=origin, tokens=tuple(sorted(MARKERS & tokens)))
    if not origin:
        missing = "the model has no chat template"
        return known.model_copy(update={"tools_reason": missing, "reasoning_reason": missing})
    code = code_of(template)
    takes_tools = _TOOLS.search(code) is not None
    tools, why = _tool_parser(template, tokens) if takes_tools else ("", "the chat template has no tools")
    reasoning, why_reasoning = _reasoning_parser(template, code, tokens)
    found = {"tools": tools, "tools_reason": why, "reasoning": reasoning, "reasoning_reason": why_reasoning}
    return known.model_copy(update={**found, "takes_tools": takes_tools})


def _tool_parser(template: str, tokens: Set[str]) -> tuple[str, str]:
    """Return the parser, empty for none, and why."""
    form = next((one for one in FORMS if one.found(template)), None)
    if form is None:
        return "", "the chat template takes tools, and shows no form of a call that a parser of the engine reads"
    if lacking := [token for token in TOOL_PARSERS[form.parser] if token not in tokens]:
        return "", (
            f"the chat template writes calls as {form.shown}, whose parser {form.parser} needs the token "
            f"{' and '.join(lacking)}, which the tokenizer lacks"
        )
    return form.parser, f"the chat template writes calls as {form.shown}"


def _reasoning_parser(template: str, code: str, tokens: Set[str]) -> tuple[str, str]:
    """Return the parser, empty for none, and why."""
    if MISTRAL_THINK in template and {MISTRAL_THINK, *REASONING_PARSERS["mistral"]} <= tokens:
        return "mistral", f"the chat template has {MISTRAL_THINK}"
    if _OPEN not in template and _CLOSE not in template:
        return "", "the chat template has no reasoning"
    if _THINKING.search(code):
        return "qwen3", f"the chat template has {_CLOSE}, and reasoning can be turned off (enable_thinking)"
    if not {_OPEN, _CLOSE} <= tokens:
        return "", f"the chat template has {_CLOSE}, and the tokenizer lacks {_OPEN} or {_CLOSE} as a token"
    return "deepseek_r1", f"the chat template has {_CLOSE}, and the tokenizer has it as a token"
