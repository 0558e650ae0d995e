"""The annotation with a group's adapters, whoever wrote it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.config import names
from llama_serving.config.gateway import LONGEST_ADAPTERS_ANNOTATION, MOST_ADAPTERS
from llama_serving.gateway.discovery.adapter_note import LONGEST_ID, parse_adapters
from llama_serving.gateway.discovery.pods import adapters_fault, parse_endpoint


def test_ids_are_read_by_name() -> None:
    assert parse_adapters('{"style":"main@1a2b","tone":"v2@77"}') == ({"style": "main@1a2b", "tone": "v2@77"}, "")
    assert parse_adapters("") == ({}, "")


@pytest.mark.parametrize(
    "text",
    [
        "style",
        "[]",
        "[" * 5000,
        '{"style": 3}',
        '{"style": ""}',
        '{"": "x"}',
        json.dumps({"style": "a\r\nx-evil: 1"}),
        json.dumps({"style": "naïve"}),
        json.dumps({"style": "x" * (LONGEST_ID + 1)}),
        json.dumps({str(number): "x" for number in range(MOST_ADAPTERS + 1)}),
        " " * (LONGEST_ADAPTERS_ANNOTATION + 1),
    ],
)
def test_a_malformed_one_names_none_and_says_why(text: str) -> None:
    found, fault = parse_adapters(text)
    assert found == {}
    assert fault


@given(st.text(max_size=200))
def test_whatever_it_says_ids_fit_a_header(text: str) -> None:
    found, _ = parse_adapters(text)
    assert all(value and all(" " <= c <= "~" for c in value) for value in found.values())


def test_the_endpoint_has_them() -> None:
    pod = {
        "metadata": {
            "name": "chat-a-0-0",
            "uid": "u",
            "labels": {names.LABEL_GROUP: "0"},
            "annotations": {names.ANNOTATION_ADAPTERS: '{"style":"s@1"}'},
        }
    }
    endpoint = parse_endpoint(pod)
    assert endpoint is not None
    assert endpoint.adapters == {"style": "s@1"}
    assert adapters_fault(pod) == ""
    pod["metadata"]["annotations"] = {names.ANNOTATION_ADAPTERS: "{"}
    assert adapters_fault(pod) == "it is not JSON"
