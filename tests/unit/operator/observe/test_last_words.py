"""What the kubelet keeps of a container that has ended: the end of its log, in either form."""

import json

import pytest

from llama_operator.observe.last_words import last_words
from llama_serving.config.logs.lines import TRACE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("starting\nport in use\n", "port in use"),
        (f"failed\n{TRACE}Traceback\n{TRACE}ValueError: no\n", "ValueError: no"),
        ("a\n" + json.dumps({"time": "t", "level": "error", "message": "port\nin use"}) + "\n", "port\nin use"),
        ('{"time": "t", "mess', '{"time": "t", "mess'),
        ("{}", "{}"),
        ('{"message": 3}', '{"message": 3}'),
        ("{1}", "{1}"),
    ],
)
def test_last_words(text: str, said: str) -> None:
    assert last_words(text) == said
