"""How many groups there may be and what for: limits, what a request may wait, windows, known peaks.

The operator never writes the spec: the number that it decided stands in ``status.autoscaling``.
"""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
DAYS: Final[tuple[Day, ...]] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_ORDER: Final = Rule(
    "self.minReplicas <= self.maxReplicas",
    "autoscaling.minReplicas must not exceed autoscaling.maxReplicas: lower the one or raise the other",
    shown="minReplicas is {self.minReplicas}, maxReplicas is {self.maxReplicas}",
    field="minReplicas",
)

_SCHEDULES_FIT: Final = Rule(
    "self.schedules.all(one, one.minReplicas <= self.maxReplicas)",
    "autoscaling.schedules: minReplicas of each must not exceed autoscaling.maxReplicas, which also holds in a "
    "schedule's hours: raise maxReplicas, or ask for fewer groups",
    shown="maxReplicas is {self.maxReplicas}",
    field="schedules",
)

_WINDOWS: Final = Rule(
    "!has(self.panicSeconds) || !has(self.stableSeconds) || self.panicSeconds < self.stableSeconds",
    "autoscaling.windows.panicSeconds must be less than stableSeconds: the short window sees a jump, the long one "
    "decides on groups that go; remove one of them to have it computed",
    field="panicSeconds",
)


def _clock(field: str) -> Rule:
    return Rule(
        "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",
        f"autoscaling.schedules: {field} must be a time of day of 24 hours, such as 08:00 or 20:30",
    )


_ZONE: Final = Rule(
    "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')",
    "autoscaling.schedules: timeZone must be a name of the IANA time zone database, such as Europe/Berlin or UTC",
)


class ScheduleSpec(ApiModel):
    """Hours with a higher minimum of groups."""

    name: str = Field(
        min_length=1, max_length=63, description="Purpose of the schedule; the reason of a decision names it."
    )
    time_zone: str = Field(
        default="UTC",
        max_length=64,
        description="IANA time zone of the hours, such as Europe/Berlin; they follow its summer time.",
        json_schema_extra=rules(_ZONE),
    )
    days: tuple[Day, ...] = Field(
        default=DAYS,
        min_length=1,
        max_length=7,
        description="Days on which it begins.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    begin: str = Field(
        alias="from",
        max_length=5,
        description="When it begins, such as 08:00.",
        json_schema_extra=rules(_clock("from")),
    )
    end: str = Field(
        alias="to",
        max_length=5,
        description="When it ends, such as 20:00; not later than from means on the next day.",
        json_schema_extra=rules(_clock("to")),
    )
    min_replicas: int = Field(ge=0, le=1000, description="Fewest groups in these hours.")


class TargetSpec(ApiModel):
    """Targets from which the number of groups is computed."""

    wait_seconds: float = Field(
        default=5, ge=1, le=3600, description="Longest wait for a group that a request shall have."
    )
    share: float = Field(
        default=0.99, ge=0.5, le=0.9999, description="Share of the requests that shall wait no longer, such as 0.99."
    )
    prefer: Literal["share", "cost"] = Field(
        default="share",
        description="What counts where the load is so uneven that the share takes more groups than the formula asks "
        "for. share: they are ordered. cost: they are not, and the status says what the share would take.",
    )
    in_flight_per_group: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Requests in flight that a group shall have. If absent, as many as waitSeconds allows.",
    )


class WindowsSpec(ApiModel):
    """Windows over which load is averaged. If absent, computed from the measured start time of a group."""

    model_config = ConfigDict(json_schema_extra=rules(_WINDOWS))

    stable_seconds: int | None = Field(
        default=None, ge=2, le=86_400, description="Load must be lower for this long before a group is removed."
    )
    panic_seconds: int | None = Field(
        default=None, ge=1, le=86_400, description="A jump of load is noticed within this time."
    )
    cooldown_seconds: int | None = Field(
        default=None, ge=0, le=86_400, description="Time after a change before a group is removed."
    )


class AutoscalingSpec(ApiModel):
    """Groups by load. If absent, ``replicas`` is the number, and others may use the scale subresource."""

    model_config = ConfigDict(json_schema_extra=rules(_ORDER, _SCHEDULES_FIT))

    min_replicas: int = Field(
        default=1, ge=0, le=1000, description="Fewest groups. With 0 the last one goes after idleAfterSeconds."
    )
    max_replicas: int = Field(ge=1, le=1000, description="Most groups.")
    target: TargetSpec = Field(default=TargetSpec(), description="Targets from which the number of groups is computed.")
    windows: WindowsSpec = Field(default=WindowsSpec(), description="Windows over which load is averaged.")
    idle_after_seconds: int = Field(
        default=600, ge=1, le=604_800, description="Time without any request after which the last group goes."
    )
    max_scale_up: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Groups that one decision adds at most. If absent, as many as there are, at least 4.",
    )
    warm_groups: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Groups whose claims (staging.volumeClaimTemplate) stay, with the weights in them, when their pods "
        "go. They cost storage at zero groups and save the staging of the next start.",
    )
    rule: Literal["learned", "formula"] = Field(
        default="learned",
        description="What decides. learned: of many rules, the one that would have kept the target with the load so "
        "far for the fewest groups. formula: always the formula, as where windows or inFlightPerGroup are set.",
    )
    memory_seconds: int = Field(
        default=14_400,
        ge=3600,
        le=604_800,
        description="Time after which a request counts 1/e when a rule is chosen. A longer one keeps the target better "
        "with rare bursts, and is slower to save groups when they have ended.",
    )
    schedules: tuple[ScheduleSpec, ...] = Field(
        default=(),
        max_length=20,
        description="Known peaks: hours in which more groups are there than load asks for.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
