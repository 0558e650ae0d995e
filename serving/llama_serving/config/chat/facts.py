"""What a model's own files say about tool calls and reasoning, and what is made of that for one group."""

from dataclasses import dataclass
from typing import Final

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen
from llama_serving.config.chat.parsers import AUTO, OFF, REASONING_PARSERS, TOOL_PARSERS

_TOOLS_FIELD: Final = "spec.model.tools"
_REASONING_FIELD: Final = "spec.model.reasoning"
_TEMPLATE_FIELD: Final = "spec.model.chatTemplate"


class ChatFacts(Frozen):
    """From the chat template and the tokenizer; a reader may be older than its writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    template: str = Field(default="", description="where the chat template is from; empty: the model has none")
    takes_tools: bool = Field(default=False, description="the chat template puts tools into the prompt")
    tools: str = Field(default="", description="parser of tool calls that fits; empty: none does")
    tools_reason: str = Field(default="", description="why that parser, or none: one clause")
    reasoning: str = Field(default="", description="parser of reasoning that fits; empty: none does")
    reasoning_reason: str = Field(default="", description="why that parser, or none: one clause")
    tokens: tuple[str, ...] = Field(
        default=(), description="of the tokens that parsers need, those that the tokenizer has"
    )


@dataclass(frozen=True)
class ParserChoice:
    """The parser that a group uses. ``refused`` says why it cannot be; then there is none."""

    parser: str = ""  # empty: none
    reason: str = ""
    refused: str = ""


def choose_tools(asked: str, facts: ChatFacts) -> ParserChoice:
    """Return the parser of tool calls for what the spec asks: auto, off, or a parser's name."""
    if asked == AUTO:
        return ParserChoice(facts.tools, facts.tools_reason)
    if asked == OFF:
        return ParserChoice(reason=f"{_TOOLS_FIELD} is {OFF}")
    if asked not in TOOL_PARSERS:
        return _unknown(_TOOLS_FIELD, asked)
    if lacking := _lacking(TOOL_PARSERS[asked], facts):
        return _refusal(_TOOLS_FIELD, asked, lacking, fits=facts.tools)
    if not facts.takes_tools:
        return ParserChoice(
            refused=f"{_TOOLS_FIELD} is {asked}, and {_no_tools(facts)}: name one that has them in {_TEMPLATE_FIELD}, "
            f"or set {_TOOLS_FIELD} to {AUTO}"
        )
    return ParserChoice(asked, f"{_TOOLS_FIELD} names it")


def choose_reasoning(asked: str, facts: ChatFacts) -> ParserChoice:
    """Return the parser of reasoning for what the spec asks: auto, off, or a parser's name."""
    if asked == AUTO:
        return ParserChoice(facts.reasoning, facts.reasoning_reason)
    if asked == OFF:
        return ParserChoice(reason=f"{_REASONING_FIELD} is {OFF}")
    if asked not in REASONING_PARSERS:
        return _unknown(_REASONING_FIELD, asked)
    if lacking := _lacking(REASONING_PARSERS[asked], facts):
        return _refusal(_REASONING_FIELD, asked, lacking, fits=facts.reasoning)
    return ParserChoice(asked, f"{_REASONING_FIELD} names it")


def no_tools_sentence(choice: ParserChoice) -> str:
    """Return what a request with tools is told where no parser reads the calls: why, and the remedy."""
    if choice.reason == f"{_TOOLS_FIELD} is {OFF}":
        return f"this model is served without tools: {choice.reason} in its LlamaDeployment; set it to {AUTO}"
    return (
        f"this model is served without tools: {choice.reason}; name a parser in {_TOOLS_FIELD} of its LlamaDeployment, "
        f"and in {_TEMPLATE_FIELD} a chat template with tools where the model has none"
    )


def _no_tools(facts: ChatFacts) -> str:
    return f"{facts.template} puts no tools into the prompt" if facts.template else "the model has no chat template"


def _lacking(needed: tuple[str, ...], facts: ChatFacts) -> list[str]:
    return [token for token in needed if token not in facts.tokens]


def _refusal(field: str, asked: str, lacking: list[str], *, fits: str) -> ParserChoice:
    remedy = f"set it to {fits}, which fits, or to {AUTO}" if fits else f"set it to {AUTO}"
    return ParserChoice(
        refused=f"{field} is {asked}, which needs the token {' and '.join(lacking)}, and the model's tokenizer lacks "
        f"{'it' if len(lacking) == 1 else 'them'}: {remedy}"
    )


def _unknown(field: str, asked: str) -> ParserChoice:
    return ParserChoice(refused=f"{field} is {asked}, which is no parser of this engine: set it to {AUTO}")
