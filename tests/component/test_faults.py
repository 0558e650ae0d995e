"""A fault at every call, a crash at every step, a lagging watch: each ends in the state of the calm run.

The life of a deployment is cut into chapters; a faulty run leaves the calm one before the pass that it spoils and is
compared with it at the end of the chapter, so that every call is tried without running the whole life each time.
"""

from collections.abc import Callable, Iterator

import pytest

from llama_operator.ports import Key, Rejected, Retry
from llama_operator.reconcile import Bodies
from tests.fakes.cluster import clone
from tests.fakes.world import KEY, Crash, World

Chapter = Callable[[World], None]

pytestmark = pytest.mark.timeout(900)  # hundreds of lives, one after the other


def start(world: World) -> None:
    """Nothing is there but the object."""


def lose_a_leader(world: World) -> None:
    world.cluster.vanish("Pod", world.stage_names()[0])


def change_the_model(world: World) -> None:
    """Exchanged in place."""
    world.cluster.edit(KEY, lambda spec: spec["model"].update(revision="v2"))


def change_the_pods(world: World) -> None:
    """Replaced, an old group at a time, with other weights at once."""
    world.cluster.edit(KEY, lambda spec: (spec["model"].update(revision="v3"), spec.update(contextLength=1024)))


def surge(world: World) -> None:
    """Replaced, with a group more."""
    rollout = {"strategy": "surge"}
    world.cluster.edit(KEY, lambda spec: spec.update(contextLength=2048, rollout=rollout))


def try_a_canary(world: World) -> None:
    """One group first, watched, then the other."""
    rollout = {"canary": {"groups": 1, "seconds": 3}}
    world.cluster.edit(KEY, lambda spec: (spec["model"].update(revision="v4"), spec.update(rollout=rollout)))


def fail_and_go_back(world: World) -> None:
    """The weights come, are exchanged, and do not pass: back, and held."""
    world.nodes.behave("bad", logprob=-9.6)
    world.cluster.edit(KEY, lambda spec: (spec["model"].update(revision="bad"), spec.pop("rollout", None)))


def scale_down(world: World) -> None:
    world.cluster.edit(KEY, lambda spec: spec.update(replicas=1))


CHAPTERS: tuple[Chapter, ...] = (
    start,
    lose_a_leader,
    change_the_model,
    change_the_pods,
    surge,
    try_a_canary,
    fail_and_go_back,
    scale_down,
)
#: The first chapters are spoiled at every call; of the rollouts every write is the operator's last in one test, and a
#: fault comes at every third call.
EVERY = {chapter: 1 if chapter in (start, lose_a_leader, scale_down) else 3 for chapter in CHAPTERS}

WRITES = ("apply", "delete", "rotation", "wish", "admit", "status", "ensure", "release", "token")


def small_world() -> World:
    world = World()
    world.nodes.start_seconds = 1
    world.nodes.request_seconds = 1
    return world


async def life_before(chapter: Chapter) -> World:
    world = small_world()
    for earlier in CHAPTERS[: CHAPTERS.index(chapter)]:
        earlier(world)
        await world.settle()
    return world


def telling_calls(calls: list[str], first: int, *, every: int) -> Iterator[int]:
    """All calls but events, and the look for the token in passes in which nothing else happens: those are all alike."""
    alike = ("token", "capacity")
    telling = (
        number
        for number in range(first, len(calls))
        if not calls[number].startswith("event")
        and not (calls[number].startswith(alike) and calls[number - 1].startswith(("status", *alike)))
    )
    yield from (number for place, number in enumerate(telling) if place % every == 0)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.__name__)
class TestEveryCall:
    async def run(
        self, chapter: Chapter, spoil: Callable[[World, int], None], *, of: tuple[str, ...] = ("",), every: int = 1
    ) -> int:
        """Spoil each (or every n-th) call of the chapter in a run of its own; returns how many there were."""
        calm = await life_before(chapter)
        first, moments = len(calm.cluster.calls), list[World]()
        chapter(calm)
        await calm.settle(moments=moments)
        calls = calm.cluster.calls
        numbers = [n for n in telling_calls(calls, first, every=every) if calls[n].startswith(of)]
        for number in numbers:
            world = next(moment for moment in reversed(moments) if len(moment.cluster.calls) <= number).fork()
            spoil(world, number)
            await world.settle()
            assert world.shape() == calm.shape(), f"after call {number}, {calm.cluster.calls[number]}"
            assert world.nodes.broken == [], f"after call {number}, {calm.cluster.calls[number]}"
        return len(numbers)

    async def test_a_fault_before_it_is_done(self, chapter: Chapter) -> None:
        def spoil(world: World, number: int) -> None:
            world.cluster.faults[number] = Retry("the API server did not answer")

        assert await self.run(chapter, spoil, every=EVERY[chapter]) > 1

    async def test_a_fault_after_it_was_done(self, chapter: Chapter) -> None:
        def spoil(world: World, number: int) -> None:
            world.cluster.late_faults[number] = Retry("the API server did not answer")

        assert await self.run(chapter, spoil, every=EVERY[chapter]) > 1

    async def test_a_refusal(self, chapter: Chapter) -> None:
        def spoil(world: World, number: int) -> None:
            world.cluster.faults[number] = Rejected("exceeded quota: pods")

        refused = ("apply", "delete", "rotation", "wish")
        assert await self.run(chapter, spoil, of=refused, every=EVERY[chapter]) > 0

    async def test_the_process_ends_there(self, chapter: Chapter) -> None:
        """Before each write: what is read before it has left nothing behind."""

        def spoil(world: World, number: int) -> None:
            world.cluster.faults[number] = Crash()

        assert await self.run(chapter, spoil, of=WRITES) > 5

    async def test_a_watch_that_lags_behind(self, chapter: Chapter) -> None:
        """A pass over an old world repeats writes, it never invents others."""
        before = await life_before(chapter)
        calm = before.fork()
        chapter(calm)
        await calm.settle()
        for lag in (1, 2, 4):
            world = before.fork()
            delay_bodies(world, lag)
            chapter(world)
            await world.settle()
            assert world.shape() == calm.shape(), f"{lag} passes behind"


def delay_bodies(world: World, lag: int) -> None:
    seen: list[Bodies] = []
    fresh = world.cluster.bodies

    def lagging(key: Key) -> Bodies:
        seen.append(clone(fresh(key)))
        return seen[max(len(seen) - 1 - lag, 0)]

    vars(world.cluster)["bodies"] = lagging
