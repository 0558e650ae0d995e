"""A process of a running cell is stopped: it is found, named and ended, and the cell serves again.

Times are printed, not asserted: ``python -m benchmarks.hang`` measures them.
"""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError, URLError

import pytest

from llama_serving.config.cell import CellTimeouts
from tests.serving.cells import Cell, cell_config, running_cell
from tests.serving.hangs import Outcome, stop, victim
from tests.serving.pods import eventually
from tests.soak import soak

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(1500), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START = 600  # seconds; 40 on two idle cores
RANK = "a worker process of Ray"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A cell of two stages that serves; each test leaves it serving."""
    from testbed.models.tiny import make

    models = tmp_path_factory.mktemp("models")
    make(models / "one", seed=1)
    config = cell_config(model="one", timeouts=CellTimeouts(join=START, start=START, drain=30))
    with running_cell(config, models=models, folder=tmp_path_factory.mktemp("cell")) as running:
        running.stages("one")
        eventually(lambda: running.ready() and running.ready(1), within=START, what="serving", tail=running.logs)
        yield running


def hung(cell: Cell, *, stage: int, words: str) -> Outcome:
    """Stop a process; what became of it."""
    outcome = stop(cell, victim(cell, stage=stage, words=words), within=START)
    print(outcome.line())
    assert outcome.ended is not None, cell.logs()
    assert outcome.replaced is not None, cell.logs()
    assert cell.chat("Who waits for the others?")
    return outcome


def test_a_rank_has_a_heartbeat_and_an_idle_engine_is_asked_for_tokens(cell: Cell) -> None:
    def steps(stage: int) -> int:
        [rank] = cell.state(stage)["ranks"]
        assert rank["rank"] == stage
        return int(rank["step"])

    before = [steps(0), steps(1)]
    eventually(lambda: steps(0) > before[0] and steps(1) > before[1], within=60, what="an idle probe", tail=cell.logs)
    cell.complete("Who waits for the others?", tokens=20)
    eventually(lambda: steps(1) >= before[1] + 20, within=10, what="20 steps", tail=cell.logs)
    assert cell.state()["hang"] is None
    steps_shown = before[0] + before[1] + 40  # the leader looks at the heartbeats twice a second

    def shown() -> bool:
        return cell.metrics()["llama_cell_rank_steps_total"] >= steps_shown

    eventually(shown, within=10, what=f"{steps_shown} steps in the metrics", tail=cell.logs)
    assert "llama_cell_hangs_total" not in cell.metrics()


def test_a_stopped_stage_under_a_request_is_named_and_replaced(cell: Cell) -> None:
    before = cell.engine_state()["pid"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(cell.complete, "Who waits for the others?", tokens=400)
        eventually(lambda: cell.state()["in_flight"] == 1, within=30, what="a request in flight", tail=cell.logs)
        outcome = hung(cell, stage=1, words=RANK)
        with pytest.raises((HTTPError, URLError, ConnectionError)):
            answer.result(timeout=60)
    assert outcome.unready is not None
    assert outcome.said[0].startswith("rank 1 is stopped (state T) for ")
    assert " step " in outcome.said[0]
    assert cell.engine_state()["pid"] != before
    assert cell.metrics()["llama_cell_hangs_total"] == 1
    assert (cell.leader.restarts, cell.worker.restarts) == (0, 0)
    assert "rank 1 is stopped (state T) for " in cell.worker.log.read_text(errors="replace")


@soak
@pytest.mark.parametrize(
    ("stage", "words"),
    [(0, "the replica"), (0, "the engine core"), (0, RANK), (1, RANK)],
)
def test_a_stopped_process_of_an_idle_engine_is_replaced(cell: Cell, stage: int, words: str) -> None:
    restarts = [pod.restarts for pod in cell.pods]
    outcome = hung(cell, stage=stage, words=words)
    assert outcome.unready is not None
    assert " is stopped (state T) for " in outcome.said[0]
    assert [pod.restarts for pod in cell.pods] == restarts


def test_a_stopped_controller_of_serve_is_replaced_without_an_outage(cell: Cell) -> None:
    replica = cell.engine_state()["pid"]
    outcome = hung(cell, stage=0, words="Serve's controller")
    assert (outcome.unready, cell.engine_state()["pid"]) == (None, replica)


@soak
@pytest.mark.parametrize(
    ("stage", "words"), [(1, "the raylet"), (0, "Ray's GCS"), (1, "the supervisor"), (0, "ray start")]
)
def test_a_stopped_process_of_ray_or_a_stopped_supervisor_restarts_its_container(
    cell: Cell, stage: int, words: str
) -> None:
    restarts = cell.pods[stage].restarts
    hung(cell, stage=stage, words=words)
    assert cell.pods[stage].restarts > restarts


def test_a_process_that_goes_on_in_time_is_left_alone(cell: Cell) -> None:
    """A profiler stops a process for moments."""
    replica, rank = cell.engine_state()["pid"], victim(cell, stage=1, words=RANK)
    for _ in range(5):
        os.kill(rank.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(rank.pid, signal.SIGCONT)
        time.sleep(0.3)
    assert cell.chat("Who waits for the others?")
    assert cell.engine_state()["pid"] == replica
