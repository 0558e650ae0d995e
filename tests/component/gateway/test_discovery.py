"""The watch of leaders' pods against an API server that does what API servers do."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from llama_serving.common.kube_access import Access
from llama_serving.config import names
from llama_serving.gateway.discovery.kubernetes import KubernetesDiscovery
from llama_serving.gateway.discovery.object_watch import WatchTimes, retry_pause
from llama_serving.gateway.routing.endpoint import Endpoint
from tests.component.gateway.apiserver import ApiServer, pod, running
from tests.component.gateway.running import until
from tests.fakes.api.faults import FAULTS

QUICK = WatchTimes(request=2, watch=60, silence=5, backoff=0.01, max_backoff=0.05)


class Groups:
    """What was published last, and how often."""

    def __init__(self) -> None:
        self.endpoints: tuple[Endpoint, ...] | None = None
        self.times = 0

    def publish(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = endpoints
        self.times += 1

    @property
    def ready(self) -> list[str]:
        return sorted(endpoint.name for endpoint in self.endpoints or () if endpoint.ready)


@asynccontextmanager
async def watching(server: ApiServer, *, times: WatchTimes = QUICK) -> AsyncIterator[Groups]:
    groups = Groups()
    tokens = iter(range(1000))
    discovery = KubernetesDiscovery(
        deployment="chat",
        namespace="ml",
        access=lambda: Access(server.url, {"authorization": f"Bearer t{next(tokens)}"}, None),
        times=times,
        jitter=lambda: 0.5,
    )
    task = asyncio.create_task(discovery.run(groups.publish))
    try:
        yield groups
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def watches(server: ApiServer, count: int) -> None:
    await until(lambda: len(server.watches) >= count, shows=lambda: server.requests)


async def test_leaders_of_this_deployment_are_listed_and_then_watched() -> None:
    async with running(ApiServer()) as server:
        server.put(pod("chat-a-0-0", group="4"))
        async with watching(server) as groups:
            await watches(server, 1)
            assert groups.endpoints == (Endpoint("uid-of-chat-a-0-0", "chat-a-0-0", 4, "w1", "10.0.0.1", 8000, True),)
    selector = "llama-operator.dev/deployment=chat,app.kubernetes.io/component=stage,llama-operator.dev/stage=0"
    assert [path for path, _, _ in server.requests] == ["/api/v1/namespaces/ml/pods"] * 2
    assert [query["labelSelector"] for _, query, _ in server.requests] == [selector] * 2
    watch = server.watches[0].query
    assert (watch["resourceVersion"], watch["allowWatchBookmarks"], watch["timeoutSeconds"]) == ("101", "true", "45")


async def test_no_leader_at_all_is_published_too() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await until(lambda: groups.endpoints == ())


async def test_events_change_the_groups() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        await server.event("ADDED", pod("a", ready=False))
        await server.event("ADDED", pod("b"))
        await until(lambda: groups.ready == ["b"])
        await server.event("MODIFIED", pod("a"))
        await until(lambda: groups.ready == ["a", "b"])
        await server.event("MODIFIED", pod("b", deletionTimestamp="2026-01-01T00:00:00Z"))
        await until(lambda: groups.ready == ["a"])
        await server.event("DELETED", pod("b"))
        await until(lambda: [endpoint.name for endpoint in groups.endpoints or ()] == ["a"])
    assert server.lists == 1


async def test_an_event_that_changes_nothing_for_us_publishes_nothing() -> None:
    async with running(ApiServer()) as server:
        server.put(pod("a"))
        async with watching(server) as groups:
            await watches(server, 1)
            await server.event("MODIFIED", pod("a", labels={"llama-operator.dev/group": "0", "other": "label"}))
            await server.event("ADDED", pod("b"))
            await until(lambda: groups.ready == ["a", "b"])
    assert groups.times == 2


async def test_events_may_come_in_any_pieces_and_sizes() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        large = server.put(pod("a", annotations={"note": "x" * 300_000}))
        data = json.dumps({"type": "ADDED", "object": large}).encode() + b"\n"
        for start in range(0, len(data), 50_000):
            await server.watches[0].send_bytes(data[start : start + 50_000])
        await until(lambda: groups.ready == ["a"])


async def test_a_watch_that_ends_goes_on_from_the_last_version_without_a_new_list() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        await server.event("ADDED", pod("a"))
        await until(lambda: groups.ready == ["a"])
        server.watches[0].end()
        await watches(server, 2)
        assert server.watches[1].query["resourceVersion"] == "101"
    assert server.lists == 1
    assert [token for _, _, token in server.requests] == ["Bearer t0", "Bearer t0", "Bearer t1"]


async def test_bookmarks_move_the_version_forward() -> None:
    async with running(ApiServer()) as server, watching(server):
        await watches(server, 1)
        await server.watches[0].send("BOOKMARK", {"metadata": {"resourceVersion": "777"}})
        server.watches[0].end()
        await watches(server, 2)
        assert server.watches[1].query["resourceVersion"] == "777"


@pytest.mark.parametrize("as_status", [True, False])
async def test_a_version_that_is_too_old_leads_to_a_new_list(as_status: bool) -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        await server.event("ADDED", pod("gone"))
        await until(lambda: groups.ready == ["gone"])
        server.pods.clear()
        server.put(pod("new"))
        if as_status:
            server.refuse_watch = 410
            server.watches[0].end()
            await until(lambda: server.lists >= 2)
            server.refuse_watch = 0
        else:
            await server.watches[0].send("ERROR", {"kind": "Status", "code": 410, "message": "too old"})
        await until(lambda: groups.ready == ["new"])
        await watches(server, 2)


async def test_a_watch_that_breaks_is_taken_up_again() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        server.watches[0].end(abort=True)
        await watches(server, 2)
        await server.event("ADDED", pod("a"))
        await until(lambda: groups.ready == ["a"])
    assert server.lists == 1


async def test_a_watch_that_ends_within_an_event_is_taken_up_before_that_event() -> None:
    async with running(ApiServer()) as server, watching(server):
        await watches(server, 1)
        await server.watches[0].send_bytes(b'{"type": "ADDED", "obj')
        server.watches[0].end()
        await watches(server, 2)
        assert server.watches[1].query["resourceVersion"] == "100"


async def test_a_silent_watch_is_given_up() -> None:
    times = WatchTimes(request=2, watch=60, silence=0.2, backoff=0.01, max_backoff=0.05)
    async with running(ApiServer()) as server, watching(server, times=times):
        await watches(server, 3)
    assert server.lists == 1


async def test_while_the_api_server_is_away_the_last_known_groups_stay(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = ApiServer()
    async with running(server):
        server.put(pod("a"))
        async with watching(server) as groups:
            await watches(server, 1)
            port = urlsplit(server.url).port
            assert port is not None
            server.watches[0].end(abort=True)
            server.refuse_watch = server.refuse_list = 503
            await until(lambda: len(caplog.records) >= 5)
            assert groups.ready == ["a"]
            assert groups.times == 1
            server.refuse_watch = server.refuse_list = 0
            await watches(server, 2)
            await server.event("ADDED", pod("b"))
            await until(lambda: groups.ready == ["a", "b"])
    assert "keeping the last known groups" in caplog.records[0].getMessage()


async def test_it_starts_before_the_api_server() -> None:
    server = ApiServer(refuse_list=500)
    async with running(server), watching(server) as groups:
        await until(lambda: server.lists >= 3)
        assert groups.endpoints is None
        server.put(pod("a"))
        server.refuse_list = 0
        await until(lambda: groups.ready == ["a"])


async def test_an_answer_of_another_shape_is_a_failure_and_not_the_end() -> None:
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        await server.watches[0].send_bytes(b'{"kind": "Something"}\n')
        await watches(server, 2)
        await server.watches[1].send_bytes(b"<html>\n")
        await watches(server, 3)
        await server.event("ADDED", pod("a"))
        await until(lambda: groups.ready == ["a"])


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.stream or fault.text])
async def test_whatever_comes_in_place_of_an_event_the_watch_goes_on(name: str) -> None:
    fault = FAULTS[name]
    async with running(ApiServer()) as server, watching(server) as groups:
        await watches(server, 1)
        for part in fault.stream or (fault.text.encode() + b"\n",):
            await server.watches[0].send_bytes(part)
        server.watches[0].end()
        await watches(server, 2)
        await server.event("ADDED", pod("a"))
        await until(lambda: groups.ready == ["a"])


@pytest.mark.parametrize("text", ["null", "[]", '{"items": [7]}', '{"items": [{"metadata": []}]}', "[" * 100_000])
async def test_whatever_comes_in_place_of_a_list_another_is_asked_for(text: str) -> None:
    server = ApiServer(garbage=text)
    async with running(server), watching(server) as groups:
        await until(lambda: server.lists >= 3)
        assert groups.endpoints is None
        server.put(pod("a"))
        server.garbage = ""
        await until(lambda: groups.ready == ["a"])


async def test_an_error_of_another_kind_leads_to_a_new_list() -> None:
    async with running(ApiServer()) as server, watching(server):
        await watches(server, 1)
        await server.watches[0].send("ERROR", {"kind": "Status", "code": 500, "message": "etcd is away"})
        await watches(server, 2)
    assert server.lists == 2


def test_pauses_between_failures_grow_and_are_spread() -> None:
    pauses = [
        [retry_pause(WatchTimes(), failures=failures, jitter=jitter) for failures in range(1, 8)]
        for jitter in (0.0, 1.0)
    ]
    assert pauses[0] == [0.25, 0.5, 1, 2, 4, 7.5, 7.5]
    assert pauses[1] == [0.5, 1, 2, 4, 8, 15, 15]


async def test_adapters_are_followed_and_a_malformed_note_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = ApiServer({"a": pod("a", annotations={names.ANNOTATION_ADAPTERS: '{"style":"s@1"}'})})

    def of_a(groups: Groups) -> Mapping[str, str]:
        return groups.endpoints[0].adapters if groups.endpoints else {}

    async with running(server), watching(server) as groups:
        await watches(server, 1)
        assert of_a(groups) == {"style": "s@1"}
        for ready in (True, False, True):
            bad = pod("a", ready=ready, annotations={names.ANNOTATION_ADAPTERS: "{"})
            bad["metadata"]["resourceVersion"] = "101"
            await server.watches[0].send("MODIFIED", bad)
            await until(lambda: groups.ready == ["a"] * ready and of_a(groups) == {})  # noqa: B023
        good = pod("a", annotations={names.ANNOTATION_ADAPTERS: '{"style":"s@2"}'})
        good["metadata"]["resourceVersion"] = "102"
        await server.watches[0].send("MODIFIED", good)
        await until(lambda: of_a(groups) == {"style": "s@2"})
    said = [record for record in caplog.records if "adapters ignored" in record.getMessage()]
    assert len(said) == 1
