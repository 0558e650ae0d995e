"""The CustomResourceDefinition of LlamaDeployment, from the models."""

from typing import Any, Final

from llama_operator.api.rules import Rule, rules
from llama_operator.api.schema import Schema, structural_schema
from llama_operator.api.spec import LlamaDeploymentSpec
from llama_operator.api.status import LlamaDeploymentStatus
from llama_operator.api.types import KIND, PLURAL, VERSION
from llama_serving.config.names import API_GROUP

# The longest name made from the object's: {name}-{revision: 8}-{group: up to 4}-{stage: up to 3}, a DNS label of
# at most 63 characters.
MAX_NAME: Final = 63 - len("-12345678-1234-123")

_NAME_RULES: Final = (
    Rule(
        f"size(self.metadata.name) <= {MAX_NAME}",
        f"metadata.name must have at most {MAX_NAME} characters, because pods are named "
        "{name}-{revision}-{group}-{stage} and a pod's name in DNS ends at 63",
        shown="{self.metadata.name} has {size(self.metadata.name)}",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and hold only lower-case letters, digits and '-', "
        "because the Service that users call has the same name",
        shown="it is {self.metadata.name}",
    ),
)

_SERVED_NAME: Final = "({0}.spec.model.servedName == '' ? {0}.metadata.name : {0}.spec.model.servedName)"

# Every request names the model: while old and new groups serve side by side, half of them would be answered with 404.
_SERVED_NAME_STAYS: Final = Rule(
    f"{_SERVED_NAME.format('self')} == {_SERVED_NAME.format('oldSelf')}",
    "model.servedName cannot change, because clients name it in every request: "
    "create a second LlamaDeployment with the new name, move the clients, then delete this one",
    field="spec.model.servedName",
)

_COLUMNS: Final = (
    ("Groups", "string", ".status.groupsReady", "Ready and desired groups", 0),
    ("Weights", "string", ".status.weights", "Weights that the ready groups answer with", 0),
    ("Reason", "string", ".status.reason", "What it waits for", 0),
    ("Age", "date", ".metadata.creationTimestamp", "", 0),
    ("Message", "string", ".status.message", "Sentence for the reason", 1),
    ("Model", "string", ".spec.model.source", "Source of the model", 1),
)


def llama_deployment_crd() -> dict[str, Any]:
    """The whole definition, as the API server takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{API_GROUP}"},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["lld"],
                "categories": ["all"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Schema:
    return {
        "description": "A Llama model served by groups of pods behind a gateway.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(LlamaDeploymentSpec),
            "status": structural_schema(LlamaDeploymentStatus),
        },
        **rules(*_NAME_RULES, _SERVED_NAME_STAYS),
    }


def _column(name: str, kind: str, path: str, description: str, priority: int) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    return {**column, "priority": priority} if priority else column
