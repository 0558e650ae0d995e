"""How tests follow the number of groups of a deployment."""

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from tests.e2e.support.bed import Bed, Object
from tests.e2e.support.faults import restart_gateways
from tests.e2e.support.load import TIMEOUT, Answer, ask, request

AUTOSCALING = {"minReplicas": 0, "maxReplicas": 3, "target": {"waitSeconds": 1}, "idleAfterSeconds": 20}
"""Nobody has set how the formula shall count, so the deployment looks at its own record."""
SLOTS = {"maxConcurrentRequests": 2}
"""With so few requests at once a handful of clients is a load for several groups."""


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


def learns(bed: Bed, name: str) -> None:
    """The promise is in the status, so the deployment looks at its own record."""
    promise = bed.deployment(name)["status"]["autoscaling"].get("promise")
    print(f"the promise: {promise}", flush=True)
    assert promise, "the formula is alone"


def changes(decisions: list[Object]) -> Iterator[Object]:
    """Those that changed the number."""
    return (decision for decision in decisions if decision["from"] != decision["to"])
