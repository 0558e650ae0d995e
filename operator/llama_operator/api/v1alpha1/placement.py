"""Where the stages of a group may run, which networks, labels and annotations pods have."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import NAME, QUALIFIED_NAME, matches
from llama_operator.api.crdgen.pod_rules import annotation_rules, label_rules, network_rules
from llama_operator.api.crdgen.rules import Rule, one_of, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.names import DNS_SUBDOMAIN

# Bounded so that the API server can bound the cost of the rules.
LabelValue = Annotated[str, Field(max_length=63)]
AnnotationValue = Annotated[str, Field(max_length=16_384)]
NetworkValue = Annotated[str, Field(max_length=2048)]
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


_RUNTIME_CLASS_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "placement.runtimeClassName must be the name of a RuntimeClass: lower-case letters, digits, '-' and '.'",
)

_SCHEDULER_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "placement.schedulerName must be the name of a scheduler: lower-case letters, digits, '-' and '.'",
)

_OF_KUBERNETES: Final = ("kubernetes.io/hostname", "topology.kubernetes.io/zone", "topology.kubernetes.io/region")


def _topology_rule(field: str) -> Rule:
    """Return that it is a label by which nodes are near each other, or nothing."""
    reserved = "self.split('/')[0].matches('^(.*[.])?(kubernetes|k8s)[.]io$')"
    return Rule(
        f"self == '' || ({matches(QUALIFIED_NAME)} && self.contains('/') && "
        f"(!{reserved} || self in {one_of(_OF_KUBERNETES)}))",
        f"placement.{field} must be a label of nodes with a domain, such as nvidia.com/gpu.clique or "
        f"example.com/rack; of Kubernetes' own only {', '.join(_OF_KUBERNETES)}",
    )


# Items of a list have no defaults in the CRD.
_EXPRESSION_RULES: Final = (
    Rule(
        "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
        "placement.nodeAffinity: values must not be empty with operator In or NotIn",
        shown="key is {self.key}",
        field="values",
    ),
    Rule(
        "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
        "placement.nodeAffinity: values must be empty with operator Exists or DoesNotExist",
        shown="key is {self.key}",
        field="values",
    ),
    Rule(
        "!(self.operator in ['Gt', 'Lt']) || "
        "(has(self.values) && size(self.values) == 1 && self.values[0].matches('^-?[0-9]{1,18}$'))",
        "placement.nodeAffinity: values must be one whole number with operator Gt or Lt",
        shown="key is {self.key}",
        field="values",
    ),
)

_EXPRESSION_VALUE_RULE: Final = Rule(
    f"self == '' || {matches(f'-?[0-9]+|{NAME}')}",
    "placement.nodeAffinity: values must be label values: letters, digits and -_. that begin and end with a letter or "
    "digit",
)

_EXPRESSION_KEY_RULE: Final = Rule(
    matches(QUALIFIED_NAME),
    "placement.nodeAffinity: key must be the name of a label, such as topology.kubernetes.io/zone",
)


ComparedValue = Annotated[str, Field(max_length=63, json_schema_extra=rules(_EXPRESSION_VALUE_RULE))]


class NodeExpression(ApiModel):
    """A condition on one label of a node."""

    model_config = ConfigDict(json_schema_extra=rules(*_EXPRESSION_RULES))

    key: str = Field(
        min_length=1, max_length=316, description="The label.", json_schema_extra=rules(_EXPRESSION_KEY_RULE)
    )
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How the label's value is compared. Gt and Lt compare whole numbers."
    )
    values: tuple[ComparedValue, ...] = Field(default=(), max_length=16, description="What it is compared with.")


class NodeTerm(ApiModel):
    """Conditions that a node must meet all."""

    match_expressions: tuple[NodeExpression, ...] = Field(min_length=1, max_length=8, description="The conditions.")


class PreferredNodeTerm(NodeTerm):
    """Conditions for which a node is preferred."""

    weight: int = Field(ge=1, le=100, description="How much, beside the other terms.")


class NodeAffinity(ApiModel):
    """Which nodes a stage pod may have, and which it should have."""

    required: tuple[NodeTerm, ...] = Field(
        default=(), max_length=8, description="A node must meet one of these terms; without a term, every node does."
    )
    preferred: tuple[PreferredNodeTerm, ...] = Field(
        default=(), max_length=8, description="The scheduler prefers nodes that meet these terms."
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
    runtime_class_name: str = Field(
        default="",
        max_length=253,
        description="RuntimeClass of the stage pods, such as nvidia where that is not the nodes' default. If empty, "
        "the nodes' default.",
        json_schema_extra=rules(_RUNTIME_CLASS_RULE),
    )
    scheduler_name: str = Field(
        default="",
        max_length=253,
        description="Scheduler that places the stage pods. If empty, the cluster's default.",
        json_schema_extra=rules(_SCHEDULER_RULE),
    )
    node_affinity: NodeAffinity = Field(
        default=NodeAffinity(), description="Which nodes a stage pod may and should have, beyond nodeSelector."
    )
    stages_together: str = Field(
        default="",
        max_length=316,
        description="Label of nodes, such as nvidia.com/gpu.clique: the scheduler prefers nodes with one value of it "
        "for the stages of a group. If empty, no preference.",
        json_schema_extra=rules(_topology_rule("stagesTogether")),
    )
    groups_apart: str = Field(
        default="",
        max_length=316,
        description="Label of nodes, such as topology.kubernetes.io/zone: the scheduler prefers different values of it "
        "for the groups of this deployment. If empty, no preference.",
        json_schema_extra=rules(_topology_rule("groupsApart")),
    )


class NetworkSpec(ApiModel):
    """Further networks of the stage pods."""

    annotations: dict[str, NetworkValue] = Field(
        default={},
        description="Annotations by which a network plug-in gives a pod more interfaces: k8s.v1.cni.cncf.io/networks "
        "(Multus), networking.gke.io/interfaces and networking.gke.io/default-interface. Networks are those of the "
        "same namespace.",
        json_schema_extra=rules(*network_rules("network.annotations"), maxProperties=4),
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
