"""Texts of pods, statuses and proxies that stand for JSON: whatever they are, a pass goes on, in bounded memory."""

import json
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.http_errors import message_of
from llama_operator.api.v1alpha1.status import StableTemplate
from llama_operator.observe.last_words import last_words
from llama_operator.plan.adapters.seats import announced
from llama_operator.plan.groups.template import stable_spec
from tests.fakes.samples import CPU_SPEC


def stored(text: str) -> StableTemplate:
    return StableTemplate(key="k", template_hash="t", pod_hash="p", weights="w", digest="d", id="i", spec=text)


def spec_of(text: str) -> object:
    return stable_spec(stored(text))


#: What reads a text, and what it returns for one that is none of its own.
READERS: dict[str, tuple[Callable[[str], object], object]] = {
    "last words": (last_words, None),
    "adapters of a pod": (announced, {}),
    "message of the API server": (message_of, ""),
    "spec in a status": (spec_of, None),
}
DEEP = ["[" * 100_000, '{"":' * 1024, '{"message":' + "[" * 5000, '{"message":' * 4000]


@pytest.mark.parametrize("text", DEEP, ids=["lists", "4 KiB of objects", "a message", "many messages"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_nested_without_end_is_none(name: str, text: str) -> None:
    read, none = READERS[name]
    assert read(text) == (text if none is None and name == "last words" else none)


@pytest.mark.parametrize("name", READERS)
@given(text=st.text(max_size=60) | st.text(alphabet='{}[]":,0e-nul', max_size=60))
def test_any_text_has_an_answer(name: str, text: str) -> None:
    READERS[name][0](text)


def test_a_message_is_read_up_to_a_limit() -> None:
    assert message_of(json.dumps({"kind": "Status", "message": "no such right"})) == "no such right"
    text = '{"message":[' + "[]," * 500_000 + "0]}"
    tracemalloc.start()
    try:
        assert message_of(text) == ""
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text), "parsed it has 40 MB"


def test_specs_of_statuses_are_remembered_up_to_a_number_of_bytes() -> None:
    """Whoever may write a status may write another one as often as he likes."""
    tracemalloc.start()
    try:
        for number in range(200):
            assert spec_of(json.dumps({"x": f"{number} {'a' * 500_000}"})) is None
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 40 << 20, "200 of them have 100 MB"
    whole = json.dumps(CPU_SPEC)
    assert spec_of(whole) is spec_of(whole) is not None
