"""Which model is served. A model is data: a source, a revision that does not move, a license that was accepted."""

from typing import Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import DNS_SUBDOMAIN, matches
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.source import is_moving, source_rules


def revision_rule(field: str) -> Rule:
    """What a revision may be made of: it becomes part of a path, a header and an argument."""
    return Rule(
        "self.matches('^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._+/-]*)$') && "
        "!self.split('/').exists(part, part in ['', '.', '..'])",
        f"{field} must be made of letters, digits and ._+/- and begin with a letter or digit, without '.' or '..' "
        "between slashes: name a commit, a tag that stays, a date or a digest (sha256:...)",
    )


_MOVING_RULE: Final = Rule(
    f"!{is_moving()}",
    "model.revision must not move: name a commit, a tag that stays or a date, so that every group and every "
    "restart serves the same weights",
)

_SERVED_NAME_RULE: Final = Rule(
    "self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._:/-]*$')",
    "model.servedName must be made of letters, digits and ._:/- and begin with a letter or digit, "
    "such as meta-llama/Llama-3.1-8B-Instruct",
)


def license_rule(field: str) -> Rule:
    """A license is a short name, as the Hub has them."""
    return Rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
        f"{field} must be the license's short name, such as llama3.1 or apache-2.0",
    )


def accepted_rule(field: str) -> Rule:
    """Nothing is fetched and nothing runs under a license that nobody accepted."""
    return Rule(
        "self.acceptLicense",
        f"{field} must be true: read the model's license, and accept it if you agree",
        field="acceptLicense",
        shown="the license is {self.license}",
    )


def credentials_rule(field: str) -> Rule:
    """The name of a Secret, or nothing."""
    return Rule(
        f"self == '' || {matches(DNS_SUBDOMAIN)}",
        f"{field} must be the name of a Secret of the same namespace: lower-case letters, digits, '-' and '.'",
    )


def digest_rule(field: str) -> Rule:
    """The digest of a manifest, or nothing."""
    return Rule(
        "self == '' || self.matches('^sha256:[0-9a-f]{64}$')",
        f"{field} must be sha256: and 64 hexadecimal digits, as a LlamaWeights shows it in status.digest",
    )


class ModelSpec(ApiModel):
    """The model: where its folder is, what it is called, and under which license."""

    model_config = ConfigDict(json_schema_extra=rules(accepted_rule("model.acceptLicense")))

    source: str = Field(
        min_length=1,
        max_length=1024,
        description="Where the model's folder is: pvc://claim/path of the same namespace, readable from every node "
        "that runs a stage; or hf://owner/repository, s3://bucket/path, gs://bucket/path, az://account/container/path, "
        "http(s)://host/path, oci://registry/repository. {revision} in a path stands for revision.",
        json_schema_extra=rules(*source_rules("model.source")),
    )
    revision: str = Field(
        min_length=1,
        max_length=128,
        description="Name of this version of the weights that does not move: a commit, a tag that stays, a date or a "
        "digest. Responses carry it in the header x-llama-weights.",
        json_schema_extra=rules(revision_rule("model.revision"), _MOVING_RULE),
    )
    served_name: str = Field(
        default="",
        max_length=128,
        description="The model's name in the OpenAI API. Empty means the name of this object. Cannot change.",
        json_schema_extra=rules(_SERVED_NAME_RULE),
    )
    license: str = Field(
        min_length=1,
        max_length=64,
        description="Short name of the model's license, such as llama3.1 or apache-2.0.",
        json_schema_extra=rules(license_rule("model.license")),
    )
    accept_license: bool = Field(
        default=False, description="True says that you have read the license and accept it. Nothing runs without it."
    )
    credentials_secret: str = Field(
        default="",
        max_length=253,
        description="Secret of the same namespace with the source's credentials; keys: docs/reference/weights.md. "
        "Only what fetches the weights sees it, never the engine. Empty means none.",
        json_schema_extra=rules(credentials_rule("model.credentialsSecret")),
    )
    digest: str = Field(
        default="",
        max_length=71,
        description="Digest that the weights must have (sha256:...), as a LlamaWeights shows it. Empty means that the "
        "first look decides.",
        json_schema_extra=rules(digest_rule("model.digest")),
    )
