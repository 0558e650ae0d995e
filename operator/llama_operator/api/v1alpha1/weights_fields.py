"""What names some weights, and the right to them: the fields that a LlamaDeployment and a LlamaWeights share."""

from pydantic import Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.crdgen.source_rules import source_forms, source_rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_serving.config.names import DNS_SUBDOMAIN

FieldRules = dict[str, tuple[Rule, ...]]


def revision_rule(field: str) -> Rule:
    """Return what a revision may be made of: it becomes part of a path, a header and an argument."""
    return Rule(
        "self.matches('^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._+/-]*)$') && "
        "!self.split('/').exists(part, part in ['', '.', '..'])",
        f"{field} must be made of letters, digits and ._+/- and begin with a letter or digit, without '.' or '..' "
        "between slashes: name a commit, a tag that stays, a date or a digest (sha256:...)",
    )


def license_rule(field: str) -> Rule:
    """Return that a license is a short name, as the Hub has them."""
    return Rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
        f"{field} must be the license's short name, such as llama3.1 or apache-2.0",
    )


def accepted_rule(field: str) -> Rule:
    """Return that nothing is fetched and nothing runs under a license that nobody accepted."""
    return Rule(
        "self.acceptLicense",
        f"{field} must be true: read the model's license, and accept it if you agree",
        field="acceptLicense",
        shown="the license is {self.license}",
    )


def credentials_rule(field: str) -> Rule:
    """Return that it is the name of a Secret, or nothing."""
    return Rule(
        f"self == '' || {matches(DNS_SUBDOMAIN)}",
        f"{field} must be the name of a Secret of the same namespace: lower-case letters, digits, '-' and '.'",
    )


def account_rule(field: str) -> Rule:
    """Return that it is the name of a ServiceAccount, or nothing."""
    return Rule(
        f"self == '' || {matches(DNS_SUBDOMAIN)}",
        f"{field} must be the name of a ServiceAccount of the same namespace: lower-case letters, digits, '-' and '.'",
    )


def digest_rule(field: str) -> Rule:
    """Return that it is the digest of a manifest, or nothing."""
    return Rule(
        "self == '' || self.matches('^sha256:[0-9a-f]{64}$')",
        f"{field} must be sha256: and 64 hexadecimal digits, as a LlamaWeights shows it in status.digest",
    )


class WeightsFields(ApiModel):
    """The shared fields. Each kind adds rules with ``field_rules``: their sentences name the field as its users do."""

    source: str = Field(
        min_length=1,
        max_length=1024,
        description="Where the model's folder is: pvc://claim/path of the same namespace, readable from every node "
        f"that runs a stage; or {source_forms()}. {{revision}} in a path stands for revision.",
    )
    revision: str = Field(
        min_length=1,
        max_length=128,
        description="Name of this version of the weights that does not move: a commit, a tag that stays, a date or a "
        "digest. Responses carry it in the header x-llama-weights.",
    )
    license: str = Field(
        min_length=1,
        max_length=64,
        description="Short name of the model's license, such as llama3.1 or apache-2.0. If the source names another "
        "one, the weights are refused.",
    )
    accept_license: bool = Field(
        default=False,
        description="True says that you have read the license and accept it. Nothing is fetched or run without it.",
    )
    credentials_secret: str = Field(
        default="",
        max_length=253,
        description="Secret of the same namespace with the credentials for the source; keys: docs/reference/weights.md."
        " Only what fetches the weights sees it, never the engine. If empty, none.",
    )
    service_account_name: str = Field(
        default="",
        max_length=253,
        description="ServiceAccount of the same namespace that the cloud lets read the source (workload identity), "
        "instead of credentials in a Secret. Pods have no token of it for the API server, but for the resolver's. If "
        "empty, one that the operator makes, without rights.",
    )
    digest: str = Field(
        default="",
        max_length=71,
        description="Digest that the weights must have (sha256:...), as a LlamaWeights shows it in status.digest. If "
        "empty, the digest found first is pinned.",
    )

    @classmethod
    def shared_rules(cls, prefix: str) -> FieldRules:
        """Return the rules of the shared fields; ``prefix`` is what the user writes before their names."""
        return {
            "source": source_rules(f"{prefix}source"),
            "revision": (revision_rule(f"{prefix}revision"),),
            "license": (license_rule(f"{prefix}license"),),
            "credentials_secret": (credentials_rule(f"{prefix}credentialsSecret"),),
            "service_account_name": (account_rule(f"{prefix}serviceAccountName"),),
            "digest": (digest_rule(f"{prefix}digest"),),
        }

    @classmethod
    def field_rules(cls) -> FieldRules:
        """Return the rules of the shared fields of this kind."""
        return cls.shared_rules("")

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the model's schema with its fields' rules."""
        reference = handler(core)
        properties = handler.resolve_ref_schema(reference)["properties"]
        for name, items in cls.field_rules().items():
            properties[to_camel(name)].update(rules(*items))
        return reference
