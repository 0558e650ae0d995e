"""A stream with tools, a schema, reasoning or log-probabilities that is cut anywhere is the stream that nobody cut."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_serving.gateway.continuation.pure import request as continuation
from llama_serving.gateway.continuation.pure.chunk import ChunkError, OtherFieldError, read, without_ids
from llama_serving.gateway.continuation.pure.recorder import Recorder, is_readable
from llama_serving.gateway.continuation.pure.replay import ReplayTranscript, replay_body
from llama_serving.gateway.continuation.pure.replay_rewriter import ReplayRewriter
from llama_serving.gateway.continuation.pure.rewriter import ending
from llama_serving.gateway.continuation.pure.transcript import Transcript
from llama_serving.gateway.fields.request_fields import read_fields
from llama_serving.gateway.http.memory_budget import MemoryBudget
from tests.unit.gateway.continuation.replaying import NAMES, Answer, Recording, answer_of, places, recording


class Client:
    """What the gateway does with a stream, without a network: ``got`` is what its client has."""

    def __init__(self, recorded: Recording, **more: Any) -> None:
        self.recorded = recorded
        asked = {**recorded.asked, **more}
        request = continuation.read(recorded.path, read_fields(json.dumps(asked).encode()))
        assert request is not None
        self.request = request
        self.tap: Recorder | ReplayRewriter = Recorder(MemoryBudget(1 << 30), shows_ids=request.wants_ids)
        self.transcript: ReplayTranscript | None = None
        self.got = b""
        self.changes = 0

    def stream(self, raw: bytes, *, cut: int | None = None, pieces: int = 1 << 20) -> bool:
        """Pass on an engine's bytes up to ``cut``, in pieces; say whether the answer is complete."""
        raw = raw[:cut]
        if self.transcript is None and not is_readable(raw):
            return False
        for start in range(0, len(raw), pieces):
            self.got += self.tap.take(raw[start : start + pieces])
        return self.tap.done

    def next_engine(self) -> bytes | None:
        """Change to another engine and return its whole answer; None when only the end is missing."""
        if self.transcript is None:
            assert isinstance(self.tap, Recorder)
            self.transcript = ReplayTranscript()
            for event in self.tap.events():
                self.transcript.take(read(event))
        if self.transcript.finish is not None:
            self.got += ending(self.transcript, self.request)
            return None
        self.changes += 1
        raw = self.recorded.of(f"engine {self.changes}").replay(json.loads(replay_body(self.request, self.transcript)))
        self.tap = ReplayRewriter(self.transcript, self.request)
        return raw

    def through(self, cuts: Sequence[int], *, pieces: int = 1 << 20) -> Answer:
        """Cut the first engine, and each that follows, behind so many bytes; the last one is not cut."""
        raw: bytes | None = self.recorded.whole()
        for cut in cuts:
            assert raw is not None
            if self.stream(raw, cut=cut, pieces=pieces):
                return answer_of(self.got)
            if not self.got:
                raw = self.recorded.whole()  # nothing left for the client: the request is repeated
                continue
            raw = self.next_engine()
            if raw is None:
                return answer_of(self.got)
        assert raw is not None
        assert self.stream(raw, pieces=pieces), self.tap.failure
        return answer_of(self.got)


def undisturbed(recorded: Recording, *, ids: bool = False) -> Answer:
    return answer_of(recorded.whole() if ids else without_ids(recorded.whole()))


def check(got: Answer, want: Answer) -> None:
    """The same answer, each part once; calls keep the id that they were first given."""
    assert got.ended
    assert len(got.names) == 1
    assert {at: len(found) for at, found in got.call_ids.items()} == {
        at: len(found) for at, found in want.call_ids.items()
    }
    given = [set(found) for found in got.call_ids.values() if found]
    assert all(len(found) == 1 for found in given)
    assert len(set().union(*given)) == len(given), "no two calls have one id"
    # A group that dies between the last token and the count takes with it how many tokens were reasoning.
    count = [{name: value for name, value in usage.items() if not name.endswith("_details")} for usage in want.usage]
    assert got.usage in (want.usage, count)
    named: dict[str, Any] = {"names": set(), "call_ids": {}, "usage": []}
    assert {**vars(got), **named} == {**vars(want), **named}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ids", [False, True])
def test_a_cut_behind_every_event(name: str, *, ids: bool) -> None:
    recorded = recording(name)
    more = {"return_token_ids": True} if ids else {}
    want = undisturbed(recorded, ids=ids)
    cuts = list(places(recorded))
    for cut in cuts:
        client = Client(recorded, **more)
        got = client.through([cut])
        check(got, want)
        assert got.names == want.names, "those of the first engine"
    assert len(cuts) > 5


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_however_it_is_cut(name: str, data: st.DataObject) -> None:
    recorded = recording(name)
    size = len(recorded.whole())
    cuts = data.draw(st.lists(st.integers(0, size), max_size=4), label="cuts")
    pieces = data.draw(st.sampled_from([1, 7, 100, 1000, 1 << 20]), label="pieces")
    ids = data.draw(st.booleans(), label="ids")
    client = Client(recorded, **({"return_token_ids": True} if ids else {}))
    check(client.through(cuts, pieces=pieces), undisturbed(recorded, ids=ids))


@pytest.mark.parametrize("name", NAMES)
def test_the_body_of_a_replay_is_bounded_by_the_answer(name: str) -> None:
    recorded = recording(name)
    client = Client(recorded)
    client.stream(recorded.whole(), cut=len(recorded.whole()) // 2)
    client.next_engine()
    assert client.transcript is not None
    body = replay_body(client.request, client.transcript)
    tokens = len(client.transcript.prompt) + len(client.transcript.ids)
    assert len(body) < len(client.request.kept) + 200 + 10 * tokens


def changed(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert old in raw
    return raw.replace(old, new)


def test_other_tokens_are_never_mixed_in() -> None:
    recorded = recording("json_schema")
    client = Client(recorded)
    client.stream(recorded.whole(), cut=list(places(recorded))[6])
    before = client.got
    raw = client.next_engine()
    assert raw is not None
    ids = recorded.events[3]["choices"][0]["token_ids"]
    client.stream(changed(raw, json.dumps(ids, separators=(",", ":")).encode(), json.dumps([1] * len(ids)).encode()))
    assert isinstance(client.tap, ReplayRewriter)
    assert client.tap.differs
    assert "its tokens differ from the answer behind token" in client.tap.failure
    assert client.got == before


def test_another_parser_is_never_mixed_in() -> None:
    """The tokens are the same, and a part of what they say is told apart in another way."""
    recorded = recording("required")
    client = Client(recorded)
    client.stream(recorded.whole(), cut=list(places(recorded))[-4])
    before = client.got
    raw = client.next_engine()
    assert raw is not None
    client.stream(changed(raw, b'"name":"get_weather"', b'"name":"get_feather"'))
    assert isinstance(client.tap, ReplayRewriter)
    assert client.tap.differs
    assert "its parser reads another call 0 name" in client.tap.failure
    assert client.got == before


def test_another_prompt_is_never_mixed_in() -> None:
    recorded = recording("choice")
    client = Client(recorded)
    client.stream(recorded.whole(), cut=list(places(recorded))[2])
    raw = client.next_engine()
    assert raw is not None
    client.stream(changed(raw, b'"prompt_token_ids":[', b'"prompt_token_ids":[7,'))
    assert "its prompt differs" in client.tap.failure


def test_an_engine_that_ends_too_early_is_not_believed() -> None:
    recorded = recording("json_schema")
    client = Client(recorded)
    client.stream(recorded.whole(), cut=list(places(recorded))[8])
    raw = client.next_engine()
    assert raw is not None
    events = raw.split(b"\n\n")
    events[4] = events[4].replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    client.stream(b"\n\n".join(events))
    assert "its answer ends at token" in client.tap.failure


def test_a_plain_request_to_an_engine_with_a_parser_is_replayed_too() -> None:
    """Nobody asked for reasoning, and the engine's parser finds some."""
    plain = Transcript(held_back=0)
    with pytest.raises(OtherFieldError):
        plain.take(read(_event({"reasoning": "Let me think"})))
    replayed = ReplayTranscript()
    replayed.take(read(_event({"reasoning": "Let me think"})))
    assert list(replayed.events()) == [[5]]


def test_an_engine_that_hides_its_tokens_is_not_continued() -> None:
    with pytest.raises(ChunkError, match="text without token ids"):
        read(_event({"reasoning": "Let me think"}, ids=None))


@pytest.mark.parametrize("shows_ids", [True, False])
def test_events_that_only_have_tokens_are_for_those_who_asked(*, shows_ids: bool) -> None:
    recorder = Recorder(MemoryBudget(1 << 20), shows_ids=shows_ids)
    first, held, text = _event({"content": "a"}) + b"\n\n", _event({}) + b"\n\n", _event({"content": "b"}) + b"\n\n"
    got = [recorder.take(first), recorder.take(held), recorder.take(held + text), recorder.take(text)]
    assert [b'"delta":{}' in piece for piece in got] == [False, shows_ids, shows_ids, False]
    assert b"".join(recorder.events()).count(b'"delta":{}') == 2
    assert recorder.tokens == 5


def _event(delta: dict[str, Any], *, ids: list[int] | None = [5]) -> bytes:  # noqa: B006  # never changed
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": ids}
    body = {"id": "a", "object": "o", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode()
