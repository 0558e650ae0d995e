"""A reload gives exactly what a fresh load gives, whatever the layout; and files that do not fit touch nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.serving, pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from testbed.models.tiny import make

    folder = tmp_path_factory.mktemp("reload")
    for seed, name in enumerate("ab"):
        make(folder / name, seed=seed)
        tie(folder / name, folder / f"tied-{name}")
    return folder


def tie(source: Path, out: Path) -> None:
    """The same model with its embedding as its head."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, out)
    tensors = load_file(source / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))


def test_a_reload_is_a_fresh_load_bit_for_bit(models: Path) -> None:
    command = [sys.executable, "-m", "tests.serving.reload.ranks"]
    environment = dict(os.environ) | {
        "PYTHONPATH": f"{ROOT / 'serving'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    ranks = [subprocess.Popen([*command, str(rank), str(models)], env=environment, **options) for rank in range(2)]
    for process in ranks:
        said, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        found = json.loads(said.splitlines()[-1])
        assert len(found) == 8
        assert found == {case: [] for case in found}
