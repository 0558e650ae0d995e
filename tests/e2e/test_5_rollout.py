"""New weights in the same pods, under an open load; stage kills under the same load; what bad weights end in.

``LLAMA_SOAK=1`` (``make soak``) takes the full numbers of repetitions; without it a few of each.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable

from tests.e2e.bed import NAMESPACE, Bed, Object
from tests.e2e.load import Answer, OpenLoad, references
from tests.e2e.test_2_faults import machine, not_ready, stage_pod

SOAK = os.environ.get("LLAMA_SOAK") == "1"
UPGRADES = 20 if SOAK else 4
KILLS = 20 if SOAK else 2
STAGE_PODS = 4


async def test_weights_are_exchanged_in_place_under_load(bed: Bed, pair: str):
    url = bed.service_url(pair)
    known = {"tiny-1": await references(url, pair)}
    await asyncio.to_thread(bed.upgrade, pair, "tiny-2")
    known["tiny-2"] = await references(url, pair)
    assert known["tiny-1"] != known["tiny-2"], "two weights that answer alike prove nothing"
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
    history = bed.deployment(pair)["status"]["history"]
    assert history[-1]["outcome"] == "Done", history[-1]
    assert len(history) == min(UPGRADES + 1, 10)


async def test_streams_outlive_a_killed_stage(bed: Bed, pair: str):
    url = bed.service_url(pair)
    weights = bed.deployment(pair)["status"]["weights"]
    known = {weights: await references(url, pair)}
    async with OpenLoad(url, pair) as load:
        await load.finished(10, within=60)
        for number in range(KILLS):
            group, stage = str(number % 2), str(number // 2 % 2)
            started = time.monotonic()
            await asyncio.to_thread(kill_engine_part, bed, pair, group, stage)
            await asyncio.to_thread(bed.wait_serving, pair, 2, within=400)
            print(
                f"kill {number + 1}, stage {stage} of group {group}: back after {time.monotonic() - started:.0f} s; "
                f"{load.summary()}",
                flush=True,
            )
            await load.finished(10, within=60)
    check_answers(load.answers, known)


def kill_engine_part(bed: Bed, pair: str, group: str, stage: str) -> None:
    """SIGKILL for the process that holds the layers of a stage; wait until its group is out of rotation."""
    processes = machine().pod_processes(NAMESPACE, stage_pod(bed, pair, group, stage)["metadata"]["name"])
    victims = [process for process in processes if any("StageProc" in part for part in process.argv)]
    assert len(victims) == 1, processes
    os.kill(victims[0].pid, signal.SIGKILL)
    not_ready(bed, pair, group)


def lives(pods: Iterable[Object]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Uid and restarts of each pod: equal as long as nothing was started again."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            tuple(container["restartCount"] for container in pod["status"]["containerStatuses"]),
        )
        for pod in pods
    }


@contextlib.asynccontextmanager
async def most_pods(bed: Bed, pair: str) -> AsyncIterator[list[int]]:
    """Counts the stage pods again and again: what holds devices."""
    counts = [0]

    async def count() -> None:
        while True:
            counts.append(len(await asyncio.to_thread(bed.pods, pair)))
            await asyncio.sleep(0.5)

    task = asyncio.create_task(count())
    yield counts
    task.cancel()


def check_answers(answers: Iterable[Answer], known: dict[str, dict[str, str]]) -> None:
    """Every answer is whole, of one stream, and word for word the greedy answer of the weights that its head names."""
    bad = [answer for answer in answers if not answer.whole or len(answer.ids) != 1]
    assert not bad, f"{len(bad)} requests failed or broke: {bad[:3]}"
    wrong = [answer for answer in answers if answer.text != known.get(answer.weights, {}).get(answer.prompt)]
    assert not wrong, f"{len(wrong)} answers are not those of their weights: {wrong[:2]}"
