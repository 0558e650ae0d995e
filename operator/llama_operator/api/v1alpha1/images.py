"""The images of a deployment's pods and how they are pulled."""

from typing import Annotated, Final, Literal

from pydantic import Field

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.names import DNS_SUBDOMAIN

_HOST = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*(:[0-9]+)?"
_PART = r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
_REFERENCE = (
    rf"({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)


def _image_rule(field: str) -> Rule:
    return Rule(
        f"self == '' || {matches(_REFERENCE)}",
        f"images.{field} must be an image reference, such as registry.example.com/llama/{field}:1.0, "
        "or empty for the operator's default",
    )


_SECRET_RULE: Final = Rule(
    matches(DNS_SUBDOMAIN),
    "images.pullSecrets must be names of Secrets: lower-case letters, digits, '-' and '.'",
)

SecretName = Annotated[str, Field(min_length=1, max_length=253, json_schema_extra=rules(_SECRET_RULE))]


class ImagesSpec(ApiModel):
    """Images of the pods."""

    serving: str = Field(
        default="",
        max_length=512,
        description="Image of the stage pods. If empty, the operator's default for `device.resource`; groups keep "
        "theirs until their pods change.",
        json_schema_extra=rules(_image_rule("serving")),
    )
    gateway: str = Field(
        default="",
        max_length=512,
        description="Image of the gateway pods. If empty, the operator's default.",
        json_schema_extra=rules(_image_rule("gateway")),
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When a node pulls the images."
    )
    pull_secrets: tuple[SecretName, ...] = Field(
        default=(),
        max_length=8,
        description="Secrets in the same namespace with which the images are pulled.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
