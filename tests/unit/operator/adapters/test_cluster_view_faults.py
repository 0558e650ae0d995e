"""The watches of nodes and pods among faults: they go on, from a list where that is needed, and ask little."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio import client

from llama_operator.adapters import api_calls
from llama_operator.adapters.api_calls import ApiCalls
from llama_operator.adapters.cluster_view import ClusterView
from llama_operator.adapters.leases import KubeLeases
from llama_operator.adapters.watching.pace import Times
from llama_operator.ports import Capacity, Rejected, Retry
from tests.fakes.api.faults import FAULTS
from tests.fakes.api.server import SmallApi, small_api

DEADLINE_S = 30.0


@asynccontextmanager
async def client_of(api: SmallApi) -> AsyncIterator[client.ApiClient]:
    async with client.ApiClient(client.Configuration(host=api.url)) as found:
        yield found


async def until(view: ClusterView, condition: Callable[[Capacity], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                if (found := await view.capacity()) is not None and condition(found):
                    return
            except (Retry, Rejected):
                pass
            await asyncio.sleep(0.02)


def node(api: SmallApi, name: str, **annotations: str) -> None:
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations}}
    api.create(f"/api/v1/nodes/{name}", body)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("silent", "bookmarks alone", "429 for ever")])
async def test_the_view_goes_on_after_a_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_calls, "DEADLINE", 0.5)
    async with small_api() as api, client_of(api) as http:
        node(api, "one")
        view = ClusterView(ApiCalls(http), times=Times(first=0.1, longest=0.5), again=0.2)
        await until(view, lambda found: len(found.nodes) == 1)
        api.set_fault(name)
        await api.until_asked(6)
        node(api, "two")
        api.set_fault("")
        await until(view, lambda found: len(found.nodes) == 2)
        await view.close()


async def test_large_pods_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_calls, "ANSWER", 1 << 20)
    async with small_api() as api, client_of(api) as http:
        for number in range(12):
            node(api, f"n{number:02d}", large="x" * 200_000)
        view = ClusterView(ApiCalls(http))
        await until(view, lambda found: len(found.nodes) == 12)
        await view.close()


@pytest.mark.parametrize(
    "name", ["page of a proxy", "page said to be JSON", "empty object", "deep", "500", "429 for ever"]
)
async def test_what_is_no_lease_is_a_retry(name: str) -> None:
    async with small_api() as api, client_of(api) as http:
        api.set_fault(name)
        with pytest.raises(Retry) as caught:
            await KubeLeases(http).read("team")
        assert caught.value.after <= 60
