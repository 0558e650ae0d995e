"""The GPU image as far as a machine without a GPU can try it: `make gpu-image`, a quarter of an hour and 42 GB of disk.

Every command runs as the pod would run it: uid 10001, a read-only root, the image's own environment. The node's driver
is of paper: its management library shows H100s, and its CUDA library says that there is no device.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.images.gpu import Built
from tests.gpu_image.container import POD, UID, Container, image_config, image_environment
from tests.unit.test_lock import VERSIONS

pytestmark = pytest.mark.timeout(3600)  # the first test builds the image

#: Config.json of Llama 3.1, as published: what differs between the sizes, and what does not.
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "max_position_embeddings": 131072,
    "mlp_bias": False, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "vocab_size": 128256,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}  # fmt: skip
SIZES: dict[str, dict[str, int]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_hidden_layers": 32},
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_hidden_layers": 80},
    "405b": {"hidden_size": 16384, "intermediate_size": 53248, "num_attention_heads": 128, "num_hidden_layers": 126},
}
#: Name, size, pipeline, tensor, options, and what vLLM is to choose.
CONFIGS: list[tuple[str, str, int, int, dict[str, Any], dict[str, Any]]] = [
    ("405B over two nodes", "405b", 2, 8, {}, {"world": 16, "quantization": None}),
    ("405B in FP8 on one node", "405b", 1, 8, {"quantization": "fp8"}, {"world": 8, "quantization": "fp8"}),
    ("70B on four devices", "70b", 1, 4, {}, {"world": 4, "quantization": None}),
    ("8B with a cache in FP8", "8b", 1, 1, {"kv_cache_dtype": "fp8"}, {"world": 1, "cache": "fp8"}),
    ("8B without graphs", "8b", 1, 1, {"enforce_eager": True}, {"world": 1, "graphs": "NONE"}),
]


#: Types of GPUs, and what computes their attention by the type of the cache. FlashInfer builds its module at the first
#: start, with nvcc, which therefore lies in the image.
CACHES = ("auto", "fp8")
ATTENTION: dict[tuple[str, str], tuple[str, str]] = {
    ("NVIDIA H100 80GB HBM3", "9.0"): ("FLASH_ATTN", "FLASH_ATTN"),
    ("NVIDIA H200", "9.0"): ("FLASH_ATTN", "FLASH_ATTN"),
    ("NVIDIA A100-SXM4-80GB", "8.0"): ("FLASH_ATTN", "FLASHINFER"),
    ("NVIDIA L40S", "8.9"): ("FLASH_ATTN", "FLASHINFER"),
    ("NVIDIA B200", "10.0"): ("FLASHINFER", "FLASHINFER"),
}


def test_it_runs_as_an_unprivileged_user_with_an_init(image: Built) -> None:
    found = image_config(image)
    assert found["User"] == f"{UID}:{UID}"
    assert found["Entrypoint"] == ["/usr/bin/tini", "--"]
    print(
        f"\n{image.bytes / 1e9:.2f} GB, built in {image.seconds:.0f} s, {image.peak_bytes / 1e9:.1f} GB of disk at most"
    )


def test_it_tells_the_container_toolkit_what_it_needs(image: Built) -> None:
    found = image_environment(image)
    assert found["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert found["NVIDIA_REQUIRE_CUDA"] == "cuda>=13.0"
    assert "NVIDIA_VISIBLE_DEVICES" not in found, "the device plug-in says which"


def test_the_root_is_read_only_and_home_is_not(container: Container) -> None:
    container.run("python3", "-c", "import pathlib; pathlib.Path.home().joinpath('x').touch()", within=60)
    code = "import os; print(os.getuid(), os.statvfs('/').f_flag & os.ST_RDONLY)"
    assert container.run("python3", "-c", code, within=60).split() == [UID, "1"]


def test_it_holds_no_driver_of_its_own(image: Built) -> None:
    driver = {"libcuda.so.1", "libnvidia-ml.so.1"}
    found = [str(path) for layer in image.image.layers for path in layer.folder.rglob("*.so.1") if path.name in driver]
    assert found == []


def test_what_a_start_imports_is_there(container: Container) -> None:
    said = container.run("python3", "/opt/probes/imports.py", within=900)
    assert said.splitlines()[-1] == "NVIDIA H100 80GB HBM3 9.0 13.0"


def test_vllm_says_its_version(container: Container) -> None:
    assert container.run("vllm", "--version", within=600).split()[-1] == VERSIONS["vllm"]


def test_triton_compiles_for_a_gpu(container: Container) -> None:
    assert int(container.run("python3", "/opt/probes/triton_sm90.py", within=600)) > 1000


def test_flashinfer_builds_a_module(container: Container) -> None:
    said = container.run("python3", "/opt/probes/flashinfer_module.py", within=1800, FLASHINFER_CUDA_ARCH_LIST="9.0a")
    assert said.splitlines()[-1].startswith("/tmp/.cache/flashinfer/")


def test_the_engine_takes_the_configuration_of_each_size(container: Container) -> None:
    asked = []
    for name, size, pipeline, tensor, options, _ in CONFIGS:
        folder = container.pod / size
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(LLAMA | SIZES[size]), encoding="utf-8")
        cell = {
            "deployment": name, "namespace": "team", "group": 0, "pod_hash": "r1", "context_length": 32768,
            "stage_hosts": [f"stage-{stage}" for stage in range(pipeline)],
            "weights": {"path": f"/mnt/pod/{size}", "id": "x", "served_name": "llama"},
            "layout": {"pipeline": pipeline, "tensor": tensor, "device": "gpu"}, "engine_options": options,
        }  # fmt: skip
        asked.append({"cell": cell, "model": f"/mnt/pod/{size}"})
    (container.pod / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    said = container.run("python3", "/opt/probes/engine_configs.py", "/mnt/pod/asked.json", within=1200)
    found = [json.loads(line.removeprefix("CONFIG ")) for line in said.splitlines() if line.startswith("CONFIG ")]
    assert len(found) == len(CONFIGS)
    for (name, *_, expected), chosen in zip(CONFIGS, found, strict=True):
        assert expected.items() <= chosen.items(), f"{name}: {chosen}"


def test_the_attention_of_each_type_of_gpu(container: Container) -> None:
    asked = [{"name": name, "capability": capability, "caches": CACHES} for name, capability in ATTENTION]
    (container.pod / "gpus.json").write_text(json.dumps(asked), encoding="utf-8")
    said = container.run(
        "python3", "/opt/probes/attention.py", f"{POD}/devices", f"{POD}/gpus.json", within=900,
        PAPER_NVML=f"{POD}/devices",
    )  # fmt: skip
    lines = [json.loads(line.removeprefix("ATTENTION ")) for line in said.splitlines() if line.startswith("ATTENTION ")]
    found = {line["gpu"]: tuple(line["by_cache"][cache] for cache in CACHES) for line in lines}
    assert found == {name: chosen for (name, _), chosen in ATTENTION.items()}


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "accepted"),
        ("cpu", f"the image (images.serving) holds vLLM for GPUs (vllm {VERSIONS['vllm']}), and device.resource is cpu;"
                " leave images.serving empty for the operator's image, or name one that is built for CPU"),
    ],
)  # fmt: skip
def test_a_rehearsal_in_it_says_for_which_devices_it_is(container: Container, device: str, said: str) -> None:
    config = {
        "deployment": "chat", "namespace": "team", "group": 0, "pod_hash": "r1", "context_length": 64,
        "stage_hosts": ["stage-0"], "weights": {"path": "/weights/1", "id": "x", "served_name": "llama"},
        "layout": {"pipeline": 1, "tensor": 1, "device": device},
    }  # fmt: skip
    log = container.pod / "said"
    log.touch(mode=0o666)
    log.chmod(0o666)
    (container.pod / "cell.json").write_text(json.dumps(config), encoding="utf-8")
    options = ("--config", "/mnt/pod/cell.json", "--termination-log", "/mnt/pod/said")
    program = ("-m", "llama_serving.cell.rehearsal", *options)
    code = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, *{program!r}]).returncode not in (0, 3))"
    container.run("python3", "-c", code, within=300)
    assert Path(log).read_text(encoding="utf-8") == said
