"""Requests that an engine dies of, beside those of users: no group is taken from the users, however it fails."""

import asyncio
from collections import Counter

import pytest

from tests.component.gateway.running import Gateway, gateway, until
from tests.component.gateway.scripted import OK_BODY, Exchange, Script, Upstream, answer, head, upstreams

POISON = b'{"user": "poison"}'
USER = b'{"user": "user"}'
ROUNDS = 30


async def resets(exchange: Exchange) -> None:
    exchange.reset()


async def closes(exchange: Exchange) -> None:
    exchange.close()


async def speaks_something_else(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    exchange.close()


async def breaks_off(exchange: Exchange) -> None:
    await exchange.send(head(200, "content-length: 100"), b"{")
    exchange.close()


KINDS: dict[str, Script] = {
    "500": answer(500),
    "503": answer(503),
    "reset": resets,
    "closed": closes,
    "no HTTP": speaks_something_else,
    "half an answer": breaks_off,
}


def engine(poisoned: Script) -> Upstream:
    async def script(exchange: Exchange) -> None:
        await (poisoned if exchange.body == POISON else answer())(exchange)

    return Upstream(then=script)


async def attack(running: Gateway, seen: Counter[int]) -> None:
    seen[(await running.request(data=POISON)).status] += 1


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
async def test_users_are_answered_beside_one_who_fails_every_request(kind: str, groups: int) -> None:
    """In each round four of the attacker's requests come at once, in front of the user's."""
    engines = [engine(KINDS[kind]) for _ in range(groups)]
    attacked: Counter[int] = Counter()
    async with upstreams(*engines):
        endpoints = [one.endpoint(f"g{number}", ordinal=number) for number, one in enumerate(engines)]
        async with gateway(*endpoints, queue_timeout=2) as running:
            attacks = []
            for _ in range(ROUNDS):
                attacks += [asyncio.create_task(attack(running, attacked)) for _ in range(4)]
                got = await running.request(data=USER)
                assert (got.status, got.body) == (200, OK_BODY)
            await asyncio.gather(*attacks)
            assert [group.ejected for group in running.server.load().groups] == [False] * groups
            await until(lambda: running.server.open_requests == 0)
    assert attacked.total() == 4 * ROUNDS
    assert 200 not in attacked
