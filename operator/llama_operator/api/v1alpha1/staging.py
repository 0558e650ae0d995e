"""Where weights that are brought into a stage pod lie; those of a claim (pvc://) are served where they are."""

from typing import Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.quantity import quantity_rules
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel, Quantity
from llama_serving.config.names import DNS_SUBDOMAIN

_ONE_VOLUME: Final = Rule(
    "!has(self.volumeClaimTemplate) || self.sharedClaimName == ''",
    "staging.sharedClaimName and staging.volumeClaimTemplate both say where weights lie: remove one",
    field="sharedClaimName",
)

_LIMIT_OF_EMPTY_DIR: Final = Rule(
    "!has(self.sizeLimit) || (!has(self.volumeClaimTemplate) && self.sharedClaimName == '')",
    "staging.sizeLimit is the limit of the node's disk (emptyDir): with a claim remove it, the claim has its own size",
    field="sizeLimit",
)

_CLAIM_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "staging.sharedClaimName must be the name of a PersistentVolumeClaim: lower-case letters, digits, '-' and '.'",
)

_CLASS_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "staging.volumeClaimTemplate.storageClassName must be the name of a StorageClass: lower-case letters, digits, '-' "
    "and '.'",
)


class ClaimTemplate(ApiModel):
    """A claim for each stage pod, deleted with it."""

    storage_class_name: str = Field(
        default="",
        max_length=253,
        description="StorageClass of the claim. If empty, the cluster's default.",
        json_schema_extra=rules(_CLASS_RULE),
    )
    size: Quantity = Field(
        description="Size of the claim: three times what a stage needs of the weights (present, next, previous).",
        json_schema_extra=rules(
            *quantity_rules(field="staging.volumeClaimTemplate.size", lowest="64Mi", highest="64Ti", hint="200Gi")
        ),
    )


class StagingSpec(ApiModel):
    """The volume for weights in a stage pod. If nothing is set, the node's disk (emptyDir)."""

    model_config = ConfigDict(json_schema_extra=rules(_ONE_VOLUME, _LIMIT_OF_EMPTY_DIR))

    shared_claim_name: str = Field(
        default="",
        max_length=253,
        description="A claim that all stage pods share (ReadWriteMany): one pod downloads, the others verify.",
        json_schema_extra=rules(_CLAIM_RULE),
    )
    volume_claim_template: ClaimTemplate | None = Field(
        default=None, description="A claim for each stage pod, created and deleted with it."
    )
    size_limit: Quantity | None = Field(
        default=None,
        description="Most that weights may take of a node's disk (emptyDir). If absent, no limit.",
        json_schema_extra=rules(
            *quantity_rules(field="staging.sizeLimit", lowest="64Mi", highest="64Ti", hint="200Gi")
        ),
    )
