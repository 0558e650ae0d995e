"""A namespace that lacks something: what is said, and that it is watched as soon as it lacks nothing."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_operator.api import API_VERSION, KIND
from llama_operator.ports import Manifest, Obstacles, Retry
from llama_operator.scopes import sentences
from llama_operator.scopes.readiness import Readiness
from llama_operator.scopes.scope import RETRY, Scope
from llama_operator.scopes.term import Terms
from llama_operator.status.obstacles import status_with_obstacle
from tests.fakes.clock import in_virtual_time
from tests.fakes.cluster import START
from tests.fakes.leases import FakeLeases

KINDS = (("v1", "pods"), (API_VERSION, "llamadeployments"))


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run() -> None:
        in_virtual_time(test())  # type: ignore[arg-type]

    return run


@dataclass
class FakeScopes:
    """The port ``Scopes``: what each namespace lacks."""

    lacks: dict[str, Obstacles] = field(default_factory=dict)
    away: bool = False
    told: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    failing: Exception | None = None

    async def obstacles(self, namespace: str, kinds: Sequence[tuple[str, str]]) -> Obstacles:
        assert kinds == KINDS
        if self.away:
            raise Retry("no connection to the API server")
        return self.lacks.get(namespace, Obstacles())

    async def objects(self, namespace: str) -> Sequence[Manifest]:
        return [{"kind": KIND, "metadata": {"namespace": namespace, "name": "chat"}}]

    async def watch(self, namespace: str) -> None:
        self.watched.append(namespace)
        if self.failing:
            raise self.failing
        await asyncio.Event().wait()

    async def tell(self, body: Manifest, text: str) -> None:
        self.told.append(f"{body['metadata']['name']}: {text}")


class Process:
    def __init__(self, port: FakeScopes, *namespaces: str) -> None:
        self.scopes = tuple(Scope(name, KINDS, jitter=lambda: 1.0) for name in namespaces)
        self.readiness = Readiness(self.scopes, Terms(me="me", leases=FakeLeases(), clock=lambda: 0.0))
        self.tasks = [asyncio.create_task(scope.run(port, watch=port.watch, tell=port.tell)) for scope in self.scopes]

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


CRDS = Obstacles((sentences.crds_missing(["llamadeployments.llama-operator.dev"]),))


@virtual
async def test_it_waits_for_its_crds_and_says_so() -> None:
    port = FakeScopes({"team": CRDS})
    process = Process(port, "team")
    assert not process.readiness.ready, "nothing is known yet"
    await asyncio.sleep(60)
    assert (process.readiness.ready, port.watched) == (False, [])
    said = process.readiness.namespaces()["team"]
    assert said.startswith("the CRD llamadeployments.llama-operator.dev is not installed; apply crds/")
    assert port.told[0] == f"chat: {said}"
    port.lacks.clear()
    await asyncio.sleep(RETRY)
    assert (process.readiness.ready, port.watched) == (True, ["team"])
    await process.end()


@virtual
async def test_what_one_namespace_lacks_costs_no_other_anything() -> None:
    gone = Obstacles((sentences.namespace_closed("gone", said="forbidden"),), closed=True)
    port = FakeScopes({"gone": gone})
    process = Process(port, "gone", "team")
    await asyncio.sleep(60)
    assert (process.readiness.ready, port.watched) == (True, ["team"])
    assert process.readiness.namespaces() == {"gone": gone.sentences[0], "team": "serves"}
    alone = Process(port, "gone")
    await asyncio.sleep(60)
    assert not alone.readiness.ready, "it does nothing at all"
    await process.end()
    await alone.end()


@virtual
async def test_a_watch_that_fails_is_begun_again_when_it_can_be() -> None:
    port = FakeScopes(failing=RuntimeError("403"))
    process = Process(port, "team")
    await asyncio.sleep(RETRY / 2)
    assert process.readiness.namespaces() == {"team": sentences.watch_failed("RuntimeError: 403")}
    port.failing, port.away = None, True
    await asyncio.sleep(RETRY)
    assert process.readiness.namespaces() == {"team": "no connection to the API server"}
    port.away = False
    await asyncio.sleep(RETRY)
    assert (process.readiness.ready, len(port.watched)) == (True, 2)
    await process.end()


def body(**status: Any) -> Manifest:
    meta = {"namespace": "team", "name": "chat", "generation": 3}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "status": status}


def test_an_obstacle_is_said_beside_what_was_found_and_once() -> None:
    said = status_with_obstacle(body(observedGeneration=2, groupsReady="1/1", reason="Serving"), "no right", START)
    assert said is not None
    assert (said["observedGeneration"], said["groupsReady"]) == (2, "1/1")
    assert (said["reason"], said["message"]) == ("ApiRejected", "no right")
    (degraded,) = said["conditions"]
    assert (degraded["type"], degraded["status"], degraded["message"]) == ("Degraded", "True", "no right")
    assert status_with_obstacle(body(**said), "no right", START) is None


def test_a_status_of_another_form_is_left_alone() -> None:
    assert status_with_obstacle(body(observedGeneration="x"), "no right", START) is None
