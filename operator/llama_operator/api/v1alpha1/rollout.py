"""How a change reaches the groups: which way, how many at a time, and what is watched before the rest follow."""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel, Timestamp

_SOME_ROOM: Final = Rule(
    "self.maxSurge > 0 || self.maxUnavailable > 0",
    "rollout.maxSurge and rollout.maxUnavailable must not both be 0, or no group could ever be changed: "
    "allow one group more, or one group less",
    field="maxUnavailable",
)

Strategy = Literal["auto", "inPlace", "surge", "drain"]


class CanarySpec(ApiModel):
    """The first groups on a new version, watched before the others follow."""

    groups: int = Field(default=0, ge=0, le=1000, description="Groups that change first. 0 means no canary.")
    seconds: int = Field(default=300, ge=1, le=86_400, description="Time for which they are watched.")
    max_error_rate: float = Field(
        default=0.01, ge=0, le=1, description="Share of requests that may fail on the new version in that time."
    )
    max_first_byte_ratio: float = Field(
        default=2.0,
        ge=1,
        le=1000,
        description="How many times longer the time to the first byte (99th percentile) may be on the new version "
        "than on the old one in the same time. Judged from 20 answers of each on.",
    )


class RolloutSpec(ApiModel):
    """How a change of model, image or layout reaches the groups."""

    model_config = ConfigDict(json_schema_extra=rules(_SOME_ROOM))

    strategy: Strategy = Field(
        default="auto",
        description="inPlace swaps the weights in the running pods; surge starts a new group before an old one "
        "goes; drain takes an old group down before the new one starts. auto takes inPlace when only the weights "
        "change, else surge when the free devices hold one more group, else drain when the groups that stay are "
        "enough for the present load, else it waits, and the status names what is missing. auto never drains the only "
        "group that serves: that outage is yours to allow, with drain.",
    )
    max_surge: int = Field(default=1, ge=0, le=1000, description="Groups above replicas while groups are replaced.")
    max_unavailable: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Groups below replicas that may be out of rotation for the change. With a single group, "
        "requests wait in the gateway meanwhile.",
    )
    min_ready_seconds: int = Field(
        default=0, ge=0, le=86_400, description="Time in rotation after which a changed group counts as available."
    )
    paused: bool = Field(
        default=False, description="True changes no further group; one that is already out of rotation is finished."
    )
    partition: int = Field(
        default=0, ge=0, le=1000, description="Only groups with this ordinal or a higher one are changed."
    )
    restarted_at: Timestamp | None = Field(
        default=None,
        description="RFC 3339 time, such as 2026-01-31T12:00:00Z. Setting or changing it replaces all groups in turn, "
        "as a rollout, and takes in the operator's present default images. Its value has no other meaning.",
    )
    rehearsal: bool = Field(
        default=True,
        description="Before a change that needs new pods touches a group that serves, try what can be tried without "
        "its devices: that the nodes hold the new group, that the API server takes its objects, that its image is "
        "there and takes the configuration. False starts at once.",
    )
    canary: CanarySpec = Field(default=CanarySpec(), description="Groups that change first and are watched.")
