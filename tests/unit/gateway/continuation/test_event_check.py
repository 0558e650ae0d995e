"""Which events of an engine a client can read."""

import json
from typing import Any

import pytest

from llama_serving.gateway.continuation.checked import CheckedEvents
from llama_serving.gateway.continuation.pure.event_check import PARSED_BELOW, good_part, is_event, is_object
from llama_serving.gateway.continuation.pure.recorder import Recorder
from llama_serving.gateway.http.memory_budget import MemoryBudget

CHAT = b'data: {"choices":[{"index":0,"delta":{"content":"w"}}]}'
TEXT = b'data: {"choices":[{"index":0,"text":"w"}]}'
COUNT = b'data: {"choices":[],"usage":{"prompt_tokens":3}}'
ERROR = b'data: {"error":{"message":"no"}}'
DONE = b"data: [DONE]"


@pytest.mark.parametrize("event", [CHAT, TEXT, COUNT, ERROR, DONE, b": a comment"])
def test_what_vllm_sends_is_an_event(event: bytes) -> None:
    assert is_event(event)


def with_choice(choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    "event",
    [
        b"", b"data:", b"data: ", b"data: 1", b"data: []", b"data: {}", b'data: {"choices":{}}', b"event: x", CHAT[1:],
        CHAT + b"x", CHAT + b"\n" + CHAT, b'data: {"choices":[NaN]}', b"data: {\xff}", DONE + b" ", b": a\nb",
        with_choice(None), with_choice("x"), with_choice({"index": 0}), with_choice({"delta": "x"}),
        with_choice({"de<ta": {}}), with_choice({"text": None}),
    ],
)  # fmt: skip
def test_what_no_client_reads_is_none(event: bytes) -> None:
    assert not is_event(event)


@pytest.mark.parametrize(
    ("events", "good", "is_all"),
    [
        ([], 0, True),
        ([CHAT, CHAT, DONE], 3, True),
        ([CHAT, b"data: x", CHAT], 1, False),
        ([CHAT, b"\n" + CHAT], 1, False),  # three line ends
        ([CHAT, DONE, b"behind"], 2, True),
    ],
)
def test_events_count_up_to_the_first_that_is_none(events: list[bytes], good: int, *, is_all: bool) -> None:
    whole = [event + b"\n\n" for event in events]
    assert good_part(b"".join(whole)) == (b"".join(whole[:good]), is_all)


def test_three_line_ends_behind_the_last_event_are_no_bug() -> None:
    assert good_part(CHAT + b"\n\n\n") == (CHAT + b"\n\n", False)


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b"{}", True), (b' {"a": 1}\n', True), (b"[]", False), (b"{} {}", False), (b'{"a": NaN}', False),
        (b"\xff", False),
        (b"{" + b" " * PARSED_BELOW + b"}", True), (b"{" + b" " * PARSED_BELOW, False), (b"[" * 100_000, False),
    ],
)  # fmt: skip
def test_a_body_is_one_object(body: bytes, *, is_one: bool) -> None:
    assert is_object(body) is is_one


@pytest.mark.parametrize("behind", [b"x" * (2 << 20), b"data: none\n\n", b'data: {"error":{}}\n\n'])
def test_what_comes_behind_the_end_is_no_failure(behind: bytes) -> None:
    end = COUNT + b"\n\n" + DONE + b"\n\n"
    for tap in (Recorder(MemoryBudget(1 << 30), shows_ids=True), CheckedEvents()):
        assert tap.take(end + behind) == end
        assert (tap.done, tap.failure) == (True, "")
