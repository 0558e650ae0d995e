"""A reload of quantized weights gives what a fresh load gives, by every method that is said to be swapped in place."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from llama_serving.config.model import QUANTIZATION_FAMILIES, SWAPPABLE_QUANTIZATION

pytestmark = [
    pytest.mark.serving,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="needs the serving environment"),
]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What differs from a fresh load, by method."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT / 'serving'}:{ROOT}",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    command = [sys.executable, "-m", "tests.serving.quantized.reload", str(tmp_path_factory.mktemp("quantized"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_reload_is_a_fresh_load_bit_for_bit(differences: dict[str, list[str]]) -> None:
    reloads = {method: found for method, found in differences.items() if method != "online"}
    assert reloads == {method: [] for method in reloads}


def test_weights_that_are_not_swapped_are_refused_before_they_are_touched(differences: dict[str, list[str]]) -> None:
    assert differences["online"] == ["weights quantized by online are not swapped in a running engine"]


def test_every_method_that_is_swapped_was_reloaded(differences: dict[str, list[str]]) -> None:
    reloaded = {method.split()[0] for method in differences}
    families = [set(family) for family in QUANTIZATION_FAMILIES]
    proved = reloaded | {word for family in families if family & reloaded for word in family}
    assert set(SWAPPABLE_QUANTIZATION) <= proved
