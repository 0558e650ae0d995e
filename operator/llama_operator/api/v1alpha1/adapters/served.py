"""Which LoRA adapters a deployment serves beside its base, and how much room its engines make for them."""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.placement import LabelValue, selector_rules
from llama_serving.config.cell import AdapterLimits
from llama_serving.config.names import DNS_SUBDOMAIN

#: What a name in the OpenAI API is made of.
NAME_IN_API: Final = "[A-Za-z0-9][A-Za-z0-9._:/-]*"
#: Most adapters that a deployment lists.
MOST_LISTED: Final = 256

_NAME_RULE: Final = Rule(
    f"self.matches('^{NAME_IN_API}$')",
    "adapters[].name must be made of letters, digits and ._:/- and begin with a letter or digit, such as support-sql",
)
_OBJECT_RULE: Final = Rule(
    matches(DNS_SUBDOMAIN),
    "adapters[].adapter must be the name of a LlamaAdapter of the same namespace: lower-case letters, digits and '-'",
)
_HOLDS_ITS_SLOTS: Final = Rule(
    "!has(self.slots) || !has(self.held) || self.held >= self.slots",
    "adapterLimits.held must not be less than adapterLimits.slots: an adapter in device memory also lies in the pod's",
    field="held",
)
_SELECTS: Final = Rule(
    "size(self.matchLabels) > 0",
    "adapterSelector.matchLabels must name at least one label, or every LlamaAdapter of the namespace would be served",
    field="matchLabels",
)


class ServedAdapter(ApiModel):
    """A LoRA adapter and its name in the OpenAI API."""

    name: str = Field(
        min_length=1,
        max_length=128,
        description="Its name in the OpenAI API: what requests give as model.",
        json_schema_extra=rules(_NAME_RULE),
    )
    adapter: str = Field(
        min_length=1,
        max_length=253,
        description="LlamaAdapter of the same namespace. Another one here is another version under the same name.",
        json_schema_extra=rules(_OBJECT_RULE),
    )


class AdapterSelector(ApiModel):
    """Further adapters: every LlamaAdapter of the namespace with these labels."""

    model_config = ConfigDict(json_schema_extra=rules(_SELECTS))

    match_labels: dict[str, LabelValue] = Field(
        default={},
        description="Labels that a LlamaAdapter must have. Its name in the OpenAI API is its annotation "
        "llama-operator.dev/served-name, else its own name.",
        json_schema_extra=rules(*selector_rules("adapterSelector.matchLabels"), maxProperties=8),
    )


class AdapterLimitsSpec(ApiModel):
    """Room for adapters in each engine. A change replaces the groups, one after the other."""

    model_config = ConfigDict(json_schema_extra=rules(_HOLDS_ITS_SLOTS))

    slots: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Adapters that one step of the engine may use, each with room in device memory. If absent, 4, and "
        "8 with more than four adapters.",
    )
    held: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Adapters that a group holds at a time. If absent, 16, 32 or 64 by the number of adapters.",
    )
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] | None = Field(
        default=None,
        description="Highest rank that has room. If absent, that of the adapters in steps of the engine, 16 to 64; an "
        "adapter of a higher rank is left out until it is set.",
    )

    def limits(self) -> AdapterLimits | None:
        """Return what the cells are told; None where a value is not decided."""
        if self.slots is None or self.held is None or self.max_rank is None:
            return None
        return AdapterLimits(slots=self.slots, held=self.held, max_rank=self.max_rank)


class AdapterLimitsStatus(ApiModel):
    """Room for adapters in each engine, of the spec or by the adapters that there are."""

    slots: int = Field(ge=1, description="Adapters that one step of the engine may use.")
    held: int = Field(ge=1, description="Adapters that a group holds at a time.")
    max_rank: int = Field(ge=1, description="Highest rank that has room.")


class ServedAdapterStatus(ApiModel):
    """How far one adapter is."""

    name: str = Field(description="Its name in the OpenAI API.")
    adapter: str = Field(description="Name of the LlamaAdapter.")
    digest: str = Field(default="", description="Digest of the adapter; empty before it is resolved.")
    id: str = Field(default="", description="Name of these bytes: revision and digest.")
    rank: int = Field(default=0, ge=0, description="Its highest rank; 0 before it is resolved.")
    state: Literal["Resolving", "LeftOut", "Loading", "Ready"] = Field(
        description="Ready: every group that serves has verified it. LeftOut: no group gets it."
    )
    reason: str = Field(default="", description="Machine word for why it is not ready.")
    message: str = Field(default="", description="Sentence with numbers for why.")
    groups_ready: str = Field(default="", description="Groups that have verified it and groups that there are.")
