"""The number of groups follows the load: none, one, three, and none, each for a stated reason, and no request fails."""

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import pytest

from tests.e2e.bed import Bed, Object
from tests.e2e.load import TIMEOUT, Answer, Load, ask, request
from tests.e2e.test_2_faults import restart_gateways
from tests.e2e.test_3_operator import kill_operator

AUTOSCALING = {
    "minReplicas": 0,
    "maxReplicas": 3,
    "target": {"waitSeconds": 1, "inFlightPerGroup": 2},
    "windows": {"stableSeconds": 20, "panicSeconds": 5, "cooldownSeconds": 10},
    "idleAfterSeconds": 20,
}
ONE_OF_EACH_GATEWAY = {"maxInFlightPerGroup": 1}
"""A group has no more than it is wanted to have; what is more waits, and leaves the cores to the groups that start."""
FOR_THREE = 16
"""Clients that ask again when they have their answer, about a second later: 12 wait for the 4 that two groups have."""


async def test_groups_follow_the_load(bed: Bed, pair: str):
    url = bed.service_url(pair)
    bed.edit(pair, {"autoscaling": AUTOSCALING, "gateway": ONE_OF_EACH_GATEWAY})
    await reached(bed, pair, 0)
    assert bed.pods(pair) == []
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
    await reached(bed, pair, 0)
    answers = [first, *light.answers, *heavy.answers]
    bad = [answer for answer in answers if not answer.whole]
    assert not bad, f"{len(bad)} of {len(answers)} requests failed or broke: {bad[:3]}"
    explained(bed, pair)


async def first_at_zero(bed: Bed, pair: str, url: str) -> Answer:
    """A request that no group is there for; the gateway that holds it is restarted meanwhile."""
    started = time.monotonic()
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        asked = asyncio.create_task(ask(session, url, request(pair, "Beautiful is", tokens=8, stream=True)))
        await asyncio.to_thread(ordered, bed, pair, 1)
        print(f"a group was ordered {time.monotonic() - started:.1f} s after the first request at zero", flush=True)
        await asyncio.to_thread(restart_gateways, bed, pair)
        answer = await asked
    print(f"the first request at zero was answered after {answer.end - answer.start:.0f} s", flush=True)
    return answer


async def reached(bed: Bed, pair: str, groups: int) -> None:
    """Wait until so many groups are wanted, and serve, and no other is left."""

    def there(found: Object) -> bool:
        status = found["status"]
        scale = (status.get("autoscaling", {}).get("target"), status.get("readyReplicas"), status.get("replicas"))
        return scale == (groups, groups, groups)

    started = time.monotonic()
    await asyncio.to_thread(bed.wait_for, pair, there, within=700, what=f"at {groups} groups")
    print(f"{groups} groups after {time.monotonic() - started:.0f} s", flush=True)


def ordered(bed: Bed, pair: str, groups: int) -> Object:
    """Wait until the operator wants so many groups, or more."""
    return bed.wait_for(
        pair,
        lambda found: found["status"].get("autoscaling", {}).get("target", 0) >= groups,
        within=120,
        what=f"to have {groups} groups",
    )


def explained(bed: Bed, pair: str) -> None:
    """Each change of the number has its reason and sentence, in the status and as an event."""
    decisions = list(changes(bed.deployment(pair)["status"]["autoscaling"]["decisions"]))
    for decision in decisions:
        print(f"{decision['from']} -> {decision['to']} {decision['reason']}: {decision['message']}", flush=True)
        assert decision["reason"], decision
        assert any(letter.isdigit() for letter in decision["message"]), decision
    seen = {(decision["from"], decision["to"]) for decision in decisions}
    assert any(before < 3 == after for before, after in seen), seen
    assert (1, 0) in seen, seen
    assert (0, 1) in seen, seen
    told = bed.kubectl.json("get", "events", "--field-selector", f"involvedObject.name={pair}")["items"]
    assert {"ScaledUp", "ScaledDown"} <= {event["reason"] for event in told}


def changes(decisions: list[Object]) -> Iterator[Object]:
    """Those that changed the number."""
    return (decision for decision in decisions if decision["from"] != decision["to"])


@pytest.fixture(autouse=True)
def as_it_was(bed: Bed, pair: str) -> Iterator[None]:
    """Two groups by the spec, for whoever comes next."""
    yield
    bed.kubectl.patch(
        "llamadeployment", pair, {"spec": {"autoscaling": None, "gateway": {"maxInFlightPerGroup": None}}}
    )
