"""The watch of Secrets with keys, in virtual time: what it shows is what a list would, and faults cost pauses only."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.access_watch import MOST_SECRETS, PAGE, UNUSED, AccessWatch, SecretsView
from llama_operator.adapters.api_calls import ApiCalls, Call
from llama_operator.ports import Forbidden, Manifest, Rejected, Retry
from llama_serving.config import names
from tests.fakes.clock import in_virtual_time
from tests.fakes.edge import GOOD_KEY, a_secret

TEAM = "team"
NO_CALL = Call()


def virtual(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        in_virtual_time(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class ScriptedCalls(ApiCalls):
    """An API server with some Secrets, whose lists and watches can be made to fail."""

    def __init__(self) -> None:  # no client: nothing goes out
        self.secrets: dict[str, Manifest] = {}
        self.version = 1
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.watches = 0
        self.list_fault: Exception | None = None
        self.watch_answer: Callable[[], Any] | None = None  # what each watch says instead of events
        self.events: asyncio.Queue[Manifest] = asyncio.Queue()

    async def send(self, method: str, path: str, call: Call = NO_CALL) -> Manifest | None:
        assert method == "GET"
        self.asked.append((path, dict(call.query)))
        if self.list_fault:
            raise self.list_fault
        found, start = [self.secrets[name] for name in sorted(self.secrets)], int(call.query.get("continue", 0))
        page = found[start : start + int(PAGE)]
        more = {"continue": str(start + len(page))} if start + len(page) < len(found) else {}
        return {"items": page, "metadata": {"resourceVersion": str(self.version), **more}}

    async def watch(self, path: str, query: dict[str, str], *, seconds: float = inf) -> AsyncGenerator[Manifest, None]:
        self.watches += 1
        assert path.endswith("/secrets")
        assert query["labelSelector"] == names.LABEL_ACCESS_KEY
        if self.watch_answer:
            said = self.watch_answer()
            if isinstance(said, Exception):
                raise said
            if said is not None:
                yield said
            return
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                async with asyncio.timeout(left):
                    event = await self.events.get()
            except TimeoutError:
                return
            yield event

    def change(self, kind: str, body: Manifest) -> None:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            self.secrets.pop(body["metadata"]["name"], None)
        else:
            self.secrets[body["metadata"]["name"]] = body
        self.events.put_nowait({"type": kind, "object": body})


def key_of(name: str, **fields: str) -> Manifest:
    return a_secret(name, labels={names.LABEL_DEPLOYMENT: "chat"}, **{"key": GOOD_KEY, **fields})


class Watched:
    """A watch over scripted calls, and when it said that something changed."""

    def __init__(self) -> None:
        self.calls = ScriptedCalls()
        self.changed: list[float] = []
        self.watch = AccessWatch(self.calls, lambda _: self.changed.append(asyncio.get_running_loop().time()))

    async def names(self) -> list[str]:
        return [one.name for one in (await self.watch.secrets(TEAM)).keys]


@virtual
async def test_secrets_are_listed_in_small_pages_by_their_label_and_then_watched() -> None:
    world = Watched()
    for number in range(40):
        world.calls.secrets[f"k-{number:02}"] = key_of(f"k-{number:02}")
    assert len(await world.names()) == 40
    assert [query["limit"] for _, query in world.calls.asked] == [PAGE, PAGE, PAGE]
    assert {query["labelSelector"] for _, query in world.calls.asked} == {names.LABEL_ACCESS_KEY}
    assert {path for path, _ in world.calls.asked} == {"/api/v1/namespaces/team/secrets"}
    await asyncio.sleep(60)
    await world.names()
    assert len(world.calls.asked) == 3, "no list in a steady state"
    await world.watch.close()


@virtual
async def test_a_change_is_passed_on_at_once_and_what_says_the_same_is_not() -> None:
    world = Watched()
    await world.names()
    await asyncio.sleep(5)
    before = len(world.changed)
    world.calls.change("ADDED", key_of("ann"))
    await asyncio.sleep(0.1)
    assert world.changed[before:] == [5.0]
    assert await world.names() == ["ann"]
    world.calls.change("MODIFIED", key_of("ann"))
    await asyncio.sleep(1)
    assert len(world.changed) == before + 1
    world.calls.change("DELETED", key_of("ann"))
    await asyncio.sleep(0.1)
    assert await world.names() == []
    assert len(world.changed) == before + 2
    await world.watch.close()


@virtual
async def test_a_missing_right_is_an_answer_and_is_looked_at_again() -> None:
    world = Watched()
    world.calls.list_fault = Forbidden("secrets is forbidden")
    assert (await world.watch.secrets(TEAM)).denied == "secrets is forbidden"
    world.calls.list_fault = None
    world.calls.secrets["ann"] = key_of("ann")
    before = len(world.changed)
    await asyncio.sleep(20)
    found = await world.watch.secrets(TEAM)
    assert (found.denied, [one.name for one in found.keys]) == ("", ["ann"])
    assert len(world.changed) == before + 1, "loops are woken"
    await world.watch.close()


@virtual
async def test_before_the_first_list_nothing_is_known_and_afterwards_faults_keep_what_was_seen() -> None:
    world = Watched()
    world.calls.list_fault = Retry("no connection")
    with pytest.raises(Retry, match="no connection"):
        await world.watch.secrets(TEAM)
    world.calls.list_fault = None
    world.calls.secrets["ann"] = key_of("ann")
    await asyncio.sleep(2)
    assert await world.names() == ["ann"]
    world.calls.list_fault = Retry("no connection")
    world.calls.watch_answer = lambda: Retry("no connection")
    await asyncio.sleep(600)
    assert await world.names() == ["ann"]
    await world.watch.close()


FAULTS: dict[str, Callable[[], Any]] = {
    "expired": lambda: {"type": "ERROR", "object": {"code": 410}},
    "another error": lambda: {"type": "ERROR", "object": {"code": 500}},
    "ends at once": lambda: None,
    "no event": lambda: ["?"],
    "half a line": lambda: ValueError("Expecting value"),
    "refused": lambda: Rejected("gone"),
    "no connection": lambda: Retry("no connection"),
}


@pytest.mark.parametrize("fault", FAULTS)
@virtual
async def test_a_watch_that_fails_is_begun_again_with_growing_pauses(fault: str) -> None:
    world = Watched()
    world.calls.watch_answer = FAULTS[fault]
    await world.names()
    await asyncio.sleep(300)
    assert world.calls.watches + len(world.calls.asked) < 60, "a hot loop"
    world.calls.watch_answer = None
    world.calls.change("ADDED", key_of("ann"))
    await asyncio.sleep(40)
    assert await world.names() == ["ann"]
    await world.watch.close()


@virtual
async def test_a_namespace_that_nobody_asks_about_is_not_watched_for_ever() -> None:
    world = Watched()
    await world.names()
    await asyncio.sleep(2 * UNUSED)
    watches = world.calls.watches
    await asyncio.sleep(10 * UNUSED)
    assert world.calls.watches == watches
    world.calls.secrets["ann"] = key_of("ann")
    assert await world.names() == ["ann"], "it begins again with a list"
    await world.watch.close()


def test_of_a_namespace_so_many_are_kept_and_the_others_are_counted() -> None:
    view = SecretsView()
    for number in range(MOST_SECRETS + 3):
        view.see(key_of(f"k-{number}"))
    found = view.secrets(denied="")
    assert (len(found.keys), found.left_out) == (MOST_SECRETS, 3)


HISTORIES = st.lists(
    st.tuples(st.sampled_from(("ADDED", "DELETED", "going", "rules", "list")), st.sampled_from("abcd"), st.booleans()),
    max_size=30,
)


@given(HISTORIES)
def test_the_view_is_what_a_list_would_be(history: list[tuple[str, str, bool]]) -> None:
    view, there = SecretsView(), dict[str, Manifest]()
    for what, name, good in history:
        body = key_of(name, **({} if good else {"weight": "none"}))
        if what == "rules":
            body["metadata"]["labels"][names.LABEL_ACCESS_KEY] = names.ACCESS_RULES
        if what == "going":
            body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if what == "list":  # one went unseen
            there = dict(list(there.items())[1:])
            view.only(set(there))
        elif what == "DELETED":
            there.pop(name, None)
            view.see(body, gone=True)
        else:
            there[name] = body
            before = view.secrets(denied="")
            assert view.see(body) == (before != view.secrets(denied=""))
        fresh = SecretsView()
        for one in there.values():
            fresh.see(one)
        assert fresh.secrets(denied="") == view.secrets(denied="")
