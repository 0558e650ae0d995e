"""A whole cell of two pods with two fake GPUs each, on the engine that real GPUs get.

Ray, Ray Serve LLM, vLLM's Ray executor and everything of this project are the real ones; only the platform below them
computes on the CPU (``fake_gpu``). So float32: two ranks that add halves differ in the last bits.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pytest

from llama_serving.config import names
from llama_serving.config.cell import CellTimeouts, Layout
from llama_serving.config.desired import DesiredState
from llama_serving.engine.stage_death import EXIT_CODE
from tests.paper.nvml import PaperNvml
from tests.serving.cells import CODE, ROOT, Cell, cell_config, post_json, running_cell, weights
from tests.serving.fake_gpu import DEVICES_VARIABLE, plugin
from tests.serving.pods import eventually

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

TENSOR = 2
START = 300  # seconds; four ranks import vLLM beside replica and engine core
PROMPT = [0, 17, 301, 44, 9, 260, 5, 88]
TOKENS = 24
NETWORK_DEVICE = "rdma/hca"
ENVIRONMENT = {
    DEVICES_VARIABLE: str(TENSOR),
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_MQ_MAX_CHUNK_BYTES_MB": "2",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two"), start=1):
        make(folder / name, seed=seed)
    return folder


@dataclass
class GpuCell:
    """A cell that serves, and what was seen while it started."""

    cell: Cell
    made_ahead: list[int]  # processes that the worker's Ray made before the engine asked for any


@pytest.fixture(scope="module")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpuCell]:
    """Start the cell; each test leaves it serving the weights "one"."""
    folder = tmp_path_factory.mktemp("cell")
    path = os.pathsep.join((*CODE, str(ROOT), f"/mnt/pod/{plugin(folder / 'plugin').name}"))
    config = cell_config(
        model="one",
        layout=Layout(pipeline=2, tensor=TENSOR, device="gpu"),
        dtype="float32",
        engine_options={"enforce_eager": True, "kv_cache_memory_bytes": 64 << 20},
        extra_resources=("hugepages-2Mi", NETWORK_DEVICE),
        timeouts=CellTimeouts(join=180, start=400, drain=30),
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": path, **paper_driver(folder / "nvml")}
    with running_cell(config, models=models, folder=folder, environment=environment, shm_bytes=1 << 30) as cell:
        made = eventually(lambda: idle(cell), within=START, what="processes made ahead", tail=cell.logs)
        assert isinstance(made, list)
        cell.stages("one", "two")
        eventually(lambda: cell.ready() and cell.ready(1), within=START, what="serving", tail=cell.logs)
        yield GpuCell(cell, made)


def paper_driver(folder: Path) -> dict[str, str]:
    """The driver that supervisors look at before Ray starts, as a pod sees it."""
    PaperNvml.build(folder).devices(TENSOR)
    return PaperNvml(Path("/mnt/pod") / folder.name).environment


@pytest.fixture
def cell(running: GpuCell) -> Cell:
    return running.cell


def idle(cell: Cell) -> list[int]:
    """The processes of the worker that wait for a rank, once there is one for each."""
    found = cell.worker.processes("ray::IDLE")
    return found if len(found) == TENSOR else []


def ranks(cell: Cell, stage: int) -> list[int]:
    return cell.pods[stage].processes("RayWorkerProc")


def answer(cell: Cell, *, tokens: int = TOKENS) -> list[int]:
    """A greedy answer, by token ids."""
    body = {"model": cell.served_name, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0}
    body |= {"ignore_eos": True, "return_token_ids": True}
    found = post_json(f"http://{cell.leader.ip}:{names.PORT_ENGINE}/v1/completions", body)
    return [int(token) for token in found["choices"][0]["token_ids"]]


def reference(model: Path) -> list[int]:
    """The same answer by transformers, in this process, from the whole model."""
    import torch
    from transformers import LlamaForCausalLM

    llama = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        for _ in range(TOKENS):
            ids = torch.cat((ids, llama(ids).logits[:, -1:].argmax(-1)), dim=1)
    return [int(token) for token in ids[0, len(PROMPT) :]]


def test_ranks_are_in_the_order_of_stages_and_answer_as_a_cpu_does(cell: Cell, models: Path) -> None:
    found = [(rank["rank"], rank["host"], rank["layers"]) for rank in cell.engine_state()["stages"]]
    assert found == [
        *((0, "stage-0", [0, 2]), (1, "stage-0", [0, 2])),
        *((2, "stage-1", [2, 4]), (3, "stage-1", [2, 4])),
    ]
    assert answer(cell) == reference(models / "one")


def test_the_ranks_of_a_worker_are_the_processes_that_were_made_ahead(running: GpuCell) -> None:
    assert sorted(ranks(running.cell, 1)) == sorted(running.made_ahead)
    assert running.cell.worker.processes("ray::IDLE") == []


def test_the_state_has_what_the_ranks_said_of_their_connections(cell: Cell) -> None:
    for stage in (0, 1):
        assert cell.state(stage)["transports"] == ["NET/Socket", "P2P/CUMEM"]
        assert cell.state(stage)["fabric"] == [NETWORK_DEVICE]


def test_weights_are_swapped_in_place_on_all_ranks(cell: Cell, models: Path) -> None:
    replica, before = cell.engine_state()["pid"], cell.state()["measurement"]["answer_hash"]
    for name in ("two", "one"):
        cell.desire(DesiredState(serve=weights(name)))
        eventually(swapped_to(cell, name), within=60, what=f"weights {name}", tail=cell.logs)
        state = cell.state()
        assert (state["swap"]["outcome"], state["message"]) == ("done", f"serving {name}; 0 requests in flight")
        assert state["measurement"]["stage_digests"] == [weights(name).digest] * 2
        assert (state["measurement"]["answer_hash"] == before) is (name == "one")
        assert answer(cell) == reference(models / name)
        assert cell.weights_header() == name
    assert cell.engine_state()["pid"] == replica


def swapped_to(cell: Cell, name: str) -> Callable[[], bool]:
    def seen() -> bool:
        state = cell.state()
        return bool(state["ready"] and state["weights"] == name and state["swap"]["outcome"] == "done")

    return seen


def test_a_stage_killed_under_load_ends_its_engine_core_and_is_replaced(
    cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    before, replica = answer(cell), cell.engine_state()["pid"]
    # The list of processes is read while others of them come and go.
    eventually(lambda: len(cell.leader.processes("EngineCore")) == 1, within=30, what="one engine core", tail=cell.logs)
    [core] = cell.leader.processes("EngineCore")
    with ThreadPoolExecutor() as pool:
        request = pool.submit(lambda: [answer(cell, tokens=480) for _ in range(50)])
        eventually(lambda: cell.state()["running"], within=60, what="a request that runs", tail=cell.logs)
        began = time.monotonic()
        os.kill(ranks(cell, 1)[0], signal.SIGKILL)
        # Stock, both would be there for 300 s: the engine core in a poll, the request without an answer.
        eventually(lambda: core not in cell.leader.processes("EngineCore"), within=60, what="the engine core's end")
        assert isinstance(request.exception(timeout=60), OSError | HTTPException), "an error, or an answer cut off"
    eventually(lambda: not cell.ready(), within=60, what="an outage", tail=cell.logs)
    eventually(lambda: cell.ready() and cell.ready(1), within=START, what="serving again", tail=cell.logs)
    took = round(time.monotonic() - began, 1)
    record_property("seconds until it served again", took)
    print(f"a stage killed under load: serving again after {took} s")
    said = cell.leader.engine_logs()
    assert "RayWorkerProc rank=" in said
    assert f"the engine core ends with exit code {EXIT_CODE}" in said
    assert cell.engine_state()["pid"] != replica
    assert answer(cell) == before
    assert (cell.leader.restarts, cell.worker.restarts) == (0, 0)
