"""Every scheme against a real server: what it lists, what it reads, and how it fails."""

from pathlib import Path

import pytest

from llama_serving.weights.source.interface import Broken, Busy, Gone, Source
from llama_serving.weights.source.retry import RetryPolicy, read_with_retries
from tests.unit.weights.model.folders import FIRST
from tests.weights.faults import Fault
from tests.weights.models import SERVED
from tests.weights.places import Place


async def content(source: Source, path: str, *, begin: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in source.read(path, begin=begin, end=end)])


async def test_lists_the_files(place: Place, model: Path) -> None:
    source = place.open()
    listed = {file.path: file for file in await source.list()}
    assert {*SERVED, "README.md"} <= set(listed)
    assert {name: file.size for name, file in listed.items()} == {
        name: (model / name).stat().st_size for name in listed
    }
    assert bool(listed[FIRST].sha256) == place.lists_sha256
    assert source.ranged


async def test_resolves_the_revision(place: Place) -> None:
    source = place.open()
    assert await source.resolve() == place.resolved


async def test_a_resolved_revision_opens_the_same(place: Place, model: Path) -> None:
    source = place.open(revision=place.resolved)
    assert await source.resolve() == place.resolved
    assert await content(source, "config.json") == (model / "config.json").read_bytes()


@pytest.mark.parametrize(("begin", "end"), [(0, None), (0, 8), (100, 1_500_000), (2_000_000, None), (7, 7)])
async def test_reads_ranges(place: Place, *, model: Path, begin: int, end: int | None) -> None:
    source = place.open()
    assert await content(source, FIRST, begin=begin, end=end) == (model / FIRST).read_bytes()[begin:end]


async def test_a_range_costs_its_own_bytes(place: Place) -> None:
    source = place.open()
    await content(source, FIRST, begin=100, end=200)
    assert place.proxy.ranges(place.target(FIRST)) == ["100-199"]


async def test_what_is_not_there_is_gone(place: Place) -> None:
    source = place.open()
    with pytest.raises(Gone, match=r"nothing\.safetensors|titl"):
        await content(source, "nothing.safetensors")


async def test_another_revision_is_gone(place: Place) -> None:
    source = place.open(revision="v0")
    with pytest.raises(Gone, match="v0"):
        await source.list()


async def test_a_cut_is_broken(place: Place) -> None:
    place.proxy.faults.append(Fault("cut", place.target(FIRST), at=1_000_000))
    source = place.open()
    with pytest.raises(Broken):
        await content(source, FIRST)


@pytest.mark.parametrize("retry_after", ["7", "Wed, 21 Oct 2099 07:28:00 GMT", ""])
async def test_429_is_busy(place: Place, retry_after: str) -> None:
    place.proxy.faults.append(Fault("busy", place.target(FIRST), retry_after=retry_after))
    source = place.open()
    with pytest.raises(Busy, match="429") as busy:
        await content(source, FIRST)
    expected = {"7": 7.0, "": None}.get(retry_after, 3600.0)  # never longer than an hour
    assert busy.value.after == (expected if place.says_retry_after else None)


async def test_429_to_the_list_is_busy(place: Place) -> None:
    place.proxy.faults.append(Fault("busy", retry_after="3"))
    source = place.open()
    with pytest.raises(Busy, match="429") as busy:
        await source.list()
    assert busy.value.after == (3.0 if place.says_retry_after else None)


async def test_reading_goes_on_after_cuts_and_429(place: Place, model: Path) -> None:
    """Two cuts and a refusal in one file: every byte once, and none asked for again that was given out."""
    target = place.target(FIRST)
    place.proxy.faults += [
        Fault("cut", target, at=1_500_000),
        Fault("busy", target, retry_after="5"),
        Fault("cut", target, at=300_000),
    ]
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    retry = RetryPolicy(deadline=60, sleep=sleep, jitter=lambda: 0.0)
    source = place.open()
    pieces = [piece async for piece in read_with_retries(source, FIRST, retry=retry)]
    assert b"".join(pieces) == (model / FIRST).read_bytes()
    begins = [int(asked.partition("-")[0] or 0) for asked in place.proxy.ranges(target)]
    assert len(begins) == 4, begins
    assert begins == sorted(begins), begins
    assert begins[-1] > 0
    assert len(waits) == 3
    if place.says_retry_after:
        assert 5.0 in waits


async def test_a_server_that_is_not_there_is_broken(place: Place) -> None:
    """The proxy closes each connection without an answer."""
    place.proxy.upstream = 1
    source = place.open()
    with pytest.raises(Broken):
        await source.list()
