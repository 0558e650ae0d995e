"""Under a steady streaming load on two groups everything is broken once; no request fails and no stream breaks.

Whatever starts again begins with the weights that were exchanged in place, not with those that its pods were made for.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable

from tests.e2e.support.bed import NAMESPACE, Bed, Object, lives
from tests.e2e.support.faults import (
    cell_state,
    is_ready,
    machine,
    not_ready,
    operators_wanted,
    restart_gateways,
    scale_operator,
    stage_pod,
    started_again,
    until,
)
from tests.e2e.support.load import Load

CLIENTS, PAUSE_S = 4, 2.0
"""Clients that never pause take the cores that a group needs to start again."""
GO_ON = 10  # whole answers
BACK_WITHIN_S = 400
EXCHANGED = "tiny-2"


async def test_whatever_dies_every_answer_is_whole(bed: Bed, pair: str) -> None:
    if not bed.weights(pair).startswith(f"{EXCHANGED}@"):  # this test on its own
        bed.upgrade(pair, EXCHANGED)
    weights = bed.weights(pair)
    async with Load(bed.service_url(pair), pair, clients=CLIENTS, pause=PAUSE_S) as load:
        await load.finished(GO_ON, within=120)
        before = lives(bed.pods(pair))
        await inflict(bed, pair, "a stage process is killed", kill_stage_process, load=load)
        assert lives(bed.pods(pair)) == before, "no container started again"
        await inflict(bed, pair, "a leader is killed, without an operator", kill_leader, load=load)
        deleted = "a stage pod is deleted, and the gateways restarted while its group is rebuilt"
        await inflict(bed, pair, deleted, delete_stage_pod, restart_gateways, load=load)
        await load.finished(GO_ON, within=120)
    print(load.summary())
    bad = [answer for answer in load.answers if not answer.whole]
    assert not bad, f"{len(bad)} requests failed or broke: {bad[:3]}; {load.summary()}"
    assert {answer.group for answer in load.answers[-20:]} == {"0", "1"}, "both groups take part again"
    assert {answer.weights for answer in load.answers} == {weights}


async def inflict(bed: Bed, pair: str, what: str, *acts: Callable[[Bed, str], None], load: Load) -> None:
    """Do it, see that requests go on meanwhile, and wait until both groups serve again."""
    print(f"--- {what}", flush=True)
    start = time.monotonic()
    for act in acts:
        await asyncio.to_thread(act, bed, pair)
    await load.finished(GO_ON, within=120)
    await asyncio.to_thread(bed.wait_serving, pair, 2, within=BACK_WITHIN_S)
    print(f"--- {what}: back after {time.monotonic() - start:.0f} s; {load.summary()}", flush=True)


def kill_stage_process(bed: Bed, pair: str) -> None:
    """SIGKILL for the process that holds the layers of stage 1 of group 0; wait until the group is out of rotation."""
    processes = machine().pod_processes(NAMESPACE, stage_pod(bed, pair, group="0", stage="1")["metadata"]["name"])
    victims = [process for process in processes if any("StageProc" in part for part in process.argv)]
    assert len(victims) == 1, processes
    os.kill(victims[0].pid, signal.SIGKILL)
    not_ready(bed, pair, "0")


def kill_leader(bed: Bed, pair: str) -> None:
    """SIGKILL for the leader's container while nobody operates."""
    operators = operators_wanted(bed)
    scale_operator(bed, 0)
    pod = stage_pod(bed, pair, group="1", stage="0")
    restarts, name = started_again(pod), pod["metadata"]["name"]
    for process in machine().pod_processes(NAMESPACE, name):
        with contextlib.suppress(ProcessLookupError):  # the end of its container was quicker
            os.kill(process.pid, signal.SIGKILL)

    def again(found: Object) -> bool:
        return started_again(found) > restarts and is_ready(found)

    state = cell_state(bed.wait_pod(name, again, within=BACK_WITHIN_S, what="ready again without an operator"))
    assert state["weights"] == bed.weights(pair), state
    assert state["swap"] is None, "the weights that its pod was made for were not loaded first"
    scale_operator(bed, operators)


def delete_stage_pod(bed: Bed, pair: str) -> None:
    """``kubectl delete pod`` of stage 1 of group 0: the whole group is rebuilt, and only it."""
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in bed.pods(pair)}
    name = stage_pod(bed, pair, group="0", stage="1")["metadata"]["name"]
    bed.kubectl("delete", "pod", name)

    def rebuilt() -> str:
        after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in bed.pods(pair)}
        new = sorted(name for name in before if after.get(name) not in (None, before[name]))
        return (
            "" if len(new) == 2 and all("-0-" in name[-4:] for name in new) else f"new pods: {new}, now {sorted(after)}"
        )

    until("both pods of group 0 and no other are new", rebuilt, 120)
