"""What the operator saw: the status of a LlamaDeployment. Written by one function, once per pass, only if different."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from llama_operator.api.base import ApiModel, Timestamp
from llama_serving.config.model import ModelFacts


class Condition(ApiModel):
    """A condition, shaped as metav1.Condition."""

    type: str = Field(max_length=316, description="Available, Progressing or Degraded.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=1024, description="Machine word for why.")
    message: str = Field(max_length=32768, description="Sentence with numbers for why.")
    last_transition_time: Timestamp = Field(description="When status last changed.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this speaks of.")


class GroupStatus(ApiModel):
    """One group as it was seen."""

    ordinal: int = Field(ge=0, description="Number of the group.")
    name: str = Field(description="Name that the group's pods begin with.")
    revision: str = Field(description="Revision that the group's pods were made from.")
    state: str = Field(description="Where the group stands, in one word.")
    reason: str = Field(default="", description="Machine word for why it stands there.")
    message: str = Field(default="", description="Sentence with numbers for why it stands there.")
    nodes: tuple[str, ...] = Field(default=(), description="Node of each stage; empty while it has none.")
    weights: str = Field(default="", description="Weights that the group answers with; empty before it does.")
    since: Timestamp | None = Field(default=None, description="Since when it is in this state.")


class ModelFactsStatus(ModelFacts):
    """The inspector's facts in the spelling of the API."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class ModelStatus(ApiModel):
    """What the inspector found in the model's folder."""

    key: str = Field(description="Hash of the source and revision that were inspected.")
    outcome: Literal["", "accepted", "refused"] = Field(default="", description="Empty while it is not known.")
    reason: str = Field(default="", description="Machine word for the outcome.")
    message: str = Field(default="", description="Sentence for the outcome.")
    facts: ModelFactsStatus | None = Field(default=None, description="What config.json and the weights say.")


class LlamaDeploymentStatus(ApiModel):
    """What was seen at the last pass."""

    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this status speaks of.")
    replicas: int = Field(default=0, ge=0, description="Groups that have pods.")
    ready_replicas: int = Field(default=0, ge=0, description="Groups that get requests.")
    groups_ready: str = Field(default="", description="Ready and desired groups, such as 1/2.")
    selector: str = Field(default="", description="Label selector of the groups' leaders, for kubectl scale.")
    weights: str = Field(default="", description="Weights that all ready groups answer with, or a list of them.")
    reason: str = Field(default="", description="Machine word for what it waits for, or Serving.")
    message: str = Field(default="", description="Sentence with numbers for reason.")
    model: ModelStatus | None = Field(default=None, description="What the inspector found in the model's folder.")
    groups: tuple[GroupStatus, ...] = Field(
        default=(),
        description="The groups.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Available, Progressing and Degraded.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
