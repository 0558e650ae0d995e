"""The project's verdict on a model folder is the engine's own: over the corpus, and over every form of a context.

A folder that is accepted and that the engine refuses ends in a group that never starts; one that is refused and that
the engine would take keeps a model from its users.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.shared.engine_args import engine_kwargs
from llama_serving.config.model import (
    DEPRECATED_QUANTIZATION,
    ENGINE_RANKS,
    GPU_ONLY_QUANTIZATION,
    QUANTIZATION_METHODS,
)
from llama_serving.weights.resolve.report import Resolution
from tests.unit.cell.worlds import config, facts
from tests.weights.corpus.contexts import REFUSED, TAKEN
from tests.weights.corpus.derivatives import CORPUS
from tests.weights.corpus.folders import Derivative, build
from tests.weights.corpus.resolving import RemoteFolder, look, staged

# The first test waits for the engine's verdicts on all folders.
pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

pytest.importorskip("vllm", reason="needs the serving environment")

CONTEXTS = (
    *(Derivative(f"context: {name}", config=change, context=context) for name, (change, context) in TAKEN.items()),
    *(Derivative(f"context: {name}", says, config=change) for name, (change, says) in REFUSED.items()),
)
ALL = (*CORPUS, *CONTEXTS)
#: Weights that a CPU is asked to serve, by their method; their tensors are those of whole weights, and are converted.
ON_CPU = {
    "one file": "",
    "FP8": "fp8",
    "AWQ": "awq",
    "ModelOpt in a file of its own": "modelopt",
    "Meta's FP8": "fbgemm_fp8",
    "MXFP8": "mxfp8",
    "ModelOpt's MXFP8": "modelopt_mxfp8",
    "ModelOpt in NVFP4": "modelopt_fp4",
}
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Verdicts:
    """What both sides say of each folder, by its name."""

    ours: dict[str, Resolution]
    engine: dict[str, dict[str, Any]]
    methods: dict[str, list[str | int]]
    cpu: dict[str, str]  # name -> why no CPU serves it; empty where one does


def request(path: Path, resolution: Resolution) -> dict[str, Any]:
    """The arguments that a cell gives its engine, and the context that is asked for."""
    model = resolution.report.facts
    longest = model.max_context if model else 0
    # What is refused is refused for its own sake and not for a permission that is missing.
    model = model or facts(quantization=DEPRECATED_QUANTIZATION[0])
    cell = config(pipeline=1, context_length=min(64, longest or 64), max_num_seqs=1)
    return {"path": str(path), "kwargs": engine_kwargs(cell, model=model), "context": longest}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """All folders, resolved and shown to the engine in one process."""
    root = tmp_path_factory.mktemp("corpus")
    folders = {case.name: build(case, root / str(number)) for number, case in enumerate(ALL)}
    ours = {name: asyncio.run(look(RemoteFolder(folder))) for name, folder in folders.items()}
    paths = {
        name: staged(folders[name], found, root / f"staged-{number}")
        for number, (name, found) in enumerate(ours.items())
    }
    requests = [request(paths[name], ours[name]) for name in paths]
    requests += [{**request(paths[name], ours[name]), "on_cpu": True} for name in ON_CPU]
    asked = json.dumps(requests)
    command = [sys.executable, "-m", "tests.serving.engine_verdicts"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    assert done.returncode == 0, done.stderr[-4000:]
    answer = json.loads(done.stdout)
    engine = dict(zip(paths, answer["verdicts"][: len(paths)], strict=True))
    cpu = dict(zip(ON_CPU, (verdict["refusal"] for verdict in answer["verdicts"][len(paths) :]), strict=True))
    return Verdicts(ours, engine, answer["methods"], cpu)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_engine_says_the_same(verdicts: Verdicts, case: Derivative) -> None:
    ours, engine = verdicts.ours[case.name].report, verdicts.engine[case.name]
    if case.policy:
        assert (ours.outcome, engine["refusal"]) == ("refused", "")
        return
    assert (ours.outcome == "accepted") == (engine["refusal"] == ""), (ours.message, engine["refusal"])
    if ours.facts is not None:
        assert engine["longest"], f"the engine takes another context than {ours.facts.max_context}"
        assert bool(engine["quantization"]) == bool(ours.facts.quantization)


def test_the_methods_are_those_of_the_pinned_engine(verdicts: Verdicts) -> None:
    assert list(QUANTIZATION_METHODS) == verdicts.methods["known"]
    assert list(DEPRECATED_QUANTIZATION) == verdicts.methods["deprecated"]
    assert list(ENGINE_RANKS) == verdicts.methods["ranks"]


@pytest.mark.parametrize(("name", "method"), ON_CPU.items())
def test_a_cpu_serves_what_is_not_said_to_need_a_gpu(verdicts: Verdicts, name: str, method: str) -> None:
    refusal = verdicts.cpu[name]
    assert bool(refusal) == (method in GPU_ONLY_QUANTIZATION), refusal


def test_every_method_that_needs_a_gpu_was_asked_for() -> None:
    assert set(GPU_ONLY_QUANTIZATION) <= set(ON_CPU.values())
