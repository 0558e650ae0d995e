"""The CustomResourceDefinitions of LlamaDeployment, LlamaWeights and LlamaAdapter, from the models."""

from dataclasses import dataclass
from typing import Any, Final

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.crdgen.schema import Schema, structural_schema
from llama_operator.api.v1alpha1.adapters.adapter import LlamaAdapterSpec
from llama_operator.api.v1alpha1.adapters.adapter_status import LlamaAdapterStatus
from llama_operator.api.v1alpha1.base import (
    ADAPTERS_KIND,
    ADAPTERS_PLURAL,
    KIND,
    PLURAL,
    VERSION,
    WEIGHTS_KIND,
    WEIGHTS_PLURAL,
)
from llama_operator.api.v1alpha1.deployment import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import NOT_OBSERVED, LlamaDeploymentStatus
from llama_operator.api.v1alpha1.weights import LlamaWeightsSpec
from llama_operator.api.v1alpha1.weights_status import LlamaWeightsStatus
from llama_serving.config.names import API_GROUP, MAX_NAME, MAX_WEIGHTS_NAME

_NAME_RULES: Final = (
    Rule(
        f"size(self.metadata.name) <= {MAX_NAME}",
        f"metadata.name must have at most {MAX_NAME} characters, because pods are named "
        "{name}-{pod hash}-{group}-{stage} and a pod's name in DNS ends at 63",
        shown="{self.metadata.name} has {size(self.metadata.name)}",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must begin with a letter and hold only lower-case letters, digits and '-', "
        "because the Service that users call has the same name",
        shown="it is {self.metadata.name}",
    ),
)

_WEIGHTS_NAME_RULES: Final = (
    Rule(
        f"size(self.metadata.name) <= {MAX_WEIGHTS_NAME}",
        f"metadata.name must have at most {MAX_WEIGHTS_NAME} characters, because it is the value of a label and the "
        "first part of a Job's name",
        shown="{self.metadata.name} has {size(self.metadata.name)}",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name of weights must begin with a letter and hold only lower-case letters, digits and '-'",
        shown="it is {self.metadata.name}",
    ),
)

_ADAPTER_NAME_RULES: Final = (
    _WEIGHTS_NAME_RULES[0],
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name of an adapter must begin with a letter and hold only lower-case letters, digits and '-'",
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


_ADAPTERS_HAVE_OTHER_NAMES: Final = Rule(
    f"!has(self.spec.adapters) || self.spec.adapters.all(one, one.name != {_SERVED_NAME.format('self')})",
    "adapters[].name must differ from the model's own name in the OpenAI API (model.servedName, else metadata.name): "
    "give the adapter another name",
    field="spec.adapters",
)


@dataclass(frozen=True)
class _Column:
    """A column of ``kubectl get``; those of priority 1 only with ``-o wide``."""

    name: str
    kind: str
    path: str
    description: str = ""
    priority: int = 0


_COLUMNS: Final = (
    _Column("Groups", "string", ".status.groupsReady", "Ready and desired groups"),
    _Column("Weights", "string", ".status.weights", "Weights that the ready groups answer with"),
    _Column("Reason", "string", ".status.reason", "What it waits for"),
    _Column("Age", "date", ".metadata.creationTimestamp"),
    _Column("Message", "string", ".status.message", "Sentence for the reason", priority=1),
    _Column("Model", "string", ".spec.model.source", "Source of the model", priority=1),
)


_WEIGHTS_COLUMNS: Final = (
    _Column("Bytes", "string", ".status.size", "Bytes of all files"),
    _Column("Digest", "string", ".status.shortDigest", "First digits of the digest that names the weights"),
    _Column("License", "string", ".spec.license", "License that was accepted"),
    _Column("Ready", "boolean", ".status.ready", "Accepted, and the manifest is stored"),
    _Column("Reason", "string", ".status.reason", "Why they were refused, or what they wait for"),
    _Column("Age", "date", ".metadata.creationTimestamp"),
    _Column("Source", "string", ".spec.source", "Where the folder is", priority=1),
    _Column("Revision", "string", ".status.resolvedRevision", "What the revision means at the source", priority=1),
    _Column("Message", "string", ".status.message", "Sentence for the reason", priority=1),
)


_ADAPTER_COLUMNS: Final = (
    _Column("Rank", "integer", ".status.facts.rank", "Highest rank of its matrices"),
    _Column("Bytes", "string", ".status.size", "Bytes of all files"),
    _Column("Digest", "string", ".status.shortDigest", "First digits of the digest that names the adapter"),
    _Column("Ready", "boolean", ".status.ready", "Accepted, and the manifest is stored"),
    _Column("Reason", "string", ".status.reason", "Why it was refused, or what it waits for"),
    _Column("Age", "date", ".metadata.creationTimestamp"),
    _Column("Base", "string", ".status.facts.baseModel", "The model that it was trained on", priority=1),
    _Column("Source", "string", ".spec.source", "Where the folder is", priority=1),
    _Column("Revision", "string", ".status.resolvedRevision", "What the revision means at the source", priority=1),
    _Column("Message", "string", ".status.message", "Sentence for the reason", priority=1),
)


def llama_deployment_crd() -> dict[str, Any]:
    """Return the definition of LlamaDeployment, as the API server takes it."""
    root = _root(
        "A Llama model served by groups of pods behind a gateway.",
        spec=structural_schema(LlamaDeploymentSpec),
        status=structural_schema(LlamaDeploymentStatus),
        found=(*_NAME_RULES, _SERVED_NAME_STAYS, _ADAPTERS_HAVE_OTHER_NAMES),
    )
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = _version(root, _COLUMNS, {"status": {}, "scale": scale})
    return _definition(KIND, version, plural=PLURAL, short="lld")


def llama_weights_crd() -> dict[str, Any]:
    """Return the definition of LlamaWeights, as the API server takes it."""
    root = _root(
        "One revision of the weights of a model, resolved, checked and named by its digest.",
        spec=structural_schema(LlamaWeightsSpec),
        status=structural_schema(LlamaWeightsStatus),
        found=_WEIGHTS_NAME_RULES,
    )
    version = _version(root, _WEIGHTS_COLUMNS, {"status": {}})
    return _definition(WEIGHTS_KIND, version, plural=WEIGHTS_PLURAL, short="llw")


def llama_adapter_crd() -> dict[str, Any]:
    """Return the definition of LlamaAdapter, as the API server takes it."""
    root = _root(
        "One revision of a LoRA adapter, resolved, checked and named by its digest.",
        spec=structural_schema(LlamaAdapterSpec),
        status=structural_schema(LlamaAdapterStatus),
        found=_ADAPTER_NAME_RULES,
    )
    version = _version(root, _ADAPTER_COLUMNS, {"status": {}})
    return _definition(ADAPTERS_KIND, version, plural=ADAPTERS_PLURAL, short="lla")


def _definition(kind: str, version: dict[str, Any], *, plural: str, short: str) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{API_GROUP}"},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["all"],
            },
            "versions": [version],
        },
    }


def _version(root: Schema, columns: tuple[_Column, ...], subresources: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in columns],
        "subresources": subresources,
        "schema": {"openAPIV3Schema": root},
    }


def _root(description: str, *, spec: Schema, status: Schema, found: tuple[Rule, ...]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            # An object that the operator has not seen yet must not look current to those who wait for it.
            "status": {**status, "default": {"observedGeneration": NOT_OBSERVED}},
        },
        **rules(*found),
    }


def _column(column: _Column) -> dict[str, Any]:
    found: dict[str, Any] = {"name": column.name, "type": column.kind, "jsonPath": column.path}
    if column.description:
        found["description"] = column.description
    return {**found, "priority": column.priority} if column.priority else found
