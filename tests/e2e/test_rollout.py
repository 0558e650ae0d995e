"""New weights in the same pods, under an open load; stage kills under the same load; what bad weights end in.

``LLAMA_SOAK=1`` (``make soak``) takes the full numbers of repetitions; without it a few of each.
"""

import asyncio
import random
import sys
import time

import pytest

from examples.cluster import SETTINGS
from examples.steps import run
from testbed.images.build import store
from tests.e2e.support.bed import Bed, lives, most_pods
from tests.e2e.support.faults import kill_engine_part, kill_operator
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.soak import SOAK, soak

UPGRADES = 20 if SOAK else 2
KILLS = 20
STAGE_PODS = 4
SEED = 20261124


async def test_weights_are_exchanged_in_place_under_load(bed: Bed, pair: str) -> None:
    url = bed.service_url(pair)
    known = {bed.weights(pair): await references(url, pair)}
    await asyncio.to_thread(bed.upgrade, pair, "tiny-2")
    known[bed.weights(pair)] = await references(url, pair)
    one, other = known.values()
    assert all(one[prompt] != other[prompt] for prompt in one), "two weights that answer alike prove nothing"
    before = lives(bed.pods(pair))
    async with OpenLoad(url, pair) as load, most_pods(bed, pair) as most:
        await load.finished(20, within=60)
        for number in range(UPGRADES):
            seconds = await asyncio.to_thread(bed.upgrade, pair, ("tiny-1", "tiny-2")[number % 2])
            print(f"upgrade {number + 1}: {seconds:.1f} s; {load.summary()}", flush=True)
        await load.finished(20, within=60)
    check_answers(load.answers, known)
    assert {answer.weights for answer in load.answers} == set(known), "both weights have answered under load"
    assert lives(bed.pods(pair)) == before, "no pod is new and no container started again"
    assert max(most) <= STAGE_PODS, f"{max(most)} stage pods at a time"
    history = bed.deployment(pair)["status"]["history"][: UPGRADES + 1]  # the latest first
    assert [past["outcome"] for past in history] == ["done"] * min(UPGRADES + 1, 10), history


@soak
async def test_an_operator_that_dies_in_upgrades_loses_nothing(bed: Bed, pair: str) -> None:
    url, chance = bed.service_url(pair), random.Random(SEED)
    known = {}
    for revision in ("tiny-1", "tiny-2"):
        await asyncio.to_thread(bed.upgrade, pair, revision)
        known[bed.weights(pair)] = await references(url, pair)
    before = lives(bed.pods(pair))
    async with OpenLoad(url, pair) as load:
        for number in range(10):
            revision = ("tiny-1", "tiny-2")[number % 2]
            upgrade = asyncio.create_task(asyncio.to_thread(bed.upgrade, pair, revision))
            await asyncio.sleep(chance.uniform(0, 10))
            await asyncio.to_thread(kill_operator, bed)
            await upgrade
    check_answers(load.answers, known)
    assert lives(bed.pods(pair)) == before, "no pod is new and no container started again"


@soak
@pytest.mark.parametrize("strategy", ["surge", "drain"])
async def test_another_image_replaces_groups_under_load(bed: Bed, pair: str, strategy: str) -> None:
    url = bed.service_url(pair)
    known = {bed.weights(pair): await references(url, pair)}
    before = lives(bed.pods(pair))
    image = same_image_with_another_name(bed, strategy)
    async with OpenLoad(url, pair) as load, most_pods(bed, pair) as most:
        generation = bed.edit(pair, {"images": {"serving": image}, "rollout": {"strategy": strategy}})
        await asyncio.to_thread(bed.settled, pair, generation, within=900)
        await load.finished(20, within=60)
    check_answers(load.answers, known)
    assert not set(before) & set(lives(bed.pods(pair))), "every pod is new"
    assert max(most) <= STAGE_PODS + (2 if strategy == "surge" else 0), f"{max(most)} stage pods at a time"


@soak
async def test_streams_outlive_a_killed_stage(bed: Bed, pair: str) -> None:
    url = bed.service_url(pair)
    known = {bed.weights(pair): await references(url, pair)}
    async with OpenLoad(url, pair) as load:
        await load.finished(10, within=60)
        for number in range(KILLS):
            group, stage = str(number % 2), str(number // 2 % 2)
            started = time.monotonic()
            await asyncio.to_thread(kill_engine_part, bed, pair, group=group, stage=stage)
            await asyncio.to_thread(bed.wait_serving, pair, 2, within=400)
            print(
                f"kill {number + 1}, stage {stage} of group {group}: back after {time.monotonic() - started:.0f} s; "
                f"{load.summary()}",
                flush=True,
            )
            await load.finished(10, within=60)
    check_answers(load.answers, known)


def same_image_with_another_name(bed: Bed, tag: str) -> str:
    """What the nodes take for another image, at the cost of a name."""
    present, other = SETTINGS["images.serving"], f"localhost/llama-serving:{tag}"
    store().buildah("tag", present, other)
    run([sys.executable, "-m", "testbed", "load", other], environment=bed.environment)
    return other
