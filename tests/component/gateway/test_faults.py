"""Every fault of an upstream, with one group and with two: what the client, the other group and the counters saw.

One group: it has the fault once and then works. Two groups: "bad" always has the fault, "good" never.
"""

from dataclasses import dataclass, field

import pytest

from llama_serving.gateway.upstream.exchange import WHOLE_BELOW
from tests.component.gateway.running import Gateway, gateway
from tests.component.gateway.scripted import (
    DONE,
    EVENT,
    OK_BODY,
    Exchange,
    Script,
    Upstream,
    answer,
    head,
    stream,
    upstreams,
)


async def closes_before_the_head(exchange: Exchange) -> None:
    exchange.close()


async def resets_before_the_head(exchange: Exchange) -> None:
    exchange.reset()


async def dies_within_the_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    exchange.close()


async def dies_after_the_head(exchange: Exchange) -> None:
    await exchange.send(head(200, "content-length: 100"))
    exchange.close()


async def dies_before_the_first_chunk(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    exchange.reset()


async def dies_between_events(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    await exchange.chunk(EVENT)
    await exchange.relayed.wait()
    exchange.close()


async def dies_within_an_event(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    await exchange.chunk(EVENT[:20])
    await exchange.relayed.wait()
    exchange.close()


async def dies_within_a_body(exchange: Exchange) -> None:
    await exchange.send(head(200, "content-length: 100") + b"{")
    exchange.close()


async def dies_within_a_long_body(exchange: Exchange) -> None:
    await exchange.send(head(200, f"content-length: {WHOLE_BELOW + 1}") + b"{")
    await exchange.relayed.wait()
    exchange.close()


async def breaks_its_chunks(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    await exchange.chunk(EVENT)
    await exchange.relayed.wait()
    await exchange.send(b"no chunk at all\r\n")
    exchange.close()


async def speaks_something_else(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await exchange.until_closed()


async def hangs(exchange: Exchange) -> None:
    await exchange.until_closed()


async def hangs_after_the_head(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    await exchange.until_closed()


async def hangs_between_events(exchange: Exchange) -> None:
    await exchange.send(head(200, "transfer-encoding: chunked", kind="text/event-stream"))
    await exchange.chunk(EVENT)
    await exchange.until_closed()


ENGINE_ERROR = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
CLIENT_ERROR = b'data: {"error": {"message": "too long", "code": 400}}\n\n'


@dataclass(frozen=True)
class Seen:
    """What a client sees, and what is counted besides ``finished`` of a whole answer."""

    status: int
    body: bytes | None = None
    broken: bool = False
    counts: dict[str, int] = field(default_factory=dict)


RETRIED = Seen(200, OK_BODY, counts={"finished": 1, "retried": 1})
UNANSWERED = Seen(504)


def passed(status: int, body: bytes = OK_BODY) -> Seen:
    return Seen(status, body, counts={"finished": 1})


def own(status: int) -> Seen:
    """The same failure twice: the second is passed on."""
    return Seen(status, OK_BODY, counts={"finished": 1, "retried": 1})


BROKEN = {"broken": 1}

# script, seen with one group that recovers, seen with a bad and a good group
CASES: dict[str, tuple[Script, Seen, Seen]] = {
    "closes before the head": (closes_before_the_head, RETRIED, RETRIED),
    "resets before the head": (resets_before_the_head, RETRIED, RETRIED),
    "dies within the head": (dies_within_the_head, RETRIED, RETRIED),
    "dies after the head": (dies_after_the_head, RETRIED, RETRIED),
    "dies before the first chunk": (dies_before_the_first_chunk, RETRIED, RETRIED),
    "speaks something else": (speaks_something_else, RETRIED, RETRIED),
    "500": (answer(500), RETRIED, RETRIED),
    "502": (answer(502), RETRIED, RETRIED),
    "503": (answer(503), RETRIED, RETRIED),
    "504": (answer(504), RETRIED, RETRIED),
    "stream begins with an engine's error": (stream(ENGINE_ERROR, DONE), RETRIED, RETRIED),
    "stream begins with a client's error": (
        stream(CLIENT_ERROR),
        passed(200, CLIENT_ERROR),
        passed(200, CLIENT_ERROR),
    ),
    "400": (answer(400), passed(400), passed(400)),
    "401": (answer(401), passed(401), passed(401)),
    "404": (answer(404), passed(404), passed(404)),
    "429": (answer(429), passed(429), passed(429)),
    "501": (answer(501), passed(501), passed(501)),
    "hangs": (hangs, UNANSWERED, UNANSWERED),
    "hangs after the head": (hangs_after_the_head, UNANSWERED, UNANSWERED),
    "dies within an event": (
        dies_within_an_event,
        Seen(200, EVENT[:20], True, BROKEN),
        Seen(200, EVENT[:20], True, BROKEN),
    ),
    "dies within a body": (dies_within_a_body, RETRIED, RETRIED),
    "dies within a long body": (
        dies_within_a_long_body,
        Seen(200, b"{", True, BROKEN),
        Seen(200, b"{", True, BROKEN),
    ),
    "dies between events": (dies_between_events, Seen(200, None, True, BROKEN), Seen(200, None, True, BROKEN)),
    "breaks its chunks": (breaks_its_chunks, Seen(200, None, True, BROKEN), Seen(200, None, True, BROKEN)),
    "hangs between events": (hangs_between_events, Seen(200, None, True, BROKEN), Seen(200, None, True, BROKEN)),
}


async def check(running: Gateway, upstream: Upstream, seen: Seen) -> None:
    got = await running.request(on_piece=upstream.relayed.set)
    assert (got.status, got.broken) == (seen.status, seen.broken), got
    if seen.body is not None:
        assert got.body == seen.body
    elif seen.broken:
        first, _, last = got.body.partition(b"\n\n")
        assert first + b"\n\n" == EVENT
        assert b'data: {"error": {"message": "the group broke off' in last
        assert last.endswith(b"\n\n")
    assert await running.totals() == seen.counts
    load = await running.load()
    assert (load.in_flight, load.waiting) == (0, 0)


@pytest.mark.parametrize("name", CASES)
async def test_one_group_that_has_the_fault_once(name: str) -> None:
    script, seen, _ = CASES[name]
    only = Upstream([script])
    async with upstreams(only), gateway(only.endpoint("only"), first_byte_timeout=0.3, idle_timeout=0.3) as running:
        await check(running, only, seen)
    assert len(only.seen) == 1 + seen.counts.get("retried", 0)
    assert len({exchange.body for exchange in only.seen}) == 1, "a retry must send the same body"


@pytest.mark.parametrize("name", CASES)
async def test_two_groups_of_which_the_first_always_has_the_fault(name: str) -> None:
    script, _, seen = CASES[name]
    bad, good = Upstream(then=script), Upstream()
    async with upstreams(bad, good):
        endpoints = bad.endpoint("bad"), good.endpoint("good", ordinal=1)
        async with gateway(*endpoints, first_byte_timeout=0.3, idle_timeout=0.3) as running:
            await check(running, bad, seen)
    assert len(bad.seen) == 1
    assert len(good.seen) == seen.counts.get("retried", 0)
