"""Edits that cannot work, under load: every request is answered, the groups stay, and the rollout is held in a minute.

The table is tests/impossible_edits.py. All of it in ``make soak``, with two groups and with one; the first ones in
``make test``. What a spec says wrong about itself is refused by the API server and needs no cluster.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.support.bed import Bed, Object, lives
from tests.e2e.support.faults import until
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.e2e.support.troubles import trouble
from tests.impossible_edits import EDITS, FIRST, ImpossibleEdit, taken_back
from tests.soak import SOAK, soak

HELD_WITHIN = 60.0  # seconds
ROLLED_OUT_WITHIN = 600.0
STARTS_BESIDE = 1.0  # requests a second beside which an engine starts on two cores
STAGES = 2  # of the pair

ON_BED = tuple(name for name, edit in EDITS.items() if edit.bed)
#: Mended edits that make new pods: of spec and nodes, of the engine.
MENDED = ("more cpu than a node has", "prompts longer than the context")


@pytest.fixture(scope="module", params=(2, 1) if SOAK else (2,))
def groups(request: pytest.FixtureRequest, bed: Bed, pair: str) -> Iterator[int]:
    """So many groups of the pair serve; all tests with one number come after each other."""
    number: int = request.param
    scale(bed, pair, number)
    yield number
    scale(bed, pair, 2)


def scale(bed: Bed, pair: str, groups: int) -> None:
    """Until so many groups serve, and no pod of another one is left."""
    bed.edit(pair, {"replicas": groups})
    bed.wait_serving(pair, groups)

    def others() -> str:
        pods = len(bed.pods(pair))
        return "" if pods == groups * STAGES else f"{pods} pods are there"

    until(f"{pair} has {groups} groups", others, 120)


@pytest.mark.parametrize("name", ON_BED if SOAK else FIRST)
async def test_an_edit_that_cannot_work_touches_nothing(bed: Bed, pair: str, *, groups: int, name: str) -> None:
    edit = EDITS[name]
    before, spec = lives(bed.pods(pair)), bed.deployment(pair)["spec"]
    assert len(before) == groups * STAGES
    with trouble(bed, name):
        async with checked_load(bed, pair) as load:
            try:
                await held(bed, pair, name)
                await load.finished(5, within=60)
                assert lives(bed.pods(pair)) == before, "no pod is new and no container started again"
            finally:  # what comes after begins with a spec that works
                back = bed.edit(pair, taken_back(edit.edit, spec))
            await asyncio.to_thread(bed.settled, pair, back, within=120)
            await load.finished(5, within=60)
    assert lives(bed.pods(pair)) == before


@soak
@pytest.mark.parametrize("name", MENDED)
async def test_the_mended_edit_makes_new_pods(bed: Bed, pair: str, *, groups: int, name: str) -> None:
    edit = EDITS[name]
    assert edit.mended is not None
    before, spec = lives(bed.pods(pair)), bed.deployment(pair)["spec"]
    async with checked_load(bed, pair, rate=STARTS_BESIDE) as load:
        try:
            await held(bed, pair, name)
            mended = bed.edit(pair, edit.mended)
            await rolled_out(bed, pair, mended, before=before, groups=groups)
            await load.finished(5, within=60)
        finally:
            back = bed.edit(pair, taken_back(edit.edit, spec))
        await asyncio.to_thread(bed.settled, pair, back, within=ROLLED_OUT_WITHIN)
        await load.finished(5, within=60)


@soak
async def test_it_goes_on_by_itself_when_the_cause_is_gone(bed: Bed, pair: str, groups: int) -> None:
    name = "quota that is used up"
    before, spec = lives(bed.pods(pair)), bed.deployment(pair)["spec"]
    async with checked_load(bed, pair, rate=STARTS_BESIDE) as load:
        try:
            with contextlib.ExitStack() as quota:
                await asyncio.to_thread(quota.enter_context, trouble(bed, name))
                generation = await held(bed, pair, name)
            await rolled_out(bed, pair, generation, before=before, groups=groups)
            await load.finished(5, within=60)
        finally:
            back = bed.edit(pair, taken_back(EDITS[name].edit, spec))
        await asyncio.to_thread(bed.settled, pair, back, within=ROLLED_OUT_WITHIN)
        await load.finished(5, within=60)


@contextlib.asynccontextmanager
async def checked_load(bed: Bed, pair: str, *, rate: float = 4.0) -> AsyncIterator[OpenLoad]:
    """Requests meanwhile, each of which is answered in the words of its weights.

    ``rate``: how many come in a second. Four keep both cores busy, so that no engine starts beside them.
    """
    url = bed.service_url(pair)
    known = {bed.weights(pair): await references(url, pair)}
    async with OpenLoad(url, pair, rate=rate) as load:
        await load.finished(5, within=60)
        yield load
    check_answers(load.answers, known)


async def held(bed: Bed, pair: str, name: str) -> int:
    """Make the edit, and wait until it is held with its reason and its words; returns its generation."""
    edit, started = EDITS[name], time.monotonic()
    generation = bed.edit(pair, edit.edit)
    found = await asyncio.to_thread(
        bed.wait_for, pair, lambda d: is_held(d, generation, edit), within=HELD_WITHIN,
        what=f"held by {name}: {edit.reasons}, {edit.words}",
    )  # fmt: skip
    print(f"{name}: held after {time.monotonic() - started:.1f} s: {found['status']['message']}", flush=True)
    return generation


def is_held(found: Object, generation: int, edit: ImpossibleEdit) -> bool:
    """The rollout is held as the table says, and no status on the way had fewer groups in rotation."""
    status = found["status"]
    assert status["readyReplicas"] == found["spec"]["replicas"], status["message"]
    if status["observedGeneration"] != generation or (status.get("rollout") or {}).get("phase") != "Held":
        return False
    return status["reason"] in edit.reasons and all(word in status["message"] for word in edit.words)


async def rolled_out(bed: Bed, pair: str, generation: int, *, before: Object, groups: int) -> None:
    """Wait until all groups serve from new pods."""
    await asyncio.to_thread(bed.settled, pair, generation, within=ROLLED_OUT_WITHIN)
    after = lives(bed.pods(pair))
    assert len(after) == groups * STAGES
    assert after.keys().isdisjoint(before), "every pod is new"
