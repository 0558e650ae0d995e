"""A cell in test pods: config, token and supervisors as the operator would set them up."""

import contextlib
import hashlib
import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from llama_serving.config import names
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, WeightsRef
from llama_serving.config.desired import DesiredState, StagedWeights, StagingState
from tests.serving.pods import NETWORK, Pod, network

ROOT = Path(__file__).parents[2]
CODE = (str(ROOT / "serving"), str(ROOT / "serving/image"))
SHM_BYTES = 256 << 20
TOKEN = "f3a1c2" * 8


def weights(model: str) -> WeightsRef:
    """Weights in a mounted folder, with a digest by which a stager would know them."""
    digest = f"sha256:{hashlib.sha256(model.encode()).hexdigest()}"
    return WeightsRef(path=f"/mnt/models/{model}", id=model, served_name="llama", digest=digest)


def cell_config(*, model: str, context_length: int = 512, max_num_seqs: int = 8, **changes: Any) -> CellConfig:
    """A cell of two CPU stages that serves ``/mnt/models/{model}``."""
    hosts = ("stage-0.cell", "stage-1.cell")
    values: dict[str, Any] = {
        "deployment": "demo",
        "namespace": "default",
        "group": 0,
        "pod_hash": "r1",
        "stage_hosts": hosts,
        "weights": weights(model),
        "layout": Layout(pipeline=2, tensor=1, device="cpu"),
        "context_length": context_length,
        "dtype": "bfloat16",
        "staged": True,
        "max_num_seqs": max_num_seqs,
        "timeouts": CellTimeouts(join=120, start=240, drain=30),
    }
    return CellConfig(**values | changes)


@dataclass
class Cell:
    """Two running pods."""

    pods: list[Pod]
    config: CellConfig
    folder: Path

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

    def metrics(self) -> dict[str, float]:
        """What Prometheus gets of the leader: the value of each sample, added up over labels."""
        url = f"http://{self.leader.ip}:{names.PORT_METRICS}{names.ROUTE_METRICS}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name] = values.get(sample.name, 0.0) + sample.value
        return values

    def chat(self, text: str, *, max_tokens: int = 16) -> str:
        body = {
            "model": self.served_name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        answer = post_json(f"http://{self.leader.ip}:{names.PORT_ENGINE}/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    def desire(self, desired: DesiredState) -> None:
        """As the operator: the same desired state to every stage."""
        for pod in self.pods:
            assert put_json(f"http://{pod.ip}:{names.PORT_STATE}{names.ROUTE_DESIRED}", desired) == {
                "desired": desired.key
            }

    def stages(self, *models: str, on: int | None = None, adapters: tuple[StagedWeights, ...] = ()) -> None:
        """As the stagers: these models are ready on all stages, or on one of them; of adapters what is said."""
        said = [StagedWeights(digest=weights(model).digest, id=model, outcome="ready") for model in models]
        state = StagingState(weights=tuple(said), adapters=adapters)
        for stage in range(len(self.pods)) if on is None else (on,):
            path = control(self.folder, stage) / Path(names.STAGING_PATH).name
            path.with_suffix(".new").write_text(state.model_dump_json(), encoding="utf-8")
            path.with_suffix(".new").replace(path)

    def weights_header(self) -> str:
        """What an answer calls the weights that it is of."""
        url = f"http://{self.leader.ip}:{names.PORT_ENGINE}/v1/models"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.headers[names.HEADER_WEIGHTS])

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


def put_json(url: str, body: DesiredState, *, timeout: float = 10) -> dict[str, Any]:
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(url, body.model_dump_json().encode(), headers, method="PUT")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return dict(json.loads(answer.read()))


def control(folder: Path, stage: int) -> Path:
    """What a stage's supervisor shares with its stager."""
    return folder / f"control-{stage}"


@contextlib.contextmanager
def running_cell(
    config: CellConfig,
    *,
    models: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    shm_bytes: int = SHM_BYTES,
    staged: Path | None = None,
) -> Iterator[Cell]:
    """Start the two supervisors, with more in their ``environment``; everything is gone afterwards.

    ``staged`` is what stagers brought, below ``names.WEIGHTS_MOUNT``.
    """
    (folder / "cell.json").write_text(config.model_dump_json(), encoding="utf-8")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    for stage in range(config.layout.pipeline):
        control(folder, stage).mkdir()
    more = environment or {}
    pods = [_pod(stage, config, folder=folder, more=more) for stage in range(config.layout.pipeline)]
    hosts = "127.0.0.1 localhost\n" + "".join(
        f"{NETWORK}.{stage + 1} {host}\n" for stage, host in enumerate(config.stage_hosts)
    )
    with network(), contextlib.ExitStack() as undo:
        for pod in pods:
            undo.callback(pod.destroy)
            binds = {"models": str(models), "pod": str(folder)}
            binds |= {} if staged is None else {names.WEIGHTS_MOUNT: str(staged)}
            pod.make(
                binds=binds, code=(ROOT, Path(sys.prefix), Path(sys.base_prefix)), hosts=hosts, shm_bytes=shm_bytes
            )
        for pod in pods:
            pod.start()
        yield Cell(pods, config, folder)


def _pod(stage: int, config: CellConfig, *, folder: Path, more: Mapping[str, str]) -> Pod:
    command = (
        sys.executable,
        "-m",
        "llama_serving.cell",
        "--config",
        "/mnt/pod/cell.json",
        "--token",
        "/mnt/pod/token",
        "--engine-key",
        "/mnt/pod/engine-key",
        "--control",
        f"/mnt/pod/{control(Path(), stage)}",
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(CODE),
        "HOME": "/tmp",
        names.ENV_STAGE: str(stage),
        names.ENV_POD_IP: f"{NETWORK}.{stage + 1}",
        **more,
    }
    name = config.stage_hosts[stage].partition(".")[0]
    return Pod(name, stage, command, environment, folder / f"{name}.log")
