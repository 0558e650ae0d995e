"""What a group is asked before it gets requests, after every start and every swap of weights.

JSON of users (schemas, arguments) is text in the spec, as it is in OpenAI's own ``arguments``: OpenAPI and CEL bound it
when it is applied, and nobody has to parse what is nested without end only to read the object (decision 16).
"""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.desired import ExpectedCall, GoldenPrompt, Tool, Verify

_ASKS_SOMETHING: Final = Rule(
    "self.?expect.orValue('') != '' || self.?pattern.orValue('') != '' || has(self.expectCall)"
    " || self.?schema.orValue('') != ''",
    "a prompt in verify.goldenPrompts must have something to compare its answer with:"
    " set expect, pattern, expectCall or schema",
)

_CALLS_A_TOOL: Final = Rule(
    "!has(self.expectCall) || (has(self.tools) && self.tools.exists(tool, tool.name == self.expectCall.name))",
    "expectCall.name of a prompt in verify.goldenPrompts must be one of its tools: describe the function in tools, or"
    " correct the name",
    shown="expectCall.name is {self.expectCall.name}",
    field="expectCall",
)

_CALL_OR_TEXT: Final = Rule(
    "!has(self.expectCall) || (self.?expect.orValue('') == '' && self.?pattern.orValue('') == '')",
    "a prompt in verify.goldenPrompts expects a call or a text: remove expectCall, or expect and pattern",
    field="expectCall",
)

_TOOLS_OR_SCHEMA: Final = Rule(
    "!has(self.tools) || size(self.tools) == 0 || self.?schema.orValue('') == ''",
    "a prompt in verify.goldenPrompts offers tools or asks for a schema: make two prompts of it",
    field="schema",
)

_TOOLS_IN_A_CHAT: Final = Rule(
    "!has(self.tools) || size(self.tools) == 0 || self.?chat.orValue(true)",
    "a prompt in verify.goldenPrompts with tools must be a chat: remove chat or tools",
    field="chat",
)

#: Levels of objects and lists in JSON of a user; what compiles or checks it goes down as deep.
DEEPEST: Final = 32


def _object_rule(field: str, example: str) -> Rule:
    return Rule(
        r"self == '' || self.matches('^\\s*[{](.|\\s)*[}]\\s*$')",
        f"verify.goldenPrompts: {field} must be a JSON object as text, such as {example}",
    )


def _json_object(text: str) -> str:
    """Return the text of a JSON object as it is; CEL has seen its braces, here the rest is checked."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant) if text else {}
        deep = _is_deeper(value, DEEPEST)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise ValueError(f"must be a JSON object: {error}") from error
    if deep:
        raise ValueError(f"must not be nested deeper than {DEEPEST} levels")
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return text


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it has the number {word}")


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(one, levels - 1) for one in inner))


Text = Annotated[str, Field(min_length=1, max_length=4096)]
JsonText = Annotated[str, AfterValidator(_json_object)]


class ToolSpec(ApiModel):
    """A function that is offered to the model."""

    name: str = Field(
        min_length=1,
        max_length=64,
        description="Name of the function.",
        json_schema_extra=rules(
            Rule(
                "self.matches('^[a-zA-Z0-9_-]+$')",
                "verify.goldenPrompts: the name of a tool must be letters, digits, _ and -, such as get_weather",
            )
        ),
    )
    description: str = Field(default="", max_length=1024, description="What the function is for.")
    parameters: JsonText = Field(
        default="",
        max_length=4096,
        description="JSON schema of its arguments, as text. If empty, it has none.",
        json_schema_extra=rules(_object_rule("parameters of a tool", '{"type": "object", "properties": {}}')),
    )


class ExpectedCallSpec(ApiModel):
    """The call that the model must make."""

    name: str = Field(min_length=1, max_length=64, description="Name of the function, one of tools.")
    arguments: JsonText = Field(
        default="",
        max_length=4096,
        description="JSON object, as text, that the arguments must contain: they may have more fields, on each level; "
        "lists and plain values must be equal. If empty, any arguments.",
        json_schema_extra=rules(_object_rule("arguments of expectCall", '{"city": "Paris"}')),
    )


class GoldenPromptSpec(ApiModel):
    """A prompt whose greedy answer is known."""

    model_config = ConfigDict(
        json_schema_extra=rules(_ASKS_SOMETHING, _CALLS_A_TOOL, _CALL_OR_TEXT, _TOOLS_OR_SCHEMA, _TOOLS_IN_A_CHAT)
    )

    prompt: Text = Field(description="The prompt.")
    expect: str = Field(default="", max_length=1024, description="Text that the answer must contain. If empty, none.")
    pattern: str = Field(
        default="", max_length=1024, description="Regular expression (RE2) that the answer must match. If empty, none."
    )
    tools: tuple[ToolSpec, ...] = Field(
        default=(),
        max_length=8,
        description="Functions that are offered to the model, which may call one or answer with text.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    expect_call: ExpectedCallSpec | None = Field(
        default=None, description="Call that the model must make. If absent, the answer is text."
    )
    answer_schema: JsonText = Field(
        default="",
        alias="schema",
        max_length=16384,
        description="JSON schema, as text, that is asked for (response_format json_schema) and that the answer must "
        "fit. If empty, none.",
        json_schema_extra=rules(_object_rule("schema", '{"type": "object"}')),
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Length of the answer in tokens. If absent, 32, and 256 with tools or a schema.",
    )
    chat: bool = Field(default=True, description="True asks as a user's message; false has plain text completed.")

    def message(self) -> GoldenPrompt:
        """Return what is sent to the cells."""
        length = self.max_tokens or (256 if self.tools or self.answer_schema else 32)
        call = self.expect_call and ExpectedCall.model_validate(self.expect_call.model_dump())
        tools = tuple(Tool.model_validate(tool.model_dump()) for tool in self.tools)
        return GoldenPrompt(
            prompt=self.prompt, expect=self.expect, pattern=self.pattern, tools=tools, expect_call=call,
            answer_schema=self.answer_schema, max_tokens=length, chat=self.chat,
        )  # fmt: skip


class NamedTextSpec(ApiModel):
    """A quality text with a name."""

    name: str = Field(min_length=1, max_length=64, description="Name in verdicts, such as its language.")
    text: Text = Field(description="The text.")


class VerifySpec(ApiModel):
    """How a group is verified before it gets requests."""

    golden_prompts: tuple[GoldenPromptSpec, ...] = Field(
        default=(), max_length=32, description="Prompts whose greedy answers are known."
    )
    quality_texts: tuple[Text, ...] = Field(
        default=(),
        max_length=16,
        description="Texts whose mean log-probability is measured. If there are none, named or not, built-in "
        "ones in the eight languages of Llama 3.1.",
    )
    named_quality_texts: tuple[NamedTextSpec, ...] = Field(
        default=(),
        max_length=16,
        description="The same, each with a name for verdicts; measured after qualityTexts.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    max_logprob_drop: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="By how much the mean log-probability (nats per token) of each text may be below that of the "
        "weights before.",
    )
    agreement: bool = Field(
        default=True, description="Whether groups on the same weights must give the same greedy answer."
    )

    @property
    def texts(self) -> tuple[str, ...]:
        """The user's texts, in the order in which they are measured; empty: the built-in ones are."""
        return (*self.quality_texts, *(one.text for one in self.named_quality_texts))

    @property
    def text_names(self) -> tuple[str, ...]:
        """What verdicts call the user's texts."""
        numbered = (f"quality text {number + 1}" for number in range(len(self.quality_texts)))
        return (*numbered, *(one.name for one in self.named_quality_texts))

    @cached_property
    def key(self) -> str:
        """Key of the message: what a measurement reports that answers it. Asked for each group in every pass."""
        return self.message().key

    def message(self) -> Verify:
        """Return what is sent to the cells."""
        return Verify(golden=golden_messages(self.golden_prompts), quality_texts=self.texts)


def golden_messages(prompts: Iterable[GoldenPromptSpec]) -> tuple[GoldenPrompt, ...]:
    """Return prompts as they are sent to the cells."""
    return tuple(one.message() for one in prompts)
