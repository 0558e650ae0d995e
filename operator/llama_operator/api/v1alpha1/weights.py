"""Which weights are wanted: the spec of a LlamaWeights. What names them cannot change; who may fetch them can."""

import hashlib
import json
from typing import ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, one_of, rules
from llama_operator.api.crdgen.source_rules import is_moving
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.images import SecretName
from llama_operator.api.v1alpha1.placement import LabelValue, Toleration, selector_rules
from llama_operator.api.v1alpha1.weights_fields import FieldRules, WeightsFields, accepted_rule
from llama_serving.config.source import VERSIONED

_ANOTHER: Final = "cannot change, because it names the weights: make another LlamaWeights"


def _stays(field: str, another: str = _ANOTHER) -> Rule:
    return Rule("self == oldSelf", f"{field} {another}")


# A source without revisions of its own cannot say what a moving name means.
_MOVES_ONLY_WHERE_IT_IS_RESOLVED: Final = Rule(
    f"self.source.split('://', 2)[0] in {one_of(VERSIONED)} || !{is_moving('self.revision')}",
    "revision may only be a moving name such as main or latest with hf:// and oci://, where it is resolved once: "
    "name a tag that stays or a date",
    field="revision",
    shown="it is {self.revision}",
)


class ResolverPlacement(ApiModel):
    """Node selection of the resolver's pod; a volume may be bound to some nodes."""

    node_selector: dict[str, LabelValue] = Field(
        default={},
        description="Labels that a node must have.",
        json_schema_extra=rules(*selector_rules("placement.nodeSelector"), maxProperties=32),
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32, description="Tolerations of the pod.")


class ResolverImages(ApiModel):
    """How the image of the resolver's pod is pulled; it is the operator's own."""

    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the image."
    )
    pull_secrets: tuple[SecretName, ...] = Field(
        default=(),
        max_length=8,
        description="Secrets in the same namespace with which the image is pulled.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class ResolvedSpec(WeightsFields):
    """What a resolver's Job reads: one revision at a source. What names it cannot change."""

    model_config = ConfigDict(json_schema_extra=rules(accepted_rule("acceptLicense"), _MOVES_ONLY_WHERE_IT_IS_RESOLVED))
    another: ClassVar[str] = _ANOTHER

    revision: str = Field(
        min_length=1,
        max_length=128,
        description="Commit, tag, version, date or digest. With hf:// and oci:// also a moving name such as main: "
        "status.resolvedRevision is what it meant when it was resolved.",
    )
    placement: ResolverPlacement = Field(default=ResolverPlacement(), description="Where the resolver's pod may run.")
    images: ResolverImages = Field(default=ResolverImages(), description="How its image is pulled.")

    @classmethod
    def field_rules(cls) -> FieldRules:
        """Return the shared rules, and that what names the weights cannot change."""
        shared = cls.shared_rules("")
        return shared | {name: (*shared[name], _stays(name, cls.another)) for name in ("source", "revision", "digest")}


class LlamaWeightsSpec(ResolvedSpec):
    """The desired state: one revision of weights at a source, resolved before any GPU is requested."""

    check: Literal["full", "listing"] = Field(
        default="full",
        description="full reads every byte once and takes the sha256 of each file and tensor; listing trusts the "
        "sha256 that the source lists (hf, oci, or a file SHA256SUMS).",
        json_schema_extra=rules(_stays("check")),
    )


def content_of(model: WeightsFields) -> str:
    """Return ten hexadecimal digits for what names the weights, and for the right to them.

    Another license is resolved anew.

    Forty bits, so that two of a million objects rarely share a name.
    """
    fields = [model.source, model.revision, model.license, model.credentials_secret, model.digest]
    if model.service_account_name:  # only then, so that weights of before keep their names
        fields.append(model.service_account_name)
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:10]
