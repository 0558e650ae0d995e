"""What a group is asked before it gets requests, after every start and every swap of weights."""

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.desired import GoldenPrompt, Verify

_ASKS_SOMETHING: Final = Rule(
    "self.?expect.orValue('') != '' || self.?pattern.orValue('') != ''",
    "a prompt in verify.goldenPrompts must have an expected text or a pattern: set expect, pattern or both",
)

Text = Annotated[str, Field(min_length=1, max_length=4096)]


class GoldenPromptSpec(GoldenPrompt):
    """A prompt whose greedy answer is known."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        json_schema_extra=rules(_ASKS_SOMETHING),
    )


class VerifySpec(ApiModel):
    """How a group is verified before it gets requests."""

    golden_prompts: tuple[GoldenPromptSpec, ...] = Field(
        default=(), max_length=32, description="Prompts whose greedy answers are known."
    )
    quality_texts: tuple[Text, ...] = Field(
        default=(),
        max_length=16,
        description="Texts whose mean log-probability is measured. If empty, built-in ones in several languages.",
    )
    max_logprob_drop: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="By how much the mean log-probability (nats per token) may be below that of the weights before.",
    )
    agreement: bool = Field(
        default=True, description="Whether groups on the same weights must give the same greedy answer."
    )

    def message(self) -> Verify:
        """Return what is sent to the cells."""
        return Verify(golden=golden_messages(self.golden_prompts), quality_texts=self.quality_texts)


def golden_messages(prompts: Iterable[GoldenPromptSpec]) -> tuple[GoldenPrompt, ...]:
    """Return the prompts as the cells get them."""
    return tuple(GoldenPrompt.model_validate(one.model_dump()) for one in prompts)
