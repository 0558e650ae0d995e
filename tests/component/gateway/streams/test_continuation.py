"""Streams whose group dies under them, over real HTTP: what the client, the groups and the counters see."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from llama_serving.config.gateway import AnswerCounts
from llama_serving.gateway.routing.endpoint import Endpoint
from tests.component.gateway.running import CHAT, Answer, Gateway, gateway, until
from tests.component.gateway.scripted import Exchange, Script, Upstream, answer, head, upstreams
from tests.unit.gateway.continuation.engine import DONE, TEXT, Engine, Seen, recorded, seen, tokens_of

TOKENS = tokens_of(recorded("emoji.ids.sse"))[:16]
ENGINE = Engine(TOKENS)
ASKED: dict[str, Any] = {"stream": True, "messages": [{"role": "user", "content": "Repeat"}], "max_tokens": 50}
ERROR = b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\n'
MODELS = {"object": "list", "data": [{"id": "llama", "max_model_len": 300}]}

End = Callable[[Exchange], Any]


async def closes(exchange: Exchange) -> None:
    exchange.close()


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def sends_an_error(exchange: Exchange) -> None:
    await exchange.chunk(ERROR + DONE)
    await exchange.send(b"0\r\n\r\n")


async def ends_early(exchange: Exchange) -> None:
    await exchange.send(b"0\r\n\r\n")


async def hangs(exchange: Exchange) -> None:
    await exchange.until_closed()


def says(
    engine: Engine, *, dies_after: int | None = None, end: End = closes, name: str = "", weights: str = ""
) -> Script:
    """Answer as an engine does; after so many bytes of the stream do ``end`` instead."""

    async def script(exchange: Exchange) -> None:
        if exchange.target == "/v1/models":
            await answer(200, json.dumps(MODELS).encode())(exchange)
            return
        own = dataclasses.replace(engine, name=name or engine.name)
        events = own.answer(exchange.target, json.loads(exchange.body))
        headers = [f"x-llama-weights: {weights}"] if weights else []
        await exchange.send(head(200, "transfer-encoding: chunked", *headers, kind="text/event-stream"))
        left = dies_after
        for event in events:
            whole = left is None or end is sends_an_error  # an engine that can still speak does not break an event
            piece = event if whole else event[:left]
            if piece:
                await exchange.chunk(piece)
            if left is not None and (left := left - len(piece)) <= 0:
                await end(exchange)
                return
        await exchange.send(b"0\r\n\r\n")

    return script


def endpoint(
    upstream: Upstream, name: str, *, weights: str = "w", ready: bool = True, moving: bool = False
) -> Endpoint:
    return dataclasses.replace(upstream.endpoint(name, ready=ready), weights=weights, moving=moving)


async def ask(running: Gateway, body: dict[str, Any] | None = None, path: str = CHAT, **more: Any) -> Answer:
    return await running.request(path, data=json.dumps(body or ASKED).encode(), **more)


def want(body: dict[str, Any] | None = None, path: str = CHAT) -> Seen:
    return seen(b"".join(ENGINE.answer(path, body or ASKED)))


def length(body: dict[str, Any] | None = None, path: str = CHAT) -> int:
    return sum(map(len, ENGINE.answer(path, {**(body or ASKED), "return_token_ids": True})))


@pytest.mark.parametrize("end", [closes, resets, sends_an_error, ends_early, hangs])
async def test_a_group_that_dies_anywhere_in_a_stream(end: End) -> None:
    """At every 61st byte, so also in heads, in token ids and within characters; one gateway for each."""
    limits = {"idle_timeout": 0.5, "first_byte_timeout": 0.5} if end is hangs else {}
    for cut in range(1, length(), 61 if end in (closes, ends_early) else 801):
        bad, good = Upstream(then=says(ENGINE, dies_after=cut, end=end, name="bad")), Upstream(then=says(ENGINE))
        async with (
            upstreams(bad, good),
            gateway(endpoint(bad, "bad"), **limits) as running,
        ):
            request = asyncio.create_task(ask(running))
            await until(lambda: bad.seen)  # noqa: B023
            running.know(endpoint(bad, "bad", ready=False), endpoint(good, "good"))
            got = await request
            if (end, got.status) == (hangs, 504):
                continue  # it hung before its first event
            assert dataclasses.replace(seen(got.body), ids=frozenset()) == dataclasses.replace(want(), ids=frozenset())
            assert len(seen(got.body).ids) == 1, cut
            assert not got.broken
            totals = await running.totals()
            assert totals.pop("finished") == 1, cut
            # Until the other group is known, the bad one may be asked again.
            assert totals == {"continued": 1} or totals.keys() <= {"retried"}, (cut, totals)


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize(
    "more", [{}, {"return_token_ids": True}, {"stop": ["zzzz"]}, {"stream_options": {"include_usage": True}}]
)
async def test_both_routes_and_what_a_client_may_ask_for(path: str, more: dict[str, Any]) -> None:
    body = {**ASKED, "prompt": "Repeat", **more}
    for cut in range(400, length(body, path), 211):
        bad, good = Upstream(then=says(ENGINE, dies_after=cut, name="bad")), Upstream(then=says(ENGINE))
        async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
            request = asyncio.create_task(ask(running, body, path))
            await until(lambda: bad.seen)  # noqa: B023
            running.know(endpoint(good, "good"))
            got = seen((await request).body)
            assert dataclasses.replace(got, ids=frozenset()) == dataclasses.replace(want(body, path), ids=frozenset())
            assert got.ids != want(body, path).ids, "the first group's id"


async def test_death_after_death() -> None:
    """Three groups die one after the other, each a bit further; the fourth ends the answer."""
    scripts = [says(ENGINE, dies_after=900, name=f"dies {number}") for number in range(3)]
    dying = [Upstream(then=script, probe=answer(503)) for script in scripts]
    good = Upstream(then=says(ENGINE))
    async with upstreams(*dying, good), gateway() as running:
        running.know(*[endpoint(upstream, f"d{number}") for number, upstream in enumerate(dying)])
        request = asyncio.create_task(ask(running))
        await until(lambda: all(upstream.seen for upstream in dying))
        running.know(endpoint(good, "good"))
        got = await request
        assert (seen(got.body).text, len(seen(got.body).ids)) == (want().text, 1)
        assert await running.totals() == {"finished": 1, "continued": 1}
    parts = [json.loads(upstream.seen[0].body) for upstream in (*dying[1:], good)]
    assert [part["max_tokens"] for part in parts] == sorted((part["max_tokens"] for part in parts), reverse=True)
    assert all(part["prompt"][:3] == [1, 9690, 198] for part in parts)


async def test_the_only_group_goes_on_itself_when_it_works_again() -> None:
    upstream = Upstream([says(ENGINE, dies_after=900), answer(500), answer(503), answer(404)], then=says(ENGINE))
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        got = await ask(running)
        assert seen(got.body) == want()
        assert await running.totals() == {"finished": 1, "continued": 1}


async def test_tries_have_an_end() -> None:
    upstream = Upstream([says(ENGINE, dies_after=900)], then=answer(500))
    async with upstreams(upstream), gateway(endpoint(upstream, "a"), max_retries=3, ejection=0.01) as running:
        got = await ask(running)
        assert got.broken
        assert "given up (retries: 3)" in seen(got.body).error
        assert await running.totals() == {"broken": 1}
    assert len(upstream.seen) == 1 + 3


async def test_other_weights_never_go_on() -> None:
    bad, other = Upstream([says(ENGINE, dies_after=900)], then=answer(503)), Upstream(then=says(ENGINE))
    async with upstreams(bad, other), gateway(endpoint(bad, "bad"), queue_timeout=0.3) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know(endpoint(other, "other", weights="w2"))
        got = await request
        assert got.broken
        assert want().text.startswith(seen(got.body).text)
        assert (
            "no group with the same weights could continue it: no group became available within" in seen(got.body).error
        )
        assert await running.totals() == {"broken": 1}
        assert (await running.load()).by_weights["w"].broken == 1
    assert other.seen == []


async def test_it_waits_for_a_group_with_the_same_weights() -> None:
    bad, other, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(), Upstream(then=says(ENGINE))
    async with upstreams(bad, other, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know(endpoint(other, "other", weights="w2"))
        await until(lambda: running.server.load().waiting == 1)
        assert (await running.request(data=b"{}")).status == 200  # others do not wait for it
        running.know(endpoint(other, "other", weights="w2"), endpoint(good, "good"))
        assert seen((await request).body).text == want().text


async def test_an_engine_that_says_that_it_has_other_weights_is_not_listened_to() -> None:
    bad = Upstream(then=says(ENGINE, dies_after=900, weights="w"))
    changed, good = Upstream(then=says(ENGINE, weights="w2")), Upstream(then=says(ENGINE, weights="w"))
    async with upstreams(bad, changed, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know(endpoint(changed, "changed"))
        await until(lambda: changed.seen)
        running.know(endpoint(good, "good"))
        assert seen((await request).body).text == want().text


async def test_a_client_that_leaves_while_its_stream_waits_is_not_continued() -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=says(ENGINE))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know()
        await until(lambda: running.server.load().waiting == 1)
        request.cancel()
        await until(lambda: running.server.load().waiting == 0)
        running.know(endpoint(good, "good"))
        assert await running.totals() == {"cancelled": 1}
    assert good.seen == []


async def test_a_client_that_leaves_a_continued_stream_stops_the_engine() -> None:
    bad, slow = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=says(ENGINE, dies_after=400, end=hangs))
    async with upstreams(bad, slow), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know(endpoint(slow, "slow"))
        await until(lambda: slow.seen)
        request.cancel()
        await until(lambda: slow.open_connections == 0)
        assert await running.totals() == {"cancelled": 1}


async def test_beyond_the_memory_a_stream_is_not_continued_and_says_why() -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=says(ENGINE))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad"), endpoint(good, "good"), max_held=4000) as running:
        running.know(endpoint(bad, "bad"))
        got = await ask(running)
        assert got.broken
        assert "cannot be continued: the gateway's memory for running streams is used up" in seen(got.body).error
        assert b'"token_ids":[' not in got.body


@pytest.mark.parametrize(
    ("more", "why"),
    [({"n": 2}, "'n' is not 1"), ({"echo": True}, "'echo' is not false"), ({"x": 1}, "the request has the field 'x'")],
)
async def test_what_cannot_be_continued_goes_through_unchanged_and_says_why_it_broke(
    more: dict[str, Any], why: str
) -> None:
    upstream = Upstream(then=says(ENGINE, dies_after=900))
    body = {**ASKED, **more}
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        got = await ask(running, body)
        assert got.broken
        assert await running.totals() == {"broken": 1}
    assert json.loads(upstream.seen[0].body) == body
    assert got.body.endswith(b"\n\n") is False or why in seen(got.body).error


async def test_only_streams_are_asked_for_token_ids_and_only_in_addition() -> None:
    upstream = Upstream(then=says(ENGINE))
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        await ask(running)
        upstream.then = answer()
        await ask(running, {**ASKED, "stream": False})
        await running.request("/v1/messages", data=b'{"stream": true}')
    asked = [exchange.body for exchange in upstream.seen]
    assert asked[0] == json.dumps(ASKED).encode()[:-1] + b',"return_token_ids":true}'
    assert asked[1:] == [json.dumps({**ASKED, "stream": False}).encode(), b'{"stream": true}']


async def test_an_engine_that_does_not_know_token_ids_is_passed_on_as_it_is() -> None:
    events = ENGINE.answer(CHAT, ASKED)

    async def plain(exchange: Exchange) -> None:
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        await exchange.chunk(b"".join(events))
        await exchange.send(b"0\r\n\r\n")

    upstream = Upstream(then=plain)
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        assert (await ask(running)).body == b"".join(events)


async def test_an_answer_that_lacks_only_its_end_needs_no_other_group() -> None:
    body = {**ASKED, "stream_options": {"include_usage": True}}
    upstream = Upstream(then=says(ENGINE, dies_after=length(body) - len(DONE) - 10))
    async with upstreams(upstream), gateway(endpoint(upstream, "a")) as running:
        got = await ask(running, body)
        assert seen(got.body) == want(body)
        assert await running.totals() == {"finished": 1}
    assert len(upstream.seen) == 1


async def test_without_a_limit_of_tokens_the_context_is_the_limit() -> None:
    body = {name: value for name, value in ASKED.items() if name != "max_tokens"}
    bad, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=says(ENGINE))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running, body))
        await until(lambda: bad.seen)
        running.know(endpoint(good, "good"))
        assert seen((await request).body).text == want(body).text
    assert [exchange.target for exchange in good.seen] == ["/v1/models", TEXT]
    assert json.loads(good.seen[1].body)["max_tokens"] == 300


async def test_an_engine_that_refuses_the_rest_ends_the_stream() -> None:
    bad, good = Upstream(then=says(ENGINE, dies_after=900)), Upstream(then=answer(400))
    async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
        request = asyncio.create_task(ask(running))
        await until(lambda: bad.seen)
        running.know(endpoint(good, "good"))
        got = await request
        assert got.broken
        assert "the engine answered 400 to the request for its rest" in seen(got.body).error
    assert len(good.seen) == 1


async def test_streams_leave_a_group_that_is_to_be_left() -> None:
    old, new = Upstream(then=says(ENGINE, dies_after=900, end=hangs)), Upstream(then=says(ENGINE))
    first = asyncio.Event()
    async with upstreams(old, new), gateway(endpoint(old, "old")) as running:
        request = asyncio.create_task(ask(running, on_piece=first.set))
        await first.wait()
        running.know(endpoint(old, "old", ready=False), endpoint(new, "new"))
        running.know(endpoint(old, "old", ready=False, moving=True), endpoint(new, "new"))
        assert seen((await request).body).text == want().text
        await until(lambda: old.open_connections == 0)
        assert await running.totals() == {"finished": 1, "continued": 1}
        assert (await running.load()).by_weights["w"].failed == 0
    assert len(new.seen) == 1


async def test_a_group_that_is_to_be_left_keeps_its_streams_until_another_can_take_them() -> None:
    old, new = Upstream(then=says(ENGINE, dies_after=900, end=hangs)), Upstream(then=says(ENGINE))
    first = asyncio.Event()
    async with upstreams(old, new), gateway(endpoint(old, "old")) as running:
        request = asyncio.create_task(ask(running, on_piece=first.set))
        await first.wait()
        running.know(endpoint(old, "old", ready=False, moving=True), endpoint(new, "new", weights="w2"))
        running.know(endpoint(old, "old", ready=False, moving=True), endpoint(new, "new", ready=False))
        assert running.server.load().in_flight == 1
        assert old.open_connections == 1
        running.know(endpoint(old, "old", ready=False, moving=True), endpoint(new, "new"))
        assert seen((await request).body).text == want().text
    assert len(new.seen) == 1


async def test_a_stream_that_cannot_be_continued_is_not_moved() -> None:
    release = asyncio.Event()

    async def goes_on(exchange: Exchange) -> None:
        await release.wait()
        await exchange.chunk(DONE)
        await exchange.send(b"0\r\n\r\n")

    asked = {**ASKED, "n": 2}
    some = sum(map(len, ENGINE.answer(CHAT, asked)[:3]))  # whole events
    old, new = Upstream(then=says(ENGINE, dies_after=some, end=goes_on)), Upstream(then=says(ENGINE))
    first = asyncio.Event()
    async with upstreams(old, new), gateway(endpoint(old, "old")) as running:
        request = asyncio.create_task(ask(running, asked, on_piece=first.set))
        await first.wait()
        running.know(endpoint(old, "old", ready=False, moving=True), endpoint(new, "new"))
        release.set()
        assert (await request).broken is False
    assert new.seen == []


async def test_a_new_request_does_not_go_to_a_group_that_is_to_be_left() -> None:
    old, new = Upstream(), Upstream()
    async with upstreams(old, new), gateway(endpoint(old, "old", moving=True), endpoint(new, "new")) as running:
        for _ in range(3):
            await running.request()
    assert (len(old.seen), len(new.seen)) == (0, 3)


async def test_counts_by_weights() -> None:
    good = Upstream([answer(503), says(ENGINE), answer(), says(ENGINE, dies_after=900)], then=says(ENGINE))
    async with upstreams(good), gateway(endpoint(good, "a", weights='w "1"')) as running:
        for body in (ASKED, {"stream": False}, ASKED):
            assert (await ask(running, body)).status == 200
        [(weights, counts)] = (await running.load()).by_weights.items()
        assert (weights, dataclasses.astuple(Counted.of(counts))) == ('w "1"', (3, 1, 1, 0, 2))
        text = (await running.admin("/metrics")).body.decode()
    assert 'llama_gateway_answers_total{outcome="finished",weights="w \\"1\\""} 3.0\n' in text
    assert 'llama_gateway_stream_first_byte_seconds_count{weights="w \\"1\\""} 2.0\n' in text


@dataclasses.dataclass(frozen=True)
class Counted:
    finished: int
    failed: int
    continued: int
    broken: int
    streams: int

    @classmethod
    def of(cls, counts: AnswerCounts) -> "Counted":
        return cls(counts.finished, counts.failed, counts.continued, counts.broken, sum(counts.first_byte))


async def test_an_engine_names_its_weights_better_than_discovery() -> None:
    upstream = Upstream(then=says(ENGINE, weights="said"))
    async with upstreams(upstream), gateway(endpoint(upstream, "a", weights="known")) as running:
        got = await ask(running)
        assert got.headers["x-llama-weights"] == "said"
        assert list((await running.load()).by_weights) == ["said"]


async def test_all_streams_of_a_group_go_on_when_it_is_killed() -> None:
    """Sixty streams on three groups; two groups are killed while they run, and one of them comes back."""

    async def paced(exchange: Exchange) -> None:
        if "prompt" in (asked := json.loads(exchange.body)):
            assert asked["return_token_ids"]
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        for event in ENGINE.answer(exchange.target, asked):
            await exchange.chunk(event)
            await asyncio.sleep(0.005)
        await exchange.send(b"0\r\n\r\n")

    groups = {name: Upstream(then=paced) for name in ("a", "b", "c")}
    async with upstreams(*groups.values()):
        endpoints = [endpoint(upstream, name) for name, upstream in groups.items()]
        async with gateway(*endpoints, max_in_flight_per_group=30) as running:
            requests = [asyncio.create_task(ask(running)) for _ in range(60)]
            await until(lambda: sum(len(upstream.seen) for upstream in groups.values()) == 60)
            await groups["a"].stop()
            await until(lambda: len(groups["b"].seen) + len(groups["c"].seen) > 42)
            await groups["b"].stop()
            await groups["a"].start()
            got = await asyncio.gather(*requests)
            totals = await running.totals()
    assert [seen(one.body).text for one in got] == [want().text] * 60
    assert all(len(seen(one.body).ids) == 1 and not one.broken for one in got)
    assert (totals["finished"], "broken" in totals) == (60, False)
    assert totals["continued"] > 20
