"""Edits that cannot work, under load: every request is answered, the groups stay, and the rollout is held in a minute.

All of them in ``make soak``; what a spec says wrong about itself is refused by the API server and needs no cluster.
"""

import asyncio
import time
from typing import Any

import pytest

from tests.e2e.support.bed import Bed, Object, lives
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.soak import SOAK

HELD_WITHIN = 60.0  # seconds

NO_IMAGE = "localhost/llama-serving:nope"
#: Edit, reason and words of its sentence, and the edit that takes it back.
EDITS: dict[str, tuple[Object, tuple[str, ...], str, Object]] = {
    "image": ({"images": {"serving": NO_IMAGE}}, ("ImageUnavailable",), NO_IMAGE, {"images": None}),
    "priority": (
        {"placement": {"priorityClassName": "nope"}}, ("ApiRejected",), "nope",
        {"placement": {"priorityClassName": None}},
    ),
    "layout": (
        {"sharding": {"pipeline": 4}}, ("Unschedulable", "WaitingForRoom"), "4 x", {"sharding": {"pipeline": 2}},
    ),
}  # fmt: skip
MORE: dict[str, tuple[Object, tuple[str, ...], str, Object]] = {
    "memory": (
        {"resources": {"memory": "900Gi"}}, ("Unschedulable", "WaitingForRoom"), "900", {"resources": {"memory": None}},
    ),
    "cpu": ({"resources": {"cpu": 500}}, ("Unschedulable", "WaitingForRoom"), "500", {"resources": {"cpu": None}}),
    "selector": (
        {"placement": {"nodeSelector": {"pool": "none"}}}, ("Unschedulable",), "pool=none",
        {"placement": {"nodeSelector": None}},
    ),
    "in place": (
        {"images": {"serving": NO_IMAGE}, "rollout": {"strategy": "inPlace"}}, ("RolloutHeld",), "needs new pods",
        {"images": None, "rollout": None},
    ),
    "pull secret": (
        {"images": {"serving": NO_IMAGE, "pullSecrets": ["nope"]}}, ("ImageUnavailable", "ReferenceMissing"), "nope",
        {"images": None},
    ),
    "not ours": (
        {"images": {"serving": "localhost/llama-operator:dev"}}, ("EngineConfigRefused", "RehearsalFailed"), "",
        {"images": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS | (MORE if SOAK else {}))
async def test_an_edit_that_cannot_work_touches_nothing(bed: Bed, pair: str, name: str) -> None:
    edit, reasons, words, back = (EDITS | MORE)[name]
    before, spec = lives(bed.pods(pair)), bed.deployment(pair)["spec"]
    url = bed.service_url(pair)
    known = {bed.weights(pair): await references(url, pair)}
    async with OpenLoad(url, pair) as load:
        await load.finished(5, within=60)
        started = time.monotonic()
        generation = bed.edit(pair, edit)
        try:
            found = await asyncio.to_thread(
                bed.wait_for, pair, lambda d: held(d, generation), within=HELD_WITHIN, what=f"held by {name}"
            )
            print(f"{name}: held after {time.monotonic() - started:.1f} s: {found['status']['message']}", flush=True)
            assert found["status"]["reason"] in reasons, found["status"]["message"]
            assert words in found["status"]["message"]
            await load.finished(5, within=60)
            assert lives(bed.pods(pair)) == before, "no pod is new and no container started again"
        finally:  # what comes after begins with a spec that works
            mended = bed.edit(pair, restored(back, spec))
        await asyncio.to_thread(bed.settled, pair, mended, within=120)
        await load.finished(5, within=60)
    check_answers(load.answers, known)
    assert lives(bed.pods(pair)) == before


def held(found: Object, generation: int) -> bool:
    """The rollout is held, and no status on the way had fewer groups in rotation."""
    status = found["status"]
    assert status["readyReplicas"] == found["spec"]["replicas"], status["message"]
    if status["observedGeneration"] != generation:
        return False
    return bool((status.get("rollout") or {}).get("phase") == "Held")


def restored(back: Object, spec: Object) -> Object:
    """The edit back: a value that the spec had before takes the place of one that would be removed."""

    def value(change: Any, had: Any) -> Any:
        if isinstance(change, dict):
            return {key: value(one, (had or {}).get(key)) for key, one in change.items()}
        return had if change is None else change

    found: Object = value(back, spec)
    return found
