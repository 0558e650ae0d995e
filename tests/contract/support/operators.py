"""The operator as a process of its own, on the real API server with the chart's rights."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.ports import free_port
from tests.contract.support.apiserver import ROOT

DEADLINE_S = 60.0  # for a condition; the machine may be busy


@dataclass
class OperatorProcess:
    """``python -m llama_operator``, and what its admin port says."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ready(self) -> tuple[int, dict[str, str]]:
        """Status of /ready and the sentence of each namespace; 0 before it answers."""
        status, text = self.get("/ready")
        return status, json.loads(text)["namespaces"] if text else {}

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def serves(self, namespace: str) -> bool:
        return self.ready()[1].get(namespace) == "serves"

    def end(self, number: int) -> None:
        self.process.send_signal(number)


@contextlib.contextmanager
def operator(
    kubeconfig: Path, *namespaces: str, folder: Path, release: str = "llama-operator"
) -> Iterator[OperatorProcess]:
    """A running operator; killed at the end if it still runs."""
    port = free_port()
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig), "WATCH_NAMESPACES": ",".join(namespaces), "POD_NAMESPACE": release,
        "LLAMA_SERVING_IMAGE": "serving:1", "LLAMA_SERVING_GPU_IMAGE": "serving:1", "LLAMA_GATEWAY_IMAGE": "gateway:1",
        "PROBE_PORT": str(port),
        "OPERATOR_ROLE": "llama-operator",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "serving")]),
    }  # fmt: skip
    path = folder / f"operator-{port}.log"
    with path.open("wb") as log:
        argv = [sys.executable, "-m", "llama_operator"]
        process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, cwd=ROOT)
    try:
        yield OperatorProcess(process, port, path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def until(condition: Callable[[], Any], what: str, *, operators: tuple[OperatorProcess, ...] = ()) -> float:
    """Wait for the condition; returns the seconds that it took. Shows what the operators said when it does not come."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > DEADLINE_S:
            said = "\n".join(f"{one.ready()}\n{one.log.read_text()[-3000:]}" for one in operators)
            raise AssertionError(f"{what}: not after {DEADLINE_S} s\n{said}")
        time.sleep(0.02)
    return time.monotonic() - begun
