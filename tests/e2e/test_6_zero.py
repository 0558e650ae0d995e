"""A deployment without groups: its first request orders one, load a second, and quiet takes them away again.

Meanwhile the pair is left alone (test_7_idle.py). Three groups that serve under load: test_8_autoscale.py.
"""

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from tests.e2e.bed import Bed, Object, manifest
from tests.e2e.load import TIMEOUT, Answer, Load, ask, request
from tests.e2e.test_0_start import kill_operator
from tests.e2e.test_4_faults import restart_gateways

NAME = "scaled"
AUTOSCALING = {
    "minReplicas": 0,
    "maxReplicas": 3,
    "target": {"waitSeconds": 1, "inFlightPerGroup": 2},
    "windows": {"stableSeconds": 20, "panicSeconds": 5, "cooldownSeconds": 10},
    "idleAfterSeconds": 20,
}
FOR_TWO = 8
"""Clients that ask again when they have their answer: four times the two that one group is wanted to have."""


async def test_a_group_comes_with_the_first_request_and_goes_when_nobody_asks(bed: Bed):
    bed.kubectl.apply(manifest(NAME, replicas=0, autoscaling=AUTOSCALING | {"maxReplicas": 2}))
    bed.wait_for(NAME, lambda found: found["status"].get("reason") == "ScaledToZero", within=90, what="ScaledToZero")
    url = bed.service_url(NAME)
    first = await first_at_zero(bed, NAME, url)
    async with Load(url, NAME, clients=FOR_TWO) as heavy:
        await asyncio.to_thread(kill_operator, bed)
        await asyncio.to_thread(ordered, bed, NAME, 2)
    await reached(bed, NAME, 0)
    assert bed.pods(NAME) == []
    bad = [answer for answer in (first, *heavy.answers) if not answer.whole]
    assert not bad, f"{len(bad)} requests failed or broke: {bad[:3]}"
    seen = explained(bed, NAME)
    assert {(0, 1), (1, 2)} <= seen, seen
    assert any(after == 0 for _, after in seen), seen
    bed.kubectl("delete", "llamadeployment", NAME, "--wait=true", "--timeout=180s")


async def first_at_zero(bed: Bed, name: str, url: str) -> Answer:
    """A request that no group is there for; the gateway that holds it is restarted meanwhile."""
    started = time.monotonic()
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        asked = asyncio.create_task(ask(session, url, request(name, "Beautiful is", tokens=8, stream=True)))
        ordering = asyncio.create_task(asyncio.to_thread(ordered, bed, name, 1))
        await asyncio.wait({asked, ordering}, return_when=asyncio.FIRST_COMPLETED)
        assert not asked.done(), f"the request ended before a group was there for it: {asked.result()}"
        await ordering
        print(f"a group was ordered {time.monotonic() - started:.1f} s after the first request at zero", flush=True)
        await asyncio.to_thread(restart_gateways, bed, name)
        answer = await asked
    print(f"the first request at zero was answered after {answer.end - answer.start:.0f} s", flush=True)
    return answer


async def reached(bed: Bed, name: str, groups: int) -> None:
    """Wait until so many groups are wanted, and serve, and no other is left."""

    def there(found: Object) -> bool:
        status = found["status"]
        scale = (status.get("autoscaling", {}).get("target"), status.get("readyReplicas"), status.get("replicas"))
        return scale == (groups, groups, groups)

    started = time.monotonic()
    await asyncio.to_thread(bed.wait_for, name, there, within=700, what=f"at {groups} groups")
    print(f"{groups} groups after {time.monotonic() - started:.0f} s", flush=True)


def ordered(bed: Bed, name: str, groups: int) -> Object:
    """Wait until the operator wants so many groups, or more."""
    return bed.wait_for(
        name,
        lambda found: found["status"].get("autoscaling", {}).get("target", 0) >= groups,
        within=120,
        what=f"to have {groups} groups",
    )


def explained(bed: Bed, name: str) -> set[tuple[int, int]]:
    """Each change of the number has its reason and sentence, in the status and as an event; from what to what."""
    decisions = list(changes(bed.deployment(name)["status"]["autoscaling"]["decisions"]))
    for decision in decisions:
        print(f"{decision['from']} -> {decision['to']} {decision['reason']}: {decision['message']}", flush=True)
        assert decision["reason"], decision
        assert any(letter.isdigit() for letter in decision["message"]), decision
    seen = {(decision["from"], decision["to"]) for decision in decisions}
    told = bed.kubectl.json("get", "events", "--field-selector", f"involvedObject.name={name}")["items"]
    assert {"ScaledUp", "ScaledDown"} <= {event["reason"] for event in told}
    return seen


def changes(decisions: list[Object]) -> Iterator[Object]:
    """Those that changed the number."""
    return (decision for decision in decisions if decision["from"] != decision["to"])
