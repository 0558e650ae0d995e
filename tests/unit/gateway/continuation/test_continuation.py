"""A stream that is cut anywhere, as often as one likes, and continued is the stream that nobody cut."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.chunk import ChunkError, read, without_ids
from llama_serving.gateway.continuation.pure.recorder import Recorder, is_readable
from llama_serving.gateway.continuation.pure.request import ContinuableRequest
from llama_serving.gateway.continuation.pure.rewriter import Rewriter, ending
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.fields.request_fields import read_fields
from llama_serving.gateway.http.memory_budget import MemoryBudget
from tests.unit.gateway.continuation.engine import CHAT, DONE, TEXT, Engine, Seen, recorded, seen, tokens_of

WORDS: tuple[str, ...] = ("Hello", ", ", "world", ".", "\n\n", "a", "nine", ", ten")
WORDS += ("สวัสดี", "ชาวโลก", "नमस्ते", "🙂", "👩\u200d🚀", "\ufffd", "é")


def split(text: str, *, parts: int, first: int) -> list[tuple[int, str]]:
    """Some text as that many tokens, which complete it only with the last."""
    return [*[(first + number, "") for number in range(parts - 1)], (first + parts - 1, text)]


@st.composite
def engines(draw: st.DrawFn) -> Engine:
    tokens: list[tuple[int, str]] = []
    for number in range(draw(st.integers(1, 12))):
        word = draw(st.sampled_from(WORDS))
        parts = 1 if word.isascii() else draw(st.integers(1, 4))
        tokens += split(word, parts=parts, first=10 * number + 100)
    return Engine(tuple(tokens))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    path = draw(st.sampled_from([CHAT, TEXT]))
    body: dict[str, Any] = {"stream": True, "model": "llama"}
    body["messages" if path == CHAT else "prompt"] = [] if path == CHAT else "Say hello"
    body |= draw(st.sampled_from([{}, {"max_tokens": 4}, {"max_tokens": 100}]))
    body |= draw(st.sampled_from([{}, {"stop": "\n\n"}, {"stop": ["nine, ten", "."]}, {"stop": ["."]}]))
    body |= draw(st.sampled_from([{}, {"return_token_ids": True}]))
    options = [None, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}]
    return path, body | {"stream_options": draw(st.sampled_from(options))}


class Client:
    """What the gateway does with a stream, without a network: ``got`` is what its client has."""

    def __init__(self, engine: Engine, path: str, body: dict[str, Any]) -> None:
        self.engine = engine
        raw = json.dumps(body).encode()
        read_body = continuation.read(path, read_fields(raw))
        assert read_body is not None
        self.request: ContinuableRequest = read_body
        self.path, self.body = path, json.loads(continuation.with_token_ids(raw, read_body))
        self.budget = MemoryBudget(1 << 30)
        self.tap: Recorder | Rewriter = Recorder(self.budget, shows_ids=self.request.wants_ids)
        self.transcript: Transcript | None = None
        self.got = b""

    def stream(self, *, sizes: Sequence[int] = (), cut: int | None = None, pieces: int = 1 << 20) -> bool:
        """Pass on the present engine's bytes up to ``cut``, in pieces; say whether the answer is complete."""
        raw = b"".join(self.engine.answer(self.path, self.body, sizes=sizes))[:cut]
        if self.transcript is None and not is_readable(raw):
            return False  # nothing left for the client: the request is repeated as a whole
        for start in range(0, len(raw), pieces):
            self.got += self.tap.take(raw[start : start + pieces])
        return self.tap.done

    def go_on(self) -> bool:
        """Change to another engine; say whether one is needed."""
        if not self.got:
            return True
        if self.transcript is None:
            assert isinstance(self.tap, Recorder)
            self.transcript = Transcript(held_back=self.request.held_back, shows_ids=self.request.wants_ids)
            for event in self.tap.events():
                self.transcript.take(read(event))
        if self.transcript.finish is not None:
            self.got += ending(self.transcript, self.request)
            return False
        resumes_at = self.transcript.resume()
        raw = continuation.next_body(
            self.request, prompt=self.transcript.prompt, ids=self.transcript.ids, context_length=1000
        )
        self.path, self.body = TEXT, json.loads(raw)
        self.tap = Rewriter(self.transcript, self.request, resumes_at=resumes_at)
        return True


def undisturbed(engine: Engine, path: str, body: dict[str, Any]) -> Seen:
    return seen(b"".join(engine.answer(path, body)))


@settings(max_examples=200, deadline=None)
@given(
    engine=engines(),
    asked=bodies(),
    sizes=st.lists(st.integers(1, 3), max_size=4),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    pieces=st.sampled_from([1, 7, 100, 1 << 20]),
)
def test_however_it_is_cut_the_client_sees_one_whole_answer(
    *, engine: Engine, asked: tuple[str, dict[str, Any]], sizes: list[int], cuts: list[int], pieces: int
) -> None:
    path, body = asked
    client = Client(engine, path, body)
    for cut in cuts:
        if client.stream(sizes=sizes, cut=cut, pieces=pieces) or not client.go_on():
            break
    else:
        assert client.stream(sizes=sizes, pieces=pieces), client.tap.failure
    assert seen(client.got) == undisturbed(engine, path, body)


@settings(max_examples=150, deadline=None)
@given(engine=engines(), asked=bodies(), sizes=st.lists(st.integers(1, 4), max_size=6), pieces=st.integers(1, 400))
def test_the_tokens_of_a_stream_are_counted(
    *, engine: Engine, asked: tuple[str, dict[str, Any]], sizes: list[int], pieces: int
) -> None:
    path, body = asked
    client = Client(engine, path, body)
    whole = seen(b"".join(engine.answer(path, {**body, "return_token_ids": True}, sizes=sizes)))
    assert client.stream(sizes=sizes, pieces=pieces)
    assert isinstance(client.tap, Recorder)
    assert client.tap.tokens == len(whole.tokens) > 0


@pytest.mark.parametrize("name", ["emoji", "text", "chat_usage"])
def test_cuts_all_over_a_recorded_answer(name: str) -> None:
    raw = recorded(f"{name}.ids.sse")
    tokens = tokens_of(raw)
    engine = Engine(tokens)
    path = TEXT if name == "text" else CHAT
    body: dict[str, Any] = {"stream": True, "max_tokens": len(tokens), "prompt": "x", "messages": []}
    want = undisturbed(engine, path, body)
    for cut in range(0, len(raw) + 200, 29):
        client = Client(engine, path, body)
        if not client.stream(cut=cut) and client.go_on():
            assert client.stream(), (cut, client.tap.failure)
        assert seen(client.got) == want, cut
    assert want.text == seen(raw).text


@pytest.mark.parametrize("name", ["emoji", "text", "chat_usage", "stop"])
@pytest.mark.parametrize("pieces", [3, 1000, 1 << 20])
def test_without_its_token_ids_a_stream_is_what_the_engine_sends_unasked(name: str, pieces: int) -> None:
    raw, plain = recorded(f"{name}.ids.sse"), recorded(f"{name}.plain.sse")
    recorder = Recorder(MemoryBudget(1 << 20), shows_ids=False)
    got = b"".join(recorder.take(raw[start : start + pieces]) for start in range(0, len(raw), pieces))
    assert nameless(got) == nameless(plain)
    assert recorder.done
    assert b"\n\n".join(recorder.events()) + b"\n\n" == raw


def nameless(raw: bytes) -> bytes:
    return re.sub(rb'"id":"[^"]*","object":"([^"]*)","created":[0-9]*', rb'"object":"\1"', raw)


def test_text_that_looks_like_token_ids_is_left_alone() -> None:
    said = ',"token_ids":[1,2],"prompt_token_ids":[3]'
    [_, event, *_] = Engine(((7, said),)).answer(CHAT, {"return_token_ids": True})
    assert seen(without_ids(event)).text == said
    assert seen(without_ids(event)).tokens == ()


def test_nothing_comes_behind_the_end_of_an_engine_that_continues() -> None:
    engine = Engine(tokens_of(recorded("emoji.ids.sse")))
    body: dict[str, Any] = {"stream": True, "max_tokens": 50, "messages": []}
    client = Client(engine, CHAT, body)
    assert not client.stream(cut=1500)
    assert client.go_on()
    *events, end = engine.answer(client.path, client.body)
    client.got += client.tap.take(events[0] + end + events[1])
    client.got += client.tap.take(events[1])
    assert client.tap.done
    assert client.got.endswith(end)
    assert client.got.count(end) == 1


def test_an_engine_that_says_something_else_is_not_passed_on() -> None:
    client = Client(
        Engine(((7, "abc"), (8, "def"), (9, "ghi"))), TEXT, {"stream": True, "prompt": "x", "stop": ["#####"]}
    )
    raw = b"".join(client.engine.answer(TEXT, client.body))
    client.stream(cut=raw.index(b'"token_ids":[9]'))
    assert (seen(client.got).text, client.go_on()) == ("ab", True)
    client.engine = Engine(((7, "aXc"), (8, "def"), (9, "ghi")))
    client.stream()
    assert isinstance(client.tap, Rewriter)
    assert (client.tap.differs, client.tap.failure) == (True, "its text differs from the answer at character 0")
    assert seen(client.got).text == "ab"
    client.engine = Engine(((7, "abc"), (8, "def"), (9, "ghi")))
    assert client.go_on()
    assert client.stream()
    assert seen(client.got).text == "abcdefghi"


def test_an_engine_that_ends_before_what_the_client_has_is_not_passed_on() -> None:
    client = Client(Engine(((7, "abc"), (8, "def"))), TEXT, {"stream": True, "prompt": "x", "stop": ["###"]})
    raw = b"".join(client.engine.answer(TEXT, client.body))
    client.stream(cut=raw.index(b'"token_ids":[8]'))
    client.go_on()
    client.engine = Engine(())
    client.stream()
    assert client.tap.failure == "its answer ends at character 0 of 1"
    assert client.transcript is not None
    assert client.transcript.finish is None


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (b'data: {"error":{"message":"EngineCore died","code":500}}\n\n', "ended its stream with an error"),
        (
            b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"abort","token_ids":[1]}]}\n\n',
            "aborted the answer",
        ),
    ],
)
def test_events_that_say_that_the_engine_gave_up(event: bytes, failure: str) -> None:
    client = Client(Engine(((7, "abc"), (8, "def"))), CHAT, {"stream": True, "messages": []})
    good = b"".join(client.engine.answer(CHAT, client.body)[:2])
    client.got = client.tap.take(good + event + DONE)
    assert (client.tap.failure, client.tap.done) == (failure, False)
    assert seen(client.got).text == "abc"
    assert client.go_on()
    assert client.tap.take(event) == b""
    assert client.tap.failure == failure


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (b'data: {"choices":[{"index":0,"delta":{"reasoning":"hm"},"token_ids":[1]}]}', "has the field 'reasoning'"),
        (b'data: {"choices":[{"index":0,"delta":{"content":"x"},"token_ids":null}]}', "text without token ids"),
        (b"data: {broken", "has an unknown form (JSONDecodeError)"),
        (b'data: {"choices":[7]}', "has an unknown form (TypeError)"),
        (b'data: {"object":"response.created"}', "has an unknown form (KeyError)"),
    ],
)
def test_events_that_cannot_be_continued_from(event: bytes, why: str) -> None:
    with pytest.raises(ChunkError, match=re.escape(why)):
        Transcript(held_back=0).take(read(event))


def test_comments_say_nothing() -> None:
    assert read(b": ping").ids == ()


def test_a_stream_beyond_the_memory_goes_on_and_is_not_kept() -> None:
    budget = MemoryBudget(20_000)
    recorder = Recorder(budget, shows_ids=False)
    events = Engine(tuple((number, "word ") for number in range(10, 300))).answer(CHAT, {"return_token_ids": True})
    got = b"".join(recorder.take(event) for event in events)
    assert len(seen(got).text) == 290 * 5
    assert recorder.lost == "the gateway's memory for running streams is used up"
    assert (budget.streams, list(recorder.events())) == (0, [])


def test_what_is_kept_is_counted_and_given_back() -> None:
    budget = MemoryBudget(1 << 20)
    recorder = Recorder(budget, shows_ids=False)
    for event in recorded("emoji.ids.sse").split(b"\n\n")[:-1]:
        recorder.take(event + b"\n\n")
    assert 8 << 10 <= budget.streams <= 16 << 10
    recorder.forget()
    assert budget.streams == 0


def test_streams_leave_half_of_the_memory_to_requests() -> None:
    budget = MemoryBudget(100)
    assert (budget.reserve(50), budget.reserve(1), budget.has_room(50), budget.has_room(51)) == (
        True,
        False,
        True,
        False,
    )
    budget.bodies += 50
    budget.release(10)
    assert (budget.reserve(10), budget.reserve(1)) == (True, False)
