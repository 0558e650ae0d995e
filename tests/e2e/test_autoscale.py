"""The number of groups follows the load: none, one, three, and none, each for a stated reason, and no request fails."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.support.bed import Bed
from tests.e2e.support.faults import kill_operator, restart_gateways
from tests.e2e.support.load import Load
from tests.e2e.support.scaling import AUTOSCALING, SLOTS, explained, first_at_zero, learns, ordered, reached
from tests.impossible_edits import SMALL
from tests.soak import soak

ONE_OF_EACH_GATEWAY = {"maxInFlightPerGroup": 1}
"""A group has no more than it is wanted to have; what is more waits, and leaves the cores to the groups that start."""
FOR_THREE = 16
"""Clients that ask again when they have their answer, about a second later: 12 wait for the 4 that two groups have."""


@soak
async def test_groups_follow_the_load(bed: Bed, pair: str) -> None:
    url = bed.service_url(pair)
    bed.edit(pair, {"autoscaling": AUTOSCALING, "gateway": ONE_OF_EACH_GATEWAY})
    await reached(bed, pair, 0)
    assert bed.pods(pair) == []
    bed.edit(pair, SLOTS)
    first = await first_at_zero(bed, pair, url)
    async with Load(url, pair, clients=1, pause=3.0) as light:
        await reached(bed, pair, 1)
        await light.finished(5, within=120)
    async with Load(url, pair, clients=FOR_THREE) as heavy:
        await asyncio.to_thread(ordered, bed, pair, 2)
        await asyncio.to_thread(restart_gateways, bed, pair)
        await asyncio.to_thread(kill_operator, bed)
        await reached(bed, pair, 3)
        await asyncio.to_thread(restart_gateways, bed, pair)
        await heavy.finished(20, within=120)
        assert ordered(bed, pair, 3), "the restarts changed nothing"
    learns(bed, pair)
    await reached(bed, pair, 0)
    answers = [first, *light.answers, *heavy.answers]
    bad = [answer for answer in answers if not answer.whole]
    assert not bad, f"{len(bad)} of {len(answers)} requests failed or broke: {bad[:3]}"
    seen = explained(bed, pair)
    assert any(before < 3 == after for before, after in seen), seen
    assert {(1, 0), (0, 1)} <= seen, seen


@pytest.fixture(autouse=True)
def as_it_was(bed: Bed, pair: str) -> Iterator[None]:
    """Two groups by the spec, for whoever comes next."""
    yield
    usual = {"maxConcurrentRequests": SMALL["maxConcurrentRequests"], "gateway": {"maxInFlightPerGroup": None}}
    bed.kubectl.patch("llamadeployment", pair, {"spec": {"autoscaling": None, **usual}})
