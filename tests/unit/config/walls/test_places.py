"""Places of sources, as annotations and the chart's values name them."""

import pytest

from llama_serving.config.source import parse
from llama_serving.config.walls.places import LONGEST, is_place, split_places


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        ("hf://meta-llama/Llama-3.1-8B", "hf://meta-llama", True),
        ("hf://Meta-Llama/Llama-3.1-8B", "hf://meta-llama", True),
        ("hf://meta-llama-evil/x", "hf://meta-llama", False),
        ("s3://models/a", "s3://models", True),
        ("s3://models/a", "gs://models", False),
        ("https://a.example.com/m", "https://*.example.com", True),
        ("https://example.com/m", "https://*.example.com", False),
        ("https://evilexample.com/m", "https://*.example.com", False),
        ("https://a.example.com.evil.org/m", "https://*.example.com", False),
        ("http://a.example.com/m", "https://*.example.com", False),
        ("https://host:8443/m", "https://host", False),
        ("https://host:8443/m", "https://host:8443", True),
        ("oci://registry.example.com/a/b", "oci://*", True),
        ("https://host/m", "https://", False),
        ("https://host/m", "*", False),
    ],
)
def test_is_place(source: str, place: str, *, expected: bool) -> None:
    assert is_place(parse(source), place) is expected


def test_a_text_that_is_too_long_allows_nothing() -> None:
    assert split_places("hf://a, s3://b\n https://c") == ("hf://a", "s3://b", "https://c")
    assert split_places("hf://a " * LONGEST) == ()
