"""kopf behind the guard, in front of a server with faults: it goes on, from a list, and asks little meanwhile.

The times are a twentieth of those of a real operator, so that a fault of minutes is one of seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
import pytest

from llama_operator.adapters.watching.budget import ObjectBudget
from llama_operator.adapters.watching.pace import Times
from llama_operator.api import API_GROUP, VERSION
from llama_operator.loop import Heartbeat
from llama_operator.ports import LEFT_OUT, Key
from llama_operator.reconcile import Bodies
from llama_operator.reconcile_weights import WeightsBodies
from llama_operator.scopes.listings import Listings
from llama_operator.wiring import WATCHED, Loops, build, watch
from llama_serving.config import names
from tests.fakes.api.faults import FAULTS
from tests.fakes.api.server import SmallApi, kubeconfig, small_api
from tests.fakes.api.store import place_of

TEAM = "team"
DEADLINE_S = 30.0
TIMES = Times(first=0.1, longest=1.0, steady=0.5, deadline=1.0, silence=1.0, relist=2.0)
CHAT = f"/apis/{API_GROUP}/{VERSION}/namespaces/{TEAM}/llamadeployments/chat"
PODS = f"/api/v1/namespaces/{TEAM}/pods"
LABELS = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_DEPLOYMENT: "chat"}


class Watching:
    """What the passes saw last, and whether the watches go on."""

    def __init__(self) -> None:
        self.replicas = 0
        self.children: dict[str, dict[str, Any]] = {}
        self.listings = Listings(time.monotonic)
        self.loops = Loops(Heartbeat(clock=time.monotonic))
        self.task: asyncio.Task[None] | None = None

    async def one_pass(self, bodies: Bodies) -> float:
        self.replicas = bodies.deployment["spec"]["replicas"]
        self.children = {child["metadata"]["name"]: dict(child) for child in bodies.children}
        return 0.3

    async def one_weights_pass(self, _: WeightsBodies) -> float:
        return 30.0

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.task is not None
            assert not self.task.done(), f"{what}: the watches have ended: {self.task.exception()!r}"
            assert time.monotonic() < end, f"{what}: not after {DEADLINE_S} s"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(
    api: SmallApi, *, budget: ObjectBudget | None = None, times: Times = TIMES
) -> AsyncIterator[Watching]:
    """Watches of one namespace, until the block ends."""
    found, registry = Watching(), kopf.OperatorRegistry()
    guard = build(
        registry,
        loops=found.loops,
        one_pass=found.one_pass,
        one_weights_pass=found.one_weights_pass,
        listings=found.listings,
        budget=budget,
        times=times,
    )
    api.create(CHAT, {"kind": "LlamaDeployment", "apiVersion": f"{API_GROUP}/{VERSION}", "spec": {"replicas": 1}})
    found.task = asyncio.create_task(watch(registry, TEAM))
    try:
        await found.until(lambda: found.replicas == 1, "the first pass")
        yield found
    finally:
        found.task.cancel()
        await asyncio.wait([found.task], timeout=20)
        await found.loops.stop()
        guard.close()
    assert not found.listings.wanted


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SmallApi]:
    async with small_api() as server:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", server.url)))
        yield server


#: 403 to everything ends the watches, so that the scope says which right is missing.
ENDURED = [name for name in FAULTS if name not in ("403", "429 for ever")]


@pytest.mark.parametrize("name", ENDURED)
async def test_a_fault_is_endured_and_what_went_meanwhile_is_seen(name: str, api: SmallApi) -> None:
    async with watching(api) as found:
        for number in range(3):
            api.create(f"{PODS}/p{number}", pod(f"p{number}"))
        await found.until(lambda: len(found.children) == 3, "the pods")
        api.set_fault(name)
        api.store.forget(place("p1"))
        await found.until(lambda: api.asked.total() >= 2 * len(WATCHED) or idle(api) > 3, "it tries again")
        api.store.put(place("p3"), pod("p3"))
        api.edit(CHAT, {"spec": {"replicas": 7}})
        seconds, asked = time.monotonic() - api.since, api.asked.total()
        assert asked <= per_path(seconds) * (len(WATCHED) + 40), f"{asked} requests in {seconds:.1f} s: {api.asked}"
        api.set_fault("")
        await found.until(lambda: found.replicas == 7, "the edit")
        await found.until(lambda: "p3" in found.children, "the new pod")
        if name not in WITHOUT_A_LIST:
            await found.until(lambda: "p1" not in found.children, "the end of a pod that nobody told of")
        await found.until(lambda: not found.listings.wanted, "nothing is wanted any more")


#: After these a watch goes on from its version, as it may: what is lost without an event stays until the next list.
WITHOUT_A_LIST = frozenset(
    {"connection closed", "never answered", "401", "429", "500", "500 and deep", "503", "ended at once"}
)


def per_path(seconds: float) -> float:
    """Requests for one path in so many seconds: the pauses are 50 ms, 100 ms ... at least half of a second."""
    return 8 + 2 * 2 * seconds / TIMES.longest


def idle(api: SmallApi) -> float:
    return time.monotonic() - api.since


def pod(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(LABELS)}, "status": {}}


def place(name: str) -> Any:
    return place_of(f"{PODS}/{name}")


async def test_a_list_that_is_never_given_makes_liveness_fail_and_one_that_is_mends_it(api: SmallApi) -> None:
    now = [0.0]
    listings = Listings(lambda: now[0])
    async with watching(api) as found:
        found.listings.clock = listings.clock
        found.listings.wanted.clear()
        api.set_fault("503")
        await found.until(lambda: bool(found.listings.wanted), "lists are wanted")
        now[0] += 61
        assert found.listings.late() > 60
        api.set_fault("")
        await found.until(lambda: found.listings.late() == 0, "they were given")


async def test_a_right_that_is_missing_ends_the_watches_so_that_the_scope_says_which(api: SmallApi) -> None:
    async with watching(api) as found:
        api.set_fault("403")
        assert found.task is not None
        await asyncio.wait([found.task], timeout=DEADLINE_S)
        assert "403" in repr(found.task.exception())
        found.listings.wanted.clear()


async def test_large_objects_are_read_in_small_pages_and_beyond_the_budget_without_content(api: SmallApi) -> None:
    flood = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "x" * 900_000}}
    for number in range(40):
        meta = {"name": f"cm-{number:02d}", "labels": dict(LABELS)}
        api.create(f"/api/v1/namespaces/{TEAM}/configmaps/cm-{number:02d}", {**flood, "metadata": meta})
    slow = replace(TIMES, deadline=20.0)  # the server is in this process too
    async with watching(api, budget=ObjectBudget(namespace=10 << 20), times=slow) as found:
        await found.until(lambda: len(found.children) == 40, "all are seen")
        whole = [name for name, child in found.children.items() if LEFT_OUT not in child]
        assert 9 <= len(whole) <= 11
        api.edit(CHAT, {"spec": {"replicas": 2}})
        await found.until(lambda: found.replicas == 2, "the deployment is served")
    assert Key(TEAM, "llamadeployments/chat") not in found.loops.running


async def test_no_watch_without_events_is_believed_for_ever(api: SmallApi) -> None:
    """Watches that show nothing new, bookmarks apart, are followed by a list."""
    async with watching(api) as found:
        api.set_fault("bookmarks alone")
        api.edit(CHAT, {"spec": {"replicas": 5}})
        await found.until(lambda: found.replicas == 5, "a list shows it")
