"""Streams with tools and schemas whose group dies under them, over real HTTP: replayed by another group."""

import asyncio
import json
from typing import Any

import pytest

from tests.component.gateway.running import gateway, until
from tests.component.gateway.scripted import Exchange, Script, Upstream, answer, head, upstreams
from tests.component.gateway.streams.test_continuation import closes, endpoint, sends_an_error
from tests.unit.gateway.continuation.replaying import NAMES, REPLAY, Recording, answer_of, places, recording
from tests.unit.gateway.continuation.test_replay import check, undisturbed


def says(recorded: Recording, *, dies_after: int | None = None, errs: bool = False) -> Script:
    """Answer as the recorded engine did, and replay as the replica does."""

    async def script(exchange: Exchange) -> None:
        if exchange.target == REPLAY:
            raw = recorded.replay(json.loads(exchange.body))
        else:
            assert json.loads(exchange.body)["return_token_ids"] is True
            raw = recorded.whole()
        await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
        await exchange.chunk(raw[:dies_after])
        if dies_after is None:
            await exchange.send(b"0\r\n\r\n")
        else:
            await (sends_an_error if errs else closes)(exchange)

    return script


async def ask(running: Any, recorded: Recording) -> Any:
    return await running.request(recorded.path, data=json.dumps(recorded.asked).encode())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("errs", [False, True])
async def test_a_group_that_dies(name: str, *, errs: bool) -> None:
    recorded, replays = recording(name), 0
    for cut in list(places(recorded))[2::5]:
        bad = Upstream(then=says(recorded.of("bad"), dies_after=cut, errs=errs))
        good = Upstream(then=says(recorded.of("good")))
        async with upstreams(bad, good), gateway(endpoint(bad, "bad")) as running:
            request = asyncio.create_task(ask(running, recorded))
            await until(lambda: bad.seen)  # noqa: B023
            running.know(endpoint(good, "good"))
            got = await request
            assert not got.broken
            check(answer_of(got.body), undisturbed(recorded))
            totals = await running.totals()
            assert totals in ({"finished": 1, "continued": 1}, {"finished": 1}), cut
            replays += any(exchange.target == REPLAY for exchange in good.seen)
    assert replays


async def test_death_after_death() -> None:
    recorded = recording("parallel")
    ends = list(places(recorded))
    dying = [
        Upstream(then=says(recorded.of(f"dies {at}"), dies_after=ends[at]), probe=answer(503)) for at in (4, 9, 14)
    ]
    good = Upstream(then=says(recorded))
    async with upstreams(*dying, good), gateway() as running:
        running.know(*[endpoint(upstream, f"d{number}") for number, upstream in enumerate(dying)])
        request = asyncio.create_task(ask(running, recorded))
        await until(lambda: all(upstream.seen for upstream in dying))
        running.know(endpoint(good, "good"))
        check(answer_of((await request).body), undisturbed(recorded))


async def test_a_group_of_an_older_version_is_not_blamed() -> None:
    """It does not know the route; one that does continues, and the old one still gets requests."""
    recorded = recording("required")
    bad = Upstream(then=says(recorded.of("bad"), dies_after=list(places(recorded))[6]))
    old, good = Upstream(then=answer(404)), Upstream(then=says(recorded))
    # While it is alone, the old one is asked again at once: so many times that the good one is known before the last.
    async with upstreams(bad, old, good), gateway(endpoint(bad, "bad"), max_retries=100_000) as running:
        request = asyncio.create_task(ask(running, recorded))
        await until(lambda: bad.seen)
        running.know(endpoint(old, "old"))
        await until(lambda: old.seen)
        running.know(endpoint(old, "old"), endpoint(good, "good"))
        check(answer_of((await request).body), undisturbed(recorded))
        assert not any(group.ejected for group in (await running.load()).groups)


async def test_where_only_older_versions_are_left_the_stream_ends_with_the_reason() -> None:
    recorded = recording("json_schema")
    bad = Upstream(then=says(recorded, dies_after=list(places(recorded))[4]))
    old = Upstream(then=answer(404))
    async with upstreams(bad, old), gateway(endpoint(bad, "bad"), max_retries=2, queue_timeout=1) as running:
        request = asyncio.create_task(ask(running, recorded))
        await until(lambda: bad.seen)
        running.know(endpoint(old, "old"))
        got = await request
        assert got.broken
        assert b"older version" in got.body


@pytest.mark.parametrize("path", [REPLAY, f"/v1/..{REPLAY}", f"/v1/%2e%2e{REPLAY}"])
async def test_a_client_cannot_ask_for_a_replay(path: str) -> None:
    engine = Upstream(then=answer(404))
    async with upstreams(engine), gateway(endpoint(engine, "a")) as running:
        assert (await running.request(path, data=b'{"stream": true}')).status == 404
    assert all(exchange.target != REPLAY for exchange in engine.seen)
