"""What a rehearsal says: accepted, or refused in a sentence; the engine's configuration gets a replica's arguments."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.rehearsal import main, rehearse
from llama_serving.cell.shared.engine_args import engine_kwargs
from llama_serving.cell.shared.model_facts import model_facts
from llama_serving.config import names
from llama_serving.config.cell import CellConfig, Layout, WeightsRef
from tests.unit.weights.model.folders import CONFIG

CELL = CellConfig(
    deployment="chat",
    namespace="team",
    group=0,
    pod_hash="12345678",
    stage_hosts=("stage-0.chat", "stage-1.chat"),
    weights=WeightsRef(path="/weights/1", id="v1@1", served_name="chat"),
    layout=Layout(pipeline=2, tensor=1, device="cpu"),
    context_length=64,
    engine_options={"block_size": 32},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cell.json").write_text(json.dumps(CELL.to_wire()))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def answer(folder: Path, error: Exception | None = None) -> tuple[str, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []

    def configure(kwargs: dict[str, Any]) -> None:
        asked.append(kwargs)
        if error:
            raise error

    return rehearse(folder / "cell.json", folder, configure=configure), asked


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", dict[str, str]())


def test_the_engine_gets_the_arguments_of_a_replica(folder: Path) -> None:
    refusal, (asked,) = answer(folder)
    assert refusal == ""
    assert asked.pop("model") == str(folder)
    assert asked.pop("served_model_name") == "chat"
    assert asked == engine_kwargs(CELL, model=model_facts(folder, whole=False))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("block size 7 is odd"), "the engine refuses the configuration: ValueError: block size 7 is odd"),
        (KeyError("modelopt"), "the engine refuses the configuration: KeyError: 'modelopt'"),
    ],
)
def test_what_the_engine_has_against_it_is_said(folder: Path, error: Exception, words: str) -> None:
    assert answer(folder, error)[0] == words


def test_a_model_that_is_no_llama_is_refused_before_the_engine_is_asked(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | {"architectures": ["MixtralForCausalLM"]}))
    refusal, asked = answer(folder)
    assert "only LlamaForCausalLM is served" in refusal
    assert not asked


def test_a_config_that_the_image_does_not_know_is_refused(folder: Path) -> None:
    (folder / "cell.json").write_text(json.dumps(CELL.to_wire() | {"of_a_later_version": 1}))
    refusal, asked = answer(folder)
    assert refusal == "the image does not read the group's config: of_a_later_version is not a known field"
    assert not asked


def test_the_kubelet_reads_the_verdict(folder: Path) -> None:
    log = folder / "termination-log"
    log.touch()
    options = ["--config", str(folder / "cell.json"), "--termination-log", str(log)]
    assert main(options) == 0, "without a model only the image is tried"
    assert log.read_text() == "accepted"
    (folder / "cell.json").write_text("{")
    assert main([*options, "--model", str(folder)]) == names.EXIT_REFUSED
    assert "the image does not read the group's config" in log.read_text()


def test_an_image_for_other_devices_is_refused_without_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "vllm":
            raise metadata.PackageNotFoundError(name)
        return "0.32.0"

    monkeypatch.setattr(metadata, "version", version)
    log = folder / "termination-log"
    log.touch()
    assert main(["--config", str(folder / "cell.json"), "--termination-log", str(log)]) == names.EXIT_REFUSED
    assert log.read_text().startswith("the image (images.serving) holds vLLM for GPUs (vllm 0.32.0)")
