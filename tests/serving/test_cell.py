"""A whole cell in two pods with the tiny model: it starts, answers, and comes back from whatever is killed."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llama_serving.config.cell import Weights
from tests.serving.cells import Cell, cell_config, running_cell
from tests.serving.pods import eventually

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(420), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START = 180  # seconds; 40 on two idle cores


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from llama_serving.weights.tiny import make

    folder = tmp_path_factory.mktemp("models")
    make(folder / "one", seed=1)
    make(folder / "two", seed=2)
    return folder


@pytest.fixture(scope="module")
def cell(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A cell that serves; each test leaves it serving."""
    with running_cell(cell_config(model="one"), models=models, folder=tmp_path_factory.mktemp("cell")) as running:
        eventually(lambda: running.ready() and running.ready(1), within=START, what="serving", tail=running.logs)
        yield running


def comes_back(cell: Cell, *, after: str) -> None:
    """Wait until the outage was seen and is over."""
    eventually(lambda: not cell.ready(), within=60, what=f"an outage after {after}", tail=cell.logs)
    eventually(lambda: cell.ready() and cell.ready(1), within=START, what=f"back after {after}", tail=cell.logs)
    assert cell.chat("Who waits for the others?")


def test_two_stages_answer_as_one_model(cell: Cell) -> None:
    state = cell.state()
    assert (state["phase"], state["weights"], state["stages_joined"]) == ("serving", "one", 2)
    assert [stage["layers"] for stage in cell.engine_state()["stages"]] == [[0, 2], [2, 4]]
    assert [stage["host"] for stage in cell.engine_state()["stages"]] == ["stage-0", "stage-1"]
    first, second = (cell.chat("Who waits for the others?") for _ in range(2))
    assert first == second
    assert set(state["timings"]) == {"ray", "join", "engine", "first_token", "replica_engine"}


def test_weights_are_exchanged_in_place(cell: Cell) -> None:
    replica, long_prompt = cell.engine_state()["pid"], "Requests wait in the gateway. " * 20
    before = cell.chat(long_prompt)
    for name in ("two", "one"):
        cell.exchange_weights(Weights(path=f"/mnt/models/{name}", id=name, served_name="llama"))
        eventually(lambda: cell.state()["weights"] == name, within=60, what=f"weights {name}", tail=cell.logs)  # noqa: B023
        assert (cell.chat(long_prompt) == before) is (name == "one"), (
            "a prefix cache of the old weights would show here"
        )
    assert cell.engine_state()["pid"] == replica


def test_a_killed_stage_is_repaired_without_a_restart_of_a_container(cell: Cell) -> None:
    before = cell.chat("Who waits for the others?")
    [stage] = cell.worker.processes("StageProc")
    os.kill(stage, signal.SIGKILL)
    comes_back(cell, after="a killed stage")
    assert (cell.leader.restarts, cell.worker.restarts) == (0, 0)
    assert cell.chat("Who waits for the others?") == before


def test_a_killed_leader_takes_its_worker_along_and_both_come_back(cell: Cell) -> None:
    joined = cell.state(1)["uptime_seconds"]
    cell.leader.kill_container()
    comes_back(cell, after="a killed leader")
    assert (cell.leader.restarts, cell.worker.restarts) == (1, 1)
    assert cell.worker.exits == [1]
    assert cell.state(1)["uptime_seconds"] < joined + START
    assert cell.state()["stages_joined"] == 2


def test_a_stopped_cell_ends_what_it_has_begun(cell: Cell) -> None:
    """Last: nothing serves afterwards."""
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(cell.complete, "Who waits for the others?", tokens=400)
        eventually(lambda: cell.state()["in_flight"] == 1, within=30, what="a request in flight", tail=cell.logs)
        before = [len(pod.exits) for pod in cell.pods]
        for pod in cell.pods:
            pod.terminate()
        eventually(lambda: cell.state()["phase"] == "draining", within=30, what="draining", tail=cell.logs)
        assert not cell.ready()
        assert answer.result(timeout=60) == 400
    for pod, ended in zip(cell.pods, before, strict=True):
        eventually(lambda: len(pod.exits) > ended, within=60, what=f"end of {pod.name}", tail=cell.logs)  # noqa: B023
    assert [pod.exits[-1] for pod in cell.pods] == [0, 0]
