"""The values schema takes what the chart ships and names what is wrong in what it refuses."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

CHART = Path(__file__).parents[3] / "charts" / "llama-operator"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def errors(values: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return ["/".join(map(str, error.absolute_path)) for error in validator.iter_errors(values)]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_shipped_values_are_good() -> None:
    assert errors(VALUES) == []


def test_schema_and_values_have_the_same_keys() -> None:
    def keys(schema: dict[str, Any], values: dict[str, Any]) -> None:
        assert schema["properties"].keys() - {"global"} == values.keys()
        for name, value in values.items():
            if "properties" in schema["properties"][name]:
                keys(schema["properties"][name], value)

    keys(SCHEMA, VALUES)


@pytest.mark.parametrize(
    "values",
    [
        {"watch": {"namespaces": ["a", "b"]}},
        {"watch": {"allNamespaces": True, "namespaces": []}},
        {"images": {"operator": "registry.example.com:5000/llama/operator:1.0@sha256:" + "0" * 64}},
        {"resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}}},
        {"tolerations": [{"key": "a", "operator": "Exists"}]},
        {"global": {"anything": 1}},
    ],
    ids=str,
)
def test_good_values(values: dict[str, Any]) -> None:
    assert errors(values) == []


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"replicaCount": 2}, ""),
        ({"replicas": -1}, "replicas"),
        ({"replicas": 6}, "replicas"),
        ({"image": {"operator": "a"}}, ""),
        ({"images": {"serving": "a b"}}, "images/serving"),
        ({"images": {"gateway": "a;b"}}, "images/gateway"),
        ({"images": {"operator": None}}, "images/operator"),
        ({"images": {"tag": "1"}}, "images"),
        ({"images": {"pullPolicy": "Sometimes"}}, "images/pullPolicy"),
        ({"images": {"pullSecrets": ["A B"]}}, "images/pullSecrets/0"),
        ({"images": {"pullSecrets": ["a", "a"]}}, "images/pullSecrets"),
        ({"watch": {"namespaces": "default"}}, "watch/namespaces"),
        ({"watch": {"namespaces": ["Default"]}}, "watch/namespaces/0"),
        ({"watch": {"namespaces": ["a,b"]}}, "watch/namespaces/0"),
        ({"watch": {"allNamespaces": "yes"}}, "watch/allNamespaces"),
        ({"watch": {"allNamespaces": True, "namespaces": ["a"]}}, "watch"),
        ({"rbac": {"clusterView": 1}}, "rbac/clusterView"),
        ({"rbac": {"accessKeys": "no"}}, "rbac/accessKeys"),
        ({"rbac": {"routes": 0}}, "rbac/routes"),
        ({"crds": {"keep": True}}, "crds"),
        ({"logLevel": "verbose"}, "logLevel"),
        ({"resources": {"limits": {"memory": "lots"}}}, "resources/limits/memory"),
        ({"resources": {"requests": {"cpu": 0}}}, "resources/requests/cpu"),
        ({"nodeSelector": {"a": 1}}, "nodeSelector/a"),
        ({"tolerations": [{"effect": "Maybe"}]}, "tolerations/0/effect"),
        ({"priorityClassName": "Very High"}, "priorityClassName"),
        ({"podAnnotations": []}, "podAnnotations"),
    ],
    ids=str,
)
def test_bad_values(values: dict[str, Any], where: str) -> None:
    assert errors(values) == [where]
