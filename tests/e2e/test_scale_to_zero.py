"""A deployment without groups: its first request orders one, load a second, and quiet takes them away again.

Meanwhile the pair is left alone (test_idle.py). Three groups that serve under load: test_autoscale.py.
"""

import asyncio

from tests.e2e.support.bed import Bed, manifest
from tests.e2e.support.faults import kill_operator
from tests.e2e.support.load import Load
from tests.e2e.support.scaling import AUTOSCALING, SLOTS, explained, first_at_zero, learns, ordered, reached

NAME = "scaled"
FOR_TWO = 8
"""Clients that ask again when they have their answer: four times the two that one group is wanted to have."""


async def test_a_group_comes_with_the_first_request_and_goes_when_nobody_asks(bed: Bed) -> None:
    bed.kubectl.apply(manifest(NAME, replicas=0, autoscaling=AUTOSCALING | {"maxReplicas": 2}, **SLOTS))
    bed.wait_for(NAME, lambda found: found["status"].get("reason") == "ScaledToZero", within=90, what="ScaledToZero")
    url = bed.service_url(NAME)
    first = await first_at_zero(bed, NAME, url)
    async with Load(url, NAME, clients=FOR_TWO) as heavy:
        await asyncio.to_thread(kill_operator, bed)
        await asyncio.to_thread(ordered, bed, NAME, 2)
    learns(bed, NAME)
    await reached(bed, NAME, 0)
    assert bed.pods(NAME) == []
    bad = [answer for answer in (first, *heavy.answers) if not answer.whole]
    assert not bad, f"{len(bad)} requests failed or broke: {bad[:3]}"
    seen = explained(bed, NAME)
    assert {(0, 1), (1, 2)} <= seen, seen
    assert any(after == 0 for _, after in seen), seen
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=180s")
