"""What a group is asked before it gets requests, after every start and every exchange of weights."""

from typing import Annotated, Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.desired import GoldenPrompt, Verify

_ASKS_SOMETHING: Final = Rule(
    "self.expect != '' || self.pattern != ''",
    "a prompt in verify.golden must have an expected text or a pattern: set expect, pattern or both",
)

Text = Annotated[str, Field(min_length=1, max_length=4096)]


class GoldenSpec(ApiModel):
    """A prompt whose greedy answer is known."""

    model_config = ConfigDict(json_schema_extra=rules(_ASKS_SOMETHING))

    prompt: str = Field(min_length=1, max_length=4096, description="The prompt.")
    expect: str = Field(default="", max_length=1024, description="Text that the answer must contain.")
    pattern: str = Field(
        default="", max_length=1024, description="Regular expression (RE2) that the answer must match."
    )
    max_tokens: int = Field(default=32, ge=1, le=256, description="Length of the answer in tokens.")
    chat: bool = Field(default=True, description="True asks as a user's message; false has plain text completed.")


class VerifySpec(ApiModel):
    """What a group is asked before it gets requests."""

    golden: tuple[GoldenSpec, ...] = Field(
        default=(), max_length=32, description="Prompts whose greedy answers are known."
    )
    quality_texts: tuple[Text, ...] = Field(
        default=(),
        max_length=16,
        description="Texts whose mean log-probability is measured; empty means built-in ones in several languages.",
    )
    max_quality_drop: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="By how much the mean log-probability (nats per token) may be below that of the weights before.",
    )
    agreement: bool = Field(
        default=True, description="Whether groups on the same weights must give the same greedy answer."
    )

    def asked(self) -> Verify:
        """What is sent to the cells."""
        golden = tuple(
            GoldenPrompt(
                prompt=one.prompt, expect=one.expect, pattern=one.pattern, max_tokens=one.max_tokens, chat=one.chat
            )
            for one in self.golden
        )
        return Verify(golden=golden, quality_texts=self.quality_texts)
