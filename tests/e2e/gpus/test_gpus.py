"""A model over two nodes with two GPUs each, on GPUs that are advertised: answers, upgrade, kills, a second group."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.gpus.equipment import TENSOR, GpuNodes, gpu_nodes, on_gpus
from tests.e2e.support.bed import NAMESPACE, Bed, lives
from tests.e2e.support.faults import cell_state, machine, not_ready, stage_pod
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.soak import soak

pytestmark = [soak, pytest.mark.usefixtures("nodes")]

NAME = "on-gpus"
START = 900  # seconds: eight ranks import vLLM on two cores
RATE = 0.5  # requests a second: eight processes share two cores


@pytest.fixture(scope="module")
def nodes(bed: Bed) -> Iterator[GpuNodes]:
    """Nodes with four GPUs each: room for two groups. The other tests' groups give their memory meanwhile."""
    bed.kubectl("delete", "llamadeployment", "--all", "--wait=true", "--timeout=300s")
    with gpu_nodes(bed, each=2 * TENSOR) as found:
        yield found
        bed.kubectl("delete", "llamadeployment", NAME, "--ignore-not-found", "--wait=true", "--timeout=120s")


@pytest.fixture
def one_group(bed: Bed) -> str:
    """Return the URL of a deployment of one group that serves."""
    bed.kubectl.apply(on_gpus(NAME, replicas=1))
    bed.wait_serving(NAME, 1, within=START)
    return bed.service_url(NAME)


async def known_answers(bed: Bed, url: str) -> dict[str, dict[str, str]]:
    return {bed.weights(NAME): await references(url, NAME)}


async def test_it_answers_from_four_ranks_in_two_pods(bed: Bed, one_group: str) -> None:
    await references(one_group, NAME)
    [group] = bed.deployment(NAME)["status"]["groups"]
    assert group["transports"] == ["NET/Socket", "P2P/CUMEM"]
    leader = cell_state(stage_pod(bed, NAME, group="0", stage="0"))
    worker = cell_state(stage_pod(bed, NAME, group="0", stage="1"))
    assert [rank["rank"] for state in (leader, worker) for rank in state["ranks"]] == [0, 1, 2, 3]
    on = {pod["spec"]["nodeName"] for pod in bed.pods(NAME)}
    assert len(on) == 2, on


async def test_weights_are_upgraded_in_the_same_engine_under_load(bed: Bed, one_group: str) -> None:
    known = await known_answers(bed, one_group)
    before = lives(bed.pods(NAME))
    async with OpenLoad(one_group, NAME, rate=RATE) as load:
        await load.finished(5, within=60)
        await asyncio.to_thread(bed.upgrade, NAME, "tiny-2", within=300)
        await load.finished(5, within=60)
        known |= await known_answers(bed, one_group)
        await asyncio.to_thread(bed.upgrade, NAME, "tiny-1", within=300)
        await load.finished(5, within=60)
    print(load.summary())
    check_answers(load.answers, known)
    assert {answer.weights for answer in load.answers} == set(known), "both weights have answered under load"
    assert lives(bed.pods(NAME)) == before, "no pod is new and no container started again"


async def test_a_lone_group_loses_a_rank_under_load(bed: Bed, one_group: str) -> None:
    known = await known_answers(bed, one_group)
    async with OpenLoad(one_group, NAME, rate=RATE) as load:
        await load.finished(5, within=60)
        back = await asyncio.to_thread(replaced, bed, group="0", stage="1", groups=1)
        await load.finished(5, within=120)
    print(f"back after {back:.0f} s: {load.summary()}")
    check_answers(load.answers, known)


async def test_a_second_group_continues_the_streams_of_the_first(bed: Bed, one_group: str) -> None:
    known = await known_answers(bed, one_group)
    async with OpenLoad(one_group, NAME, rate=RATE, tokens=24) as load:
        await asyncio.to_thread(bed.kubectl, "scale", "llamadeployment", NAME, "--replicas=2")
        await asyncio.to_thread(bed.wait_serving, NAME, 2, within=START)
        await load.finished(20, within=120)
        for group, stage in (("0", "1"), ("1", "0")):
            back = await asyncio.to_thread(replaced, bed, group=group, stage=stage, groups=2)
            print(f"stage {stage} of group {group}: back after {back:.0f} s: {load.summary()}", flush=True)
            await load.finished(10, within=120)
    check_answers(load.answers, known)
    assert {answer.group for answer in load.answers} == {"0", "1"}, "both groups answered"


def replaced(bed: Bed, *, group: str, stage: str, groups: int) -> float:
    """Kill a rank and wait until all groups serve again; seconds from one to the other."""
    started = time.monotonic()
    kill_a_rank(bed, group, stage)
    bed.wait_serving(NAME, groups, within=START)
    return time.monotonic() - started


def kill_a_rank(bed: Bed, group: str, stage: str) -> None:
    """SIGKILL for one of the two ranks of a stage; wait until its group is out of rotation."""
    pod = stage_pod(bed, NAME, group=group, stage=stage)["metadata"]["name"]
    processes = machine().pod_processes(NAMESPACE, pod)
    ranks = [one for one in processes if any("RayWorkerProc" in part for part in one.argv)]
    assert len(ranks) == TENSOR, ranks
    os.kill(ranks[0].pid, signal.SIGKILL)
    not_ready(bed, NAME, group)
