"""Whole weight swaps through the real loop and role of a leader: from the desired state to the measurement."""

from typing import Any

import pytest

from llama_serving.cell.policy.leader import AppView
from llama_serving.cell.policy.state_machine import CellFault
from llama_serving.cell.shared.weights_ref import LINKS
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import DesiredState, GoldenPrompt, SwapState, Verify
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.cell.fakes import FakeControl, FakeStages, FakeWeights, rank, ready, replica
from tests.unit.cell.supervisors import BOTH, Leader, Worker

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def weights(digest: str) -> WeightsRef:
    return WeightsRef(path=f"/weights/{digest[7:23]}", id=digest[7], served_name="llama", digest=digest)


def held(digest: str) -> WeightsRef:
    return WeightsRef(path=f"{LINKS}/{digest[7:23]}", id=digest[7], served_name="llama", digest=digest)


STAGED: dict[str, Any] = {"staged": True, "weights": weights(A)}
DESIRED = DesiredState(serve=weights(B))


class Group:
    """A leader whose weights are staged, and the other stage's supervisor as it sees it."""

    def __init__(self, *, after: "Group | None" = None) -> None:
        self.leader: Leader
        self.other: Worker
        controls = (FakeControl(), FakeControl()) if after is None else (after.leader.control, after.other.control)
        self.leader = Leader(config=STAGED, control=controls[0])
        self.leader.cluster.nodes_now = dict(BOTH)
        self.other = Worker(config=STAGED, control=controls[1])

    def staged(self, *digests: str, on: tuple[int, ...] = (0, 1), **changes: Any) -> None:
        if 0 in on:
            self.leader.control.staging_now = ready(*digests, **changes)
        if 1 in on:
            self.other.control.staging_now = ready(*digests, **changes)

    def desires(self, desired: DesiredState, on: tuple[int, ...] = (0, 1)) -> None:
        for stage, control in enumerate((self.leader.control, self.other.control)):
            if stage in on:
                control.store(desired)

    def holds(self, digest: str, **changes: Any) -> None:
        """Let the replica report these weights."""
        ranks = tuple(rank(number, digest=digest) for number in range(2))
        self.leader.engine.state_now = replica(weights=held(digest), stages=ranks, **changes)

    async def looks(self, number: int = 1) -> Any:
        await self.other.looks()
        self.leader.stages.state_now = self.other.supervisor.state()
        return await self.leader.looks(number)

    async def serving(self) -> "Group":
        self.staged(A)
        await self.looks(3)
        self.holds(A)
        assert (await self.looks(4)).ready
        return self


async def test_the_engine_is_deployed_when_every_stage_has_its_weights() -> None:
    group = Group()
    state = await group.looks(3)
    assert (state.phase, state.reason) == (Phase.LOADING, CellReason.WEIGHTS_STAGING)
    assert state.message == "the stager of stage 0 has not reported yet"
    group.staged(A, outcome="working", message="1.2 of 3.4 GB, 10 s left", on=(1,))
    group.staged(A, on=(0,))
    assert (await group.looks(2)).message == "stage 1: 1.2 of 3.4 GB, 10 s left"
    group.staged(A, outcome="refused", message="its digest differs", on=(1,))
    state = await group.looks(2)
    assert (state.phase, state.reason) == (Phase.FAILED, CellReason.WEIGHTS_REFUSED)
    assert group.leader.cluster.documents == []
    group.staged(A)
    await group.looks(2)
    assert group.leader.cluster.deployed == [held(A)]
    assert state.staging is not None
    assert group.other.supervisor.state().staging == ready(A)


async def test_a_leader_that_starts_again_begins_with_its_desired_state() -> None:
    group = Group()
    group.desires(DESIRED, on=(0,))
    group.staged(B)
    await group.looks(3)
    assert group.leader.cluster.deployed == [held(B)]
    [app] = group.leader.cluster.documents[0]["applications"]
    assert '"digest":"sha256:bbbb' in app["args"]["config"]
    group.holds(B)
    state = await group.looks(4)
    assert (state.ready, state.weights, state.swap) == (True, "b", None)


async def test_a_swap_from_the_desired_state_to_the_measurement() -> None:
    group = await Group().serving()
    group.desires(DESIRED, on=(0,))
    state = await group.looks(2)
    assert (state.ready, state.message) == (
        True,
        "serving a; 0 requests in flight; waiting for b (bbbbbbbbbbbb): stage 1 has not received the desired state yet",
    )
    group.desires(DESIRED)
    state = await group.looks(2)
    assert (state.ready, state.message.endswith("has not started with b (bbbbbbbbbbbb)")) == (True, True)
    assert group.leader.cluster.deployed == [held(A)]
    group.staged(A, B)
    state = await group.looks()
    assert (state.ready, state.reason) == (False, CellReason.SWAPPING)
    await group.looks(3)
    assert group.leader.cluster.deployed == [held(A), held(B)], "it is deployed once"
    first, second = group.leader.cluster.documents
    assert first["applications"][0]["args"] == second["applications"][0]["args"], "else Serve would restart the replica"
    group.holds(A, target=held(B), swap=SwapState(digest=B, outcome="running"))
    assert (await group.looks()).reason is CellReason.SWAPPING
    group.holds(B, target=held(B), swap=SwapState(digest=B, outcome="done", seconds=0.4, bytes=9))
    state = await group.looks()
    assert (state.ready, state.reason, state.measurement, state.tokens_per_second) == (
        False,
        CellReason.VERIFYING,
        None,
        None,
    )
    state = await group.looks()
    assert (state.ready, state.weights, state.measurement.digest, state.measurement.stage_digests) == (
        True,
        "b",
        B,
        (B, B),
    )
    assert (state.swap.outcome, state.desired) == ("done", DESIRED.key)


async def test_a_swap_that_fails_and_the_way_back() -> None:
    group = await Group().serving()
    group.staged(A, B)
    group.desires(DESIRED)
    await group.looks(2)
    said = "stage 1 (stage-1) could not load b (bbbbbbbbbbbb): OSError: gone"
    failed = SwapState(digest=B, outcome="failed", message=said)
    broken = {"target": held(B), "swap": failed, "failures": 1}
    group.leader.engine.state_now = replica(weights=None, **broken)
    state = await group.looks(5)
    assert (state.ready, state.reason, state.message, state.weights) == (False, CellReason.SWAP_FAILED, said, "")
    assert state.measurement is None
    assert group.leader.cluster.deployed == [held(A), held(B)], "it is not tried again by itself"
    group.desires(DesiredState(serve=weights(A)))
    await group.looks(2)
    assert group.leader.cluster.deployed[-1] == held(A)
    group.holds(A, target=held(A), swap=SwapState(digest=A, outcome="done"))
    assert (await group.looks(3)).ready


async def test_an_engine_that_loads_neither_restarts_with_the_desired_weights() -> None:
    group = await Group().serving()
    group.staged(A, B)
    group.desires(DESIRED)
    await group.looks(2)
    failed = SwapState(digest=A, outcome="failed", message="stage 0 is broken")
    group.leader.engine.state_now = replica(weights=None, target=held(A), swap=failed, failures=2)
    assert (await group.looks()).message == "stage 0 is broken; 2 weight swaps failed in a row; the engine restarts"
    group.leader.clock.now += 60
    assert await group.leader.supervisor.run() == 1
    again = Group(after=group)
    await again.looks(3)
    assert again.leader.cluster.deployed == [held(B)]


async def test_a_change_that_serve_does_not_accept_is_deployed_again() -> None:
    group = await Group().serving()
    group.staged(A, B)
    group.desires(DESIRED)
    group.leader.cluster.accepts = False
    assert (await group.looks(3)).reason is CellReason.SWAPPING
    group.leader.cluster.accepts = True
    await group.looks(3)
    assert group.leader.cluster.deployed == [held(A), *[held(B)] * 4]


async def test_a_stage_that_is_silent_keeps_the_old_weights_in_service() -> None:
    group = await Group().serving()
    group.staged(A, B)
    group.desires(DESIRED)
    await group.other.looks()
    group.leader.stages.state_now = None
    state = await group.leader.looks(2)
    assert state.ready
    assert state.message.endswith("stage 1 does not answer (its name does not resolve yet)")


async def test_other_checks_of_the_same_weights_are_made_in_service() -> None:
    group = await Group().serving()
    golden = GoldenPrompt(prompt="The capital of France?", expect="Paris")
    group.desires(DesiredState(serve=weights(A), verify=Verify(golden=(golden,))))
    state = await group.looks()
    assert (state.ready, state.measurement.golden[0].passed) == (True, True)
    questions = len(group.leader.engine.questions)
    await group.looks(5)
    assert len(group.leader.engine.questions) == questions, "asked once"


async def test_an_error_counts_when_it_comes_again_and_again() -> None:
    group = Group()
    said = group.leader.engine.breaks = "the engine refused /v1/completions with status 500: no"
    group.staged(A)
    await group.looks(3)
    group.holds(A)
    state = await group.looks(4)
    assert (state.ready, state.reason, len(group.leader.engine.questions)) == (False, CellReason.VERIFYING, 3)
    state = await group.looks(3)
    assert (state.ready, state.measurement.error, state.tokens_per_second) == (True, said, None)
    assert len(group.leader.engine.questions) == 3


async def test_an_error_that_passes_is_none() -> None:
    group = Group()
    group.leader.engine.breaks = "the engine did not answer /v1/completions: TimeoutError"
    group.staged(A)
    await group.looks(3)
    group.holds(A)
    assert not (await group.looks(2)).ready
    group.leader.engine.breaks = ""
    state = await group.looks(2)
    assert (state.ready, state.measurement.error, state.measurement.mean_logprob) == (True, "", -2.0)


async def test_a_refused_model_is_tried_again_when_other_weights_are_desired() -> None:
    group = Group()
    group.staged(A, B)
    await group.looks(3)
    group.leader.cluster.app_now = AppView(failed=True, status="DEPLOY_FAILED", error="no", refused=True)
    assert (await group.looks(2)).reason is CellReason.MODEL_REFUSED
    group.desires(DESIRED)
    group.leader.clock.now += 0.5
    assert await group.leader.supervisor.run() == 1


@pytest.mark.parametrize("staged", [True, False])
async def test_staging_is_shown_where_a_stager_runs(staged: bool) -> None:
    world = Worker(config=STAGED | {"staged": staged}, stages=FakeStages())
    world.control.staging_now = ready(A)
    state = await world.looks()
    assert (state.staging == ready(A)) is staged


async def test_weights_with_another_tokenizer_are_not_swapped_in_place() -> None:
    group = Group()
    group.leader.assets = {held(A).path: {"tokenizer.json": "1"}, held(B).path: {"tokenizer.json": "2"}}
    await group.serving()
    group.desires(DESIRED)
    group.staged(A, B, outcome="working")
    assert (await group.looks(2)).ready
    group.staged(A, B)
    await group.other.looks()
    group.leader.stages.state_now = group.other.supervisor.state()
    assert await group.leader.supervisor.run() == 1
    state = group.leader.supervisor.state()
    assert state.message == "b (bbbbbbbbbbbb) has a different tokenizer.json; the engine restarts with it"
    assert group.leader.cluster.deployed == [held(A)]


async def test_an_engine_that_serves_is_watched_while_it_is_measured() -> None:
    group = await Group().serving()
    golden = GoldenPrompt(prompt="The capital of France?")
    group.leader.engine.hangs = True
    group.desires(DesiredState(serve=weights(A), verify=Verify(golden=(golden,))))
    assert (await group.looks(2)).ready
    group.leader.engine.state_now = None
    state = await group.looks(2)
    assert (state.ready, state.reason) == (False, CellReason.ENGINE_UNHEALTHY)
    group.leader.ray.exit_code = 1
    assert await group.leader.supervisor.run() == 1


async def test_a_worker_leaves_staged_weights_to_its_stager() -> None:
    world = Worker(config=STAGED, weights=FakeWeights(CellFault(CellReason.WEIGHTS_MISSING, "there is no folder")))
    assert (await world.looks()).reason is CellReason.LEADER_NOT_REACHED
    world.control.store(DesiredState(serve=WeightsRef(path="/models/w1", id="w1", served_name="llama")))
    assert (await world.looks()).reason is CellReason.WEIGHTS_MISSING


async def test_a_desired_state_that_comes_between_look_and_action_waits_for_the_next_look() -> None:
    group = Group()
    group.staged(A)
    await group.looks()
    look = group.leader.role.look

    async def late(*, stopping: bool) -> Any:
        view = await look(stopping=stopping)
        group.desires(DESIRED, on=(0,))
        return view

    group.leader.role.look = late  # type: ignore[method-assign]
    group.leader.cluster.deployed.clear()
    state = await group.looks(2)
    assert (group.leader.cluster.deployed, state.reason) == ([], CellReason.WEIGHTS_STAGING)


async def test_a_measurement_is_not_made_of_the_answers_of_two_weights() -> None:
    group = Group()
    group.staged(A)
    await group.looks(3)
    group.holds(A)
    ask = group.leader.engine.ask

    async def swapped_meanwhile(route: str, body: Any) -> Any:
        group.holds(A, swap=SwapState(digest=A, outcome="done", seconds=len(group.leader.engine.questions)))
        return await ask(route, body)

    group.leader.engine.ask = swapped_meanwhile  # type: ignore[method-assign]
    assert (await group.looks(4)).reason is CellReason.VERIFYING
    group.leader.engine.ask = ask  # type: ignore[method-assign]
    assert (await group.looks(2)).ready
