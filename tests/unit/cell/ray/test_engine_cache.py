"""A volume for compiled code: used where it can be, and never in the way of a start."""

import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from llama_serving.cell.ray.engine_cache import FOLDERS, LEAST_FREE, choose_cache, gpu_type
from tests.unit.cell.worlds import identity

ME = identity(1, device="gpu", tensor=8, cache_key="k1")
H100 = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 16\n"


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "cache").mkdir()
    return {"mount": tmp_path / "cache", "gpus": tmp_path / "gpus", "note": tmp_path / "note"}


def devices(folder: Path, *texts: str) -> None:
    for number, text in enumerate(texts):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "information").write_text(text)


def test_each_stage_of_each_group_has_a_folder_by_image_layout_and_gpu(roots: dict[str, Path]) -> None:
    devices(roots["gpus"], H100, H100)
    found = choose_cache(ME, **roots)
    folder = roots["mount"] / "k1-NVIDIA-H100-80GB-HBM3" / "group-1-stage-1"
    assert (found.folder, found.fault, folder.is_dir(), list(folder.iterdir())) == (folder, "", True, [])
    environment = found.environment(device="gpu")
    assert environment == {name: str(folder / part) for name, part in FOLDERS.items()} | {
        "VLLM_ENABLE_STARTUP_PLAN": "1"
    }
    assert set(found.environment(device="cpu")) == set(FOLDERS)


def test_without_the_field_nothing_is_touched(roots: dict[str, Path]) -> None:
    found = choose_cache(identity(), **roots)
    found.begin()
    assert (found.folder, found.fault, found.environment(device="cpu")) == (None, "", {})
    assert (list(roots["mount"].iterdir()), roots["note"].exists()) == ([], False)


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        ((), "none"),
        (("no model here",), "none"),
        (("Model:\n",), "none"),
        ((H100, "Model: A/../B\n"), "A-..-B-NVIDIA-H100-80GB-HBM3"),
        (("Model: " + "x" * 500,), "x" * 100),
        (("Model: \u00fc\n",), "none"),
    ],
)
def test_the_type_of_the_gpus_is_one_part_of_a_path(tmp_path: Path, texts: tuple[str, ...], name: str) -> None:
    devices(tmp_path, *texts)
    assert gpu_type(tmp_path) == name
    assert gpu_type(tmp_path / "missing") == "none"


def test_a_start_that_came_to_no_answer_is_followed_by_one_without_the_cache(roots: dict[str, Path]) -> None:
    first = choose_cache(ME, **roots)
    first.begin()
    second = choose_cache(ME, **roots)
    assert (second.folder, second.environment(device="cpu")) == (None, {})
    assert f"the last start with the cache {first.folder} did not come to an answer" in second.fault
    second.begin()
    second.confirm()
    assert choose_cache(ME, **roots).folder == first.folder, "it is tried again by the start after"


def test_a_start_that_answered_leaves_the_cache_in_use(roots: dict[str, Path]) -> None:
    first = choose_cache(ME, **roots)
    first.begin()
    first.confirm()
    assert choose_cache(ME, **roots).folder == first.folder


def test_a_failed_start_with_another_cache_says_nothing_of_this_one(roots: dict[str, Path]) -> None:
    choose_cache(identity(1, cache_key="another"), **roots).begin()
    assert choose_cache(ME, **roots).fault == ""


def test_a_note_that_cannot_be_written_is_no_obstacle(roots: dict[str, Path]) -> None:
    roots["note"].mkdir()
    found = choose_cache(ME, **roots)
    found.begin()
    assert found.folder is not None


@pytest.mark.parametrize("obstacle", ["missing", "a file", "read-only folder", "taken by a file"])
def test_a_volume_that_cannot_be_used_is_left_out(
    roots: dict[str, Path], obstacle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = roots["mount"]
    if obstacle == "missing":
        monkeypatch.setattr(Path, "mkdir", refuse)
    elif obstacle == "a file":
        mount.rmdir()
        mount.write_text("")
    elif obstacle == "read-only folder":
        monkeypatch.setattr(Path, "write_bytes", refuse)
    else:
        (mount / "k1-none").write_text("")
    found = choose_cache(ME, **roots)
    assert (found.folder, found.environment(device="cpu")) == (None, {})
    assert found.fault.startswith(f"the engine's cache {mount}/k1-none/group-1-stage-1 cannot be used, so it lies in")


def refuse(*_: object, **__: object) -> None:
    raise OSError(30, os.strerror(30))


def test_a_full_volume_is_left_out_with_its_numbers(roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(free=LEAST_FREE - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    found = choose_cache(ME, **roots)
    assert (found.folder, "2.0 GB" in found.fault) == (None, True), found.fault


def test_a_silent_volume_is_left_out(roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr("llama_serving.cell.ray.engine_cache.PATIENCE", 0.0)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: answered.wait(30))
    found = choose_cache(ME, **roots)
    answered.set()
    assert (found.folder, "did not answer within 0 s" in found.fault) == (None, True), found.fault
