"""A cell in test pods: config, token and supervisors as the operator would set them up."""

import contextlib
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_serving.cell.serve_app import serve_document, user_config
from llama_serving.config import names
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, Weights
from tests.serving.pods import NETWORK, Pod, network

ROOT = Path(__file__).parents[2]
SHM_BYTES = 256 << 20
TOKEN = "f3a1c2" * 8


def cell_config(*, model: str, context_length: int = 512, max_num_seqs: int = 8, **changes: Any) -> CellConfig:
    """A cell of two CPU stages that serves ``/mnt/models/{model}``."""
    hosts = ("stage-0.cell", "stage-1.cell")
    values: dict[str, Any] = {
        "deployment": "demo",
        "namespace": "default",
        "group": 0,
        "revision": "r1",
        "stage_hosts": hosts,
        "weights": Weights(path=f"/mnt/models/{model}", id=model, served_name="llama"),
        "layout": Layout(pipeline=2, tensor=1, device="cpu"),
        "context_length": context_length,
        "dtype": "bfloat16",
        "max_num_seqs": max_num_seqs,
        "timeouts": CellTimeouts(join=120, start=240, drain=30),
    }
    return CellConfig(**values | changes)


@dataclass
class Cell:
    """Two running pods."""

    pods: list[Pod]
    config: CellConfig

    @property
    def served_name(self) -> str:
        return self.config.weights.served_name

    @property
    def leader(self) -> Pod:
        return self.pods[0]

    @property
    def worker(self) -> Pod:
        return self.pods[1]

    def state(self, stage: int = 0) -> dict[str, Any]:
        return get_json(f"http://{self.pods[stage].ip}:{names.PORT_STATE}{names.ROUTE_STATE}")

    def ready(self, stage: int = 0) -> bool:
        return bool(self.state(stage)["ready"])

    def engine_state(self) -> dict[str, Any]:
        return get_json(f"http://{self.leader.ip}:{names.PORT_ENGINE}{names.ROUTE_STATE}")

    def chat(self, text: str, *, max_tokens: int = 16) -> str:
        body = {
            "model": self.served_name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        answer = post_json(f"http://{self.leader.ip}:{names.PORT_ENGINE}/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    def exchange_weights(self, weights: Weights) -> None:
        """Change only Serve's user_config, over its REST API with the group's token."""
        document = serve_document(self.config)
        document["applications"][0]["deployments"][0]["user_config"] = user_config(weights)
        url = f"http://{self.leader.ip}:{names.PORT_RAY_DASHBOARD}/api/serve/applications/"
        headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="PUT")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    def complete(self, text: str, *, tokens: int) -> int:
        """Ask for exactly so many tokens; how many came."""
        body = {"model": self.served_name, "prompt": text, "max_tokens": tokens, "ignore_eos": True}
        answer = post_json(f"http://{self.leader.ip}:{names.PORT_ENGINE}/v1/completions", body)
        return int(answer["usage"]["completion_tokens"])

    def logs(self) -> str:
        return "\n".join(f"--- {pod.name}\n{pod.log.read_text(errors='replace')[-3000:]}" for pod in self.pods)


def get_json(url: str, *, timeout: float = 3) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return dict(json.loads(answer.read()))


def post_json(url: str, body: dict[str, Any], *, timeout: float = 60) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return dict(json.loads(answer.read()))


@contextlib.contextmanager
def running_cell(config: CellConfig, *, models: Path, folder: Path) -> Iterator[Cell]:
    """Start the two supervisors; everything is gone afterwards."""
    (folder / "cell.json").write_text(config.model_dump_json(), encoding="utf-8")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    pods = [_pod(stage, config, folder=folder) for stage in range(config.layout.pipeline)]
    hosts = "127.0.0.1 localhost\n" + "".join(
        f"{NETWORK}.{stage + 1} {host}\n" for stage, host in enumerate(config.stage_hosts)
    )
    with network(), contextlib.ExitStack() as undo:
        for pod in pods:
            undo.callback(pod.destroy)
            pod.make(binds={"models": str(models), "pod": str(folder)}, hosts=hosts, shm_bytes=SHM_BYTES)
        for pod in pods:
            pod.start()
        yield Cell(pods, config)


def _pod(stage: int, config: CellConfig, *, folder: Path) -> Pod:
    command = (
        sys.executable,
        "-m",
        "llama_serving.cell",
        "--config",
        "/mnt/pod/cell.json",
        "--token",
        "/mnt/pod/token",
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "serving"),
        "HOME": "/tmp",
        names.ENV_STAGE: str(stage),
        names.ENV_POD_IP: f"{NETWORK}.{stage + 1}",
    }
    name = config.stage_hosts[stage].partition(".")[0]
    return Pod(name, stage, command, environment, folder / f"{name}.log")
