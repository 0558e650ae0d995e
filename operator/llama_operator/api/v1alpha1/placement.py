"""Where the stages of a group may run, and which labels and annotations pods have."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import NAME, QUALIFIED_NAME, matches
from llama_operator.api.crdgen.pod_rules import annotation_rules, label_rules
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.names import DNS_SUBDOMAIN

# Bounded so that the API server can bound the cost of the rules.
LabelValue = Annotated[str, Field(max_length=63)]
AnnotationValue = Annotated[str, Field(max_length=16_384)]
_MOST_PAIRS: Final = 32


def selector_rules(field: str) -> tuple[Rule, ...]:
    """Return the rules of a node selector; ``field`` is what the user calls it."""
    return (
        Rule(
            f"self.all(key, {matches(QUALIFIED_NAME, 'key')})",
            f"{field} must have label names as keys, such as topology.kubernetes.io/zone",
        ),
        Rule(
            f"self.all(key, self[key] == '' || {matches(NAME, 'self[key]')})",
            f"{field} must have label values: letters, digits and -_. that begin and end with a letter or digit",
        ),
    )


# Items of a list have no defaults in the CRD, so a rule asks for each field with its default.
_TOLERATION_RULES: Final = (
    Rule(
        "self.?operator.orValue('Equal') != 'Exists' || self.?value.orValue('') == ''",
        "placement.tolerations: value must be empty when operator is Exists",
        shown="key is {self.?key.orValue('')}, value is {self.?value.orValue('')}",
        field="value",
    ),
    Rule(
        "self.?key.orValue('') != '' || self.?operator.orValue('Equal') == 'Exists'",
        "placement.tolerations: operator must be Exists when key is empty, which tolerates every taint",
        field="operator",
    ),
    Rule(
        "!has(self.tolerationSeconds) || self.?effect.orValue('') == 'NoExecute'",
        "placement.tolerations: tolerationSeconds needs effect NoExecute",
        shown="key is {self.?key.orValue('')}",
        field="effect",
    ),
)

_KEY_RULE: Final = Rule(
    f"self == '' || {matches(QUALIFIED_NAME)}",
    "placement.tolerations: key must be the name of a taint, such as nvidia.com/gpu",
)

_PRIORITY_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "placement.priorityClassName must be the name of a PriorityClass: lower-case letters, digits, '-' and '.'",
)


class Toleration(ApiModel):
    """A toleration of a node's taint, as in a pod's spec."""

    model_config = ConfigDict(json_schema_extra=rules(*_TOLERATION_RULES))

    key: str = Field(
        default="", max_length=316, description="The taint's key. If empty, every taint.",
        json_schema_extra=rules(_KEY_RULE),
    )  # fmt: skip
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="Whether the value counts.")
    value: str = Field(default="", max_length=63, description="The taint's value, for operator Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="The taint's effect. If empty, every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="Seconds that a pod stays on a node after a taint NoExecute was added."
    )


class PlacementSpec(ApiModel):
    """Node selection of the stage pods."""

    node_selector: dict[str, LabelValue] = Field(
        default={},
        description="Labels that a node must have.",
        json_schema_extra=rules(*selector_rules("placement.nodeSelector"), maxProperties=32),
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32, description="Tolerations of the stage pods.")
    spread_stages: bool = Field(
        default=False, description="Stages of a group must run on different nodes; pods stay pending until they can."
    )
    scheduling: Literal["gang", "perPod"] = Field(
        default="gang",
        description="gang: the pods of a group are given to the scheduler together, once all of them fit. "
        "perPod: each pod as soon as it is created, for a cluster that adds nodes for pending pods.",
    )
    priority_class_name: str = Field(
        default="",
        max_length=253,
        description="PriorityClass of the stage pods. If empty, the cluster's default.",
        json_schema_extra=rules(_PRIORITY_RULE),
    )


class PodMetadata(ApiModel):
    """Labels and annotations of the stage pods and the gateway pods."""

    labels: dict[str, LabelValue] = Field(
        default={},
        description="Labels, beside the operator's own.",
        json_schema_extra=rules(*label_rules("podTemplate.labels"), maxProperties=_MOST_PAIRS),
    )
    annotations: dict[str, AnnotationValue] = Field(
        default={},
        description="Annotations, beside the operator's own.",
        json_schema_extra=rules(*annotation_rules("podTemplate.annotations"), maxProperties=_MOST_PAIRS),
    )

    def over(self, other: "PodMetadata") -> "PodMetadata":
        """Return both; of a key that both have, the value of this one."""
        return PodMetadata(
            labels={**other.labels, **self.labels}, annotations={**other.annotations, **self.annotations}
        )
