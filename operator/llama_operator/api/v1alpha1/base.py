"""What every model of the API shares: the kinds' names; camelCase on the wire, snake_case in Python, frozen.

The pydantic models are the only source of the CRD. A model is a border: the API server has checked an object against
the CRD before the operator reads it, so fields that this version does not know are ignored, not an error (an older
operator must be able to read what a newer CRD admitted).
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from llama_serving.config.names import API_GROUP

KIND: Final = "LlamaDeployment"
PLURAL: Final = "llamadeployments"
WEIGHTS_KIND: Final = "LlamaWeights"
WEIGHTS_PLURAL: Final = "llamaweights"
ADAPTERS_KIND: Final = "LlamaAdapter"
ADAPTERS_PLURAL: Final = "llamaadapters"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{API_GROUP}/{VERSION}"

JsonObject = dict[str, Any]


class ApiModel(BaseModel):
    """An object in a LlamaDeployment."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_api(self) -> JsonObject:
        """Return the object as the API server takes it: camelCase, plain JSON types, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _number_to_text(value: object) -> object:
    """``cpu: 4`` and ``cpu: "4"`` mean the same; a bool is no number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rfc3339(value: datetime) -> str:
    """Whole seconds in UTC, as ``metav1.Time`` has them; so a status that was read equals the one that was written."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# A Kubernetes quantity: "500m", "16Gi" or a plain integer. Held as text; see quantity.parse for its number.
Quantity = Annotated[str, BeforeValidator(_number_to_text), WithJsonSchema({"x-kubernetes-int-or-string": True})]

# A short text that a user may write as a number: ``NCCL_IB_GID_INDEX: 3`` and ``"3"`` mean the same.
ShortText = Annotated[
    str,
    BeforeValidator(_number_to_text),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 128}),
]

# An amount in a map: a Quantity whose length is bounded, so that the API server can bound the cost of the rules.
Amount = Annotated[
    str, BeforeValidator(_number_to_text), WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 24})
]

# A moment; written in whole seconds.
Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
