"""A whole cell in two pods with the tiny model: it starts, answers, and comes back from whatever is killed."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from llama_serving.config import names
from llama_serving.config.desired import DesiredState, GoldenPrompt, Verify
from tests.serving.cells import Cell, cell_config, get_json, running_cell, weights
from tests.serving.pods import eventually
from tests.soak import soak

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.timeout(420), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

START = 180  # seconds; 40 on two idle cores
NORM = "model.norm.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("models")
    make(folder / "one", seed=1)
    make(folder / "two", seed=2)
    changed(folder / "one", folder / "noisy", noise)
    changed(folder / "one", folder / "half", lambda tensors: tensors | {NORM: tensors[NORM][:-1].clone()})
    return folder


def changed(source: Path, out: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A copy of a model with other tensors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, out)
    tensors = load_file(source / "model.safetensors")
    save_file(change(tensors), out / "model.safetensors", metadata={"format": "pt"})


def noise(tensors: dict[str, Any]) -> dict[str, Any]:
    """One standard deviation of noise on the matrices of one of four layers."""
    import torch

    torch.manual_seed(3)
    layer = {name: tensor for name, tensor in tensors.items() if ".layers.2." in name and tensor.dim() == 2}
    return tensors | {name: tensor + torch.randn_like(tensor) * tensor.std() for name, tensor in layer.items()}


@pytest.fixture(scope="module")
def cell(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """A cell that serves; each test leaves it serving."""
    with running_cell(cell_config(model="one"), models=models, folder=tmp_path_factory.mktemp("cell")) as running:
        running.stages("one", on=0)
        waits = "the stager of stage 1 has not reported yet"
        eventually(
            lambda: running.state()["message"] == waits, within=START, what="a wait for stage 1", tail=running.logs
        )
        assert running.state()["reason"] == "WeightsStaging"
        running.stages("one", on=1)
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
    assert set(state["timings"]) == {"ray", "join", "engine", "first_token", "verification", "replica_engine"}


def test_the_leader_shows_the_metrics_of_its_engine_and_nothing_else(cell: Cell) -> None:
    assert cell.chat("How many tokens were that?")
    samples = cell.metrics()
    assert samples["llama_cell_engine_up"] == 1
    assert samples["vllm:generation_tokens_total"] > 0
    assert {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"} <= samples.keys()
    with pytest.raises(HTTPError, match="404"):
        get_json(f"http://{cell.leader.ip}:{names.PORT_METRICS}/v1/models")
    with pytest.raises(URLError, match="refused"):
        get_json(f"http://{cell.worker.ip}:{names.PORT_METRICS}{names.ROUTE_METRICS}")


def test_weights_are_swapped_in_place(cell: Cell) -> None:
    replica, long_prompt = cell.engine_state()["pid"], "Requests wait in the gateway. " * 20
    before, proof = cell.chat(long_prompt), cell.state()["measurement"]
    cell.stages("one", "two")
    for name in ("two", "one"):
        state = swap(cell, name)
        assert state["swap"]["outcome"] == "done"
        assert state["measurement"]["stage_digests"] == [weights(name).digest] * 2
        assert (state["measurement"]["answer_hash"] == proof["answer_hash"]) is (name == "one")
        assert (state["measurement"]["mean_logprob"] == proof["mean_logprob"]) is (name == "one")
        assert (cell.chat(long_prompt) == before) is (name == "one"), (
            "a prefix cache of the old weights would show here"
        )
        assert cell.weights_header() == name
    assert cell.engine_state()["pid"] == replica


def test_golden_prompts_and_quality_tell_damaged_weights(cell: Cell) -> None:
    text = "Who waits for the others?"
    golden = GoldenPrompt(prompt=text, expect=cell.chat(text, max_tokens=32))
    cell.stages("one", "noisy")
    good, bad = (swap(cell, name, golden)["measurement"] for name in ("one", "noisy"))
    back = swap(cell, "one", golden)["measurement"]
    assert ([good["golden"][0]["passed"], bad["golden"][0]["passed"]]) == [True, False]
    assert good["answer_hash"] == back["answer_hash"] != bad["answer_hash"]
    assert good["mean_logprob"] == back["mean_logprob"] != bad["mean_logprob"]
    assert good["error"] == bad["error"] == ""


def test_a_stage_that_cannot_load_is_named_and_nobody_is_answered_until_the_old_weights_are_back(cell: Cell) -> None:
    before = cell.chat("Who waits for the others?")
    cell.stages("one", "half")
    cell.desire(DesiredState(serve=weights("half")))
    eventually(lambda: cell.state()["reason"] == "SwapFailed", within=60, what="a failed swap", tail=cell.logs)
    state = cell.state()
    assert (state["ready"], state["weights"], state["swap"]["outcome"]) == (False, "", "failed")
    assert state["message"].startswith(f"stage 1 (stage-1) could not load {weights('half').id}")
    assert NORM in state["message"]
    with pytest.raises(HTTPError, match="503"):
        cell.chat("Who waits for the others?")
    swap(cell, "one")
    assert cell.chat("Who waits for the others?") == before
    assert (cell.leader.restarts, cell.worker.restarts) == (0, 0)


def swap(cell: Cell, name: str, *golden: GoldenPrompt) -> dict[str, Any]:
    """Desire other weights; the leader's state once they serve."""
    desired = DesiredState(serve=weights(name), verify=Verify(golden=golden))
    cell.desire(desired)
    eventually(lambda: serves(cell, desired), within=60, what=f"weights {name}", tail=cell.logs)
    return cell.state()


def serves(cell: Cell, desired: DesiredState) -> bool:
    """Swapped, and measured with the desired checks."""
    state = cell.state()
    checked = len(state["measurement"]["golden"]) == len(desired.verify.golden)
    return bool(state["ready"] and state["desired"] == desired.key and state["weights"] == desired.serve.id and checked)


@soak  # tests/e2e/test_faults.py kills both in pods
def test_a_killed_stage_is_repaired_without_a_restart_of_a_container(cell: Cell) -> None:
    before = cell.chat("Who waits for the others?")
    [stage] = cell.worker.processes("StageProc")
    os.kill(stage, signal.SIGKILL)
    comes_back(cell, after="a killed stage")
    assert (cell.leader.restarts, cell.worker.restarts) == (0, 0)
    assert cell.chat("Who waits for the others?") == before


@soak
def test_a_killed_leader_takes_its_worker_along_and_both_come_back_with_the_desired_weights(cell: Cell) -> None:
    joined = cell.state(1)["uptime_seconds"]
    cell.stages("one", "two")
    answer_hash = swap(cell, "two")["measurement"]["answer_hash"]
    cell.leader.kill_container()
    comes_back(cell, after="a killed leader")
    state = cell.state()
    assert (state["weights"], state["measurement"]["answer_hash"]) == ("two", answer_hash)
    assert state["swap"] is None, "those of the config were not loaded first"
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
