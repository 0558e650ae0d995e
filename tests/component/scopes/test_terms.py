"""Several operators on one namespace, in virtual time: at most one may write at any moment, and soon one does again."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from llama_operator.scopes.term import MARGIN, SECONDS, Terms
from tests.fakes.clock import in_virtual_time
from tests.fakes.leases import Another, FakeLeases

TEAM = "team"


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        in_virtual_time(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class Town:
    """Processes that share the leases, each with its own way to the API server and its own clock."""

    def __init__(self) -> None:
        self.store = FakeLeases()
        self.leases: dict[str, Another] = {}
        self.terms: dict[str, Terms] = {}

    def start(self, name: str, *, skew: float = 0.0) -> Terms:
        loop = asyncio.get_running_loop()
        self.leases[name] = Another(of=self.store)
        made = self.terms[name] = Terms(me=name, leases=self.leases[name], clock=lambda: loop.time() + skew)
        made.of(TEAM)
        return made

    def writers(self) -> list[str]:
        return [name for name, terms in self.terms.items() if terms.left(TEAM) > 0]

    async def end(self) -> None:
        for terms in self.terms.values():
            await terms.close()


@virtual
async def test_the_first_serves_and_the_second_stands_by() -> None:
    town = Town()
    town.start("one")
    await asyncio.sleep(1)
    other = town.start("other", skew=1e6)
    await asyncio.sleep(600)
    assert town.writers() == ["one"]
    assert (other.of(TEAM).holder, other.of(TEAM).well) == ("one", True)
    assert {lease.holder for lease in town.store.writes} == {"one"}
    await town.end()


@virtual
async def test_whoever_resigns_is_followed_at_once() -> None:
    town = Town()
    one = town.start("one")
    await asyncio.sleep(1)
    town.start("other")
    await asyncio.sleep(100)
    await one.close()
    assert one.left(TEAM) == 0
    await asyncio.sleep(0.1)
    assert town.writers() == ["other"]
    await town.end()


@pytest.mark.parametrize("after", [0.0, 1.0, 4.9, 5.0, 5.1, 13.0])
@virtual
async def test_whoever_is_cut_off_stops_before_another_begins(after: float) -> None:
    """Its process runs on; only the API server is away for it."""
    town = Town()
    town.start("one")
    await asyncio.sleep(1)
    town.start("other", skew=-500)
    await asyncio.sleep(60 + after)
    town.leases["one"].away = True
    cut = asyncio.get_running_loop().time()
    while town.writers() != ["other"]:
        assert len(town.writers()) <= 1
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - cut <= 1.15 * SECONDS
    await asyncio.sleep(30)
    town.leases["one"].away = False
    await asyncio.sleep(30)
    assert town.writers() == ["other"]
    await town.end()


@virtual
async def test_a_pass_ends_with_the_lease_and_none_begins_without() -> None:
    town = Town()
    one, ended = town.start("one"), []

    async def passes() -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with one.turn(TEAM):
                try:
                    await asyncio.sleep(1000)
                finally:
                    ended.append((loop.time(), one.left(TEAM)))

    running = asyncio.create_task(passes())
    await asyncio.sleep(100)
    assert ended == [], "renewals keep a long pass alive"
    town.leases["one"].away = True
    await asyncio.sleep(100)
    ((at, left),) = ended
    assert 100 < at <= 100 + SECONDS - MARGIN
    assert left == 0
    town.leases["one"].away = False
    await asyncio.sleep(10)
    assert town.writers() == ["one"]
    running.cancel()
    await town.end()


@virtual
async def test_a_namespace_without_a_lease_may_not_be_written() -> None:
    town = Town()
    one = town.start("one")
    await asyncio.sleep(1)
    assert one.left("elsewhere") == 0
    await one.close()
    assert one.left(TEAM) == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(a_pass(one), 100)


async def a_pass(terms: Terms) -> None:
    async with terms.turn(TEAM):
        raise AssertionError("a pass after the end")


@pytest.mark.parametrize("seed", range(20))
@virtual
async def test_whatever_happens_at_most_one_writes_and_at_last_one_does(seed: int) -> None:
    random, town = Random(seed), Town()
    for name in ("a", "b", "c"):
        town.start(name, skew=random.uniform(-1e6, 1e6))
    for _ in range(60):
        name = random.choice(list(town.terms))
        what = random.choice(("away", "back", "back", "close", "wait", "wait"))
        if what == "close":
            await town.terms[name].close()
            town.start(name, skew=random.uniform(-1e6, 1e6))
        elif what != "wait":
            town.leases[name].away = what == "away"
        for _ in range(random.randrange(200)):
            await asyncio.sleep(0.1)
            assert len(town.writers()) <= 1, f"{town.writers()} write at a time"
    for leases in town.leases.values():
        leases.away = False
    await asyncio.sleep(2 * SECONDS)
    assert len(town.writers()) == 1
    await town.end()
