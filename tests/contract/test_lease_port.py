"""The port ``Leases``: one suite on the fake that the component tests trust and on the real API server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from llama_operator.adapters.leases import KubeLeases
from llama_operator.ports import Lease, Leases, Rejected, Retry
from tests.contract.support.apiserver import client_of
from tests.fakes.leases import FakeLeases

LONG = 30.0  # seconds; nothing here takes as long


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Leases, str]]:
    """The port, and a namespace."""
    if request.param == "fake":
        yield FakeLeases(), "team"
        return
    async with await client_of(request.getfixturevalue("apiserver")) as api:
        yield KubeLeases(api), request.getfixturevalue("namespace")


async def test_a_lease_is_made_renewed_and_released(leases: tuple[Leases, str]) -> None:
    port, namespace = leases
    assert await port.read(namespace) is None
    made = await port.write(namespace, Lease("one", 15.0))
    assert (made.holder, made.seconds, made.transitions) == ("one", 15.0, 0)
    assert await port.read(namespace) == made
    renewed = await port.write(namespace, made)
    assert renewed.version != made.version
    released = await port.write(namespace, replace(renewed, holder="", seconds=1.0))
    found = await port.read(namespace)
    assert (found, released.holder) == (released, "")


async def test_of_two_who_write_the_same_version_one_is_refused(leases: tuple[Leases, str]) -> None:
    port, namespace = leases
    first = await port.write(namespace, Lease("one", 15.0))
    with pytest.raises(Retry):
        await port.write(namespace, Lease("other", 15.0))
    await port.write(namespace, first)
    with pytest.raises(Retry):
        await port.write(namespace, replace(first, holder="other"))
    found = await port.read(namespace)
    assert found is not None
    assert found.holder == "one"


async def test_whoever_waits_for_a_change_is_told_at_once_and_not_before(leases: tuple[Leases, str]) -> None:
    port, namespace = leases
    lease = await port.write(namespace, Lease("one", 15.0))
    waiting = asyncio.create_task(port.changed(namespace, lease, seconds=LONG))
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done
    await port.write(namespace, lease)
    await asyncio.wait_for(waiting, LONG / 2)
    await asyncio.wait_for(port.changed(namespace, lease, seconds=LONG), LONG / 2)  # it was missed, and is told too


@pytest.mark.apiserver
async def test_a_namespace_that_is_missing_is_refused(request: pytest.FixtureRequest) -> None:
    async with await client_of(request.getfixturevalue("apiserver")) as api:
        with pytest.raises(Rejected, match="nowhere"):
            await KubeLeases(api).write("nowhere", Lease("one", 15.0))
