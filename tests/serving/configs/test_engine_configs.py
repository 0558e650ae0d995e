"""vLLM's own verdict on GPU configs, on paper GPUs: every example, every way to quantize 405B, every engine option."""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import Context
from llama_operator.manifests.group import cell_config
from llama_operator.plan.naming import GroupId
from llama_operator.ports import Key
from llama_serving.config.cell import WeightsRef
from tests.fakes.world import SETTINGS
from tests.serving.configs import folders
from tests.serving.configs.folders import BYTES, METHODS, SIZES, tensor_bytes

# The first test waits for the verdicts on all configs; nearly all of it is the import of Ray Serve LLM and vLLM.
pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the serving environment"),
]

ROOT = Path(__file__).parents[3]
MEMORY = {"H100": 85_520_809_984, "L4": 24_152_899_584}  # bytes, as in paper_gpu


@dataclass(frozen=True)
class Example:
    """A file of examples/, the model that it serves, and the GPU that it names."""

    file: str
    size: str
    method: str  # key of METHODS, empty for whole weights
    gpu: str
    engine: str = ""  # what vLLM is to call the quantization


EXAMPLES = (
    Example("llama-3.1-405b-bf16.yaml", "405b", "", "H100"),
    Example("llama-3.1-405b-rdma.yaml", "405b", "", "H100"),
    Example("llama-3.1-405b-fp8.yaml", "405b", "ct-fp8", "H100", "compressed-tensors"),
    Example("llama-3.1-405b-fp8-2x4.yaml", "405b", "ct-fp8", "H100", "compressed-tensors"),
    Example("llama-3.1-70b.yaml", "70b", "", "H100"),
    Example("llama-3.1-8b.yaml", "8b", "", "L4"),
    Example("autoscaling.yaml", "8b", "", "L4"),
)


def spec_in(example: Example) -> LlamaDeploymentSpec:
    body = yaml.safe_load((ROOT / "examples" / example.file).read_text())
    return LlamaDeploymentSpec.model_validate(body["spec"])


def cell(spec: LlamaDeploymentSpec) -> dict[str, Any]:
    weights = WeightsRef(path="/weights", id="w", served_name="llama")
    context = Context(Key("team", "llama"), "uid", spec, SETTINGS)
    return cell_config(context, GroupId("llama", 0, "r"), weights).model_dump(mode="json")


def spec(**changes: Any) -> LlamaDeploymentSpec:
    tensor, pipeline = changes.pop("tensor", 1), changes.pop("pipeline", 1)
    values = {
        "model": {"source": "pvc://llama/m", "revision": "1", "license": "llama3.1", "acceptLicense": True},
        "contextLength": 16384,
        "sharding": {"tensor": tensor, "pipeline": pipeline},
        "device": {"count": tensor},
    }
    return LlamaDeploymentSpec.model_validate({**values, **changes})


#: Name -> size, method, GPU, spec, and words of the refusal (empty: vLLM takes it).
OTHERS: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    **{f"405b {method}": ("405b", method, "H100", {"tensor": 8}, "") for method in METHODS},
    "405b fbgemm, named": ("405b", "fbgemm", "H100", {"tensor": 8, "engine": {"quantization": "fp8"}}, "fbgemm_fp8"),
    **{
        f"405b {method}, named {word}": (
            "405b", method, "H100", {"tensor": 8, "engine": {"quantization": word}}, "",
        )
        for method, word in (("awq", "awq"), ("awq", "awq_marlin"), ("gptq", "gptq"), ("gptq", "gptq_marlin"),
                             ("ct-fp8", "compressed-tensors"), ("fp8", "fp8"))
    },
    "405b in 3 stages": ("405b", "", "H100", {"tensor": 8, "pipeline": 3}, ""),
    "405b in 4 stages of 4": ("405b", "", "H100", {"tensor": 4, "pipeline": 4}, ""),
    "70b, made fp8 at the start": ("70b", "", "H100", {"tensor": 4, "engine": {"quantization": "fp8"}}, ""),
    "70b as modelopt": ("70b", "", "H100", {"tensor": 4, "engine": {"quantization": "modelopt"}}, "modelopt"),
    **{
        f"8b cache {word}": ("8b", "", "H100", {"engine": {"kvCacheDtype": word}}, "")
        for word in ("bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
    },
    **{f"8b blocks of {size}": ("8b", "", "H100", {"engine": {"blockSize": size}}, "") for size in (16, 32, 64, 128)},
    "8b eager": ("8b", "", "H100", {"engine": {"enforceEager": True}}, ""),
    "8b on A100": ("8b", "", "A100", {}, ""),
    "8b on L40S": ("8b", "", "L40S", {"engine": {"kvCacheDtype": "fp8"}}, ""),
    "405b on B200": ("405b", "ct-fp8", "B200", {"tensor": 4}, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What vLLM says to all of them, in one process."""
    root = tmp_path_factory.mktemp("configs")
    requests = {
        example.file: {
            "gpu": example.gpu,
            "folder": str(folders.write(root, example.size, example.method)),
            "cell": cell(spec_in(example)),
        }
        for example in EXAMPLES
    }
    for name, (size, method, gpu, changes, _) in OTHERS.items():
        folder = str(folders.write(root, size, method))
        requests[name] = {"gpu": gpu, "folder": folder, "cell": cell(spec(**changes))}
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "CRITICAL",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'serving'}:{ROOT}",
    }
    command = [sys.executable, "-m", "tests.serving.configs.verdicts"]
    asked = json.dumps(requests)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.file)
def test_the_engine_takes_every_example(verdicts: dict[str, dict[str, Any]], example: Example) -> None:
    found, wanted = verdicts[example.file], spec_in(example)
    assert found["refusal"] == ""
    assert found["ranks"] == wanted.sharding.pipeline * wanted.sharding.tensor
    assert (found["quantization"], found["context"]) == (example.engine, wanted.context_length)
    assert found["worker"] == "vllm.v1.worker.gpu_worker.Worker"


@pytest.mark.parametrize("name", OTHERS)
def test_the_engine_says_to_other_configs(verdicts: dict[str, dict[str, Any]], name: str) -> None:
    refusal, words = verdicts[name]["refusal"], OTHERS[name][-1]
    assert bool(refusal) == bool(words), refusal
    assert words in refusal


def test_compiled_code_is_found_again_wherever_the_weights_lie(verdicts: dict[str, dict[str, Any]]) -> None:
    keys = {name: found["keys"] for name, found in verdicts.items() if not found["refusal"]}
    assert keys
    assert keys == {name: [False, True] for name in keys}, "stock depends on the path, ours does not"


def test_every_example_for_gpus_is_asked_about() -> None:
    files = {path.name for path in (ROOT / "examples").glob("*.yaml")}
    no_gpu = {"llama-3.1-8b-adapter.yaml", "llama-3.1-8b-weights.yaml", "smollm2-cpu.yaml"}
    assert files - {example.file for example in EXAMPLES} == no_gpu


@pytest.mark.parametrize(("size", "method"), BYTES)
def test_the_bytes_are_the_sum_of_the_shapes(size: str, method: str) -> None:
    assert tensor_bytes(size, method) == BYTES[size, method]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.file)
def test_weights_and_one_context_fit_into_the_gpu_that_the_example_names(example: Example) -> None:
    """Weights of a GPU, and keys and values of one whole context, within what the engine takes; a tenth stays free."""
    wanted, layers = spec_in(example), SIZES[example.size]["num_hidden_layers"]
    pipeline, tensor = wanted.sharding.pipeline, wanted.sharding.tensor
    weights = BYTES[example.size, example.engine] / (pipeline * tensor)
    number = 1 if (wanted.engine.kv_cache_dtype or "").startswith("fp8") else 2
    token = math.ceil(layers / pipeline) * 2 * max(8 // tensor, 1) * 128 * number
    assert weights + token * wanted.context_length < 0.9 * 0.92 * MEMORY[example.gpu]
