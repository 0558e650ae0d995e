"""Cells in a line: configs, and what a supervisor sees."""

from pathlib import Path
from typing import Any

from llama_serving.cell.policy.leader import AppView, LeaderView
from llama_serving.cell.policy.state_machine import RayView
from llama_serving.cell.policy.weight_swap import DesiredWeights, EngineView
from llama_serving.cell.policy.worker import LeaderReport, WorkerView
from llama_serving.cell.shared.identity import Identity
from llama_serving.config.cell import CellConfig, CellTimeouts, Layout, WeightsRef
from llama_serving.config.model import ModelFacts
from llama_serving.config.state import Phase

TIMEOUTS = CellTimeouts(join=100, start=300, drain=30)
RUNNING = RayView(started=True)
OLD = WeightsRef(path="/models/w1", id="w1", served_name="llama")
NEW = WeightsRef(path="/models/w2", id="w2", served_name="llama")
ENGINE = EngineView(weights=OLD, in_flight=0, seconds_ago=0.1)
SERVES = DesiredWeights(weights=OLD, deployed=OLD, measured=True, checked=True)
APP = AppView(failed=False, status="RUNNING")


def config(*, pipeline: int = 2, tensor: int = 1, device: str = "cpu", **changes: Any) -> CellConfig:
    values: dict[str, Any] = {
        "deployment": "demo",
        "namespace": "team",
        "group": 1,
        "pod_hash": "r1",
        "stage_hosts": tuple(f"stage-{stage}.demo" for stage in range(pipeline)),
        "weights": WeightsRef(path="/models/w1", id="w1", served_name="llama"),
        "layout": {"pipeline": pipeline, "tensor": tensor, "device": device},
        "context_length": 512,
        "timeouts": TIMEOUTS,
    }
    return CellConfig(**(values | {"layout": Layout(**values["layout"])} | changes))


def facts(**changes: Any) -> ModelFacts:
    values: dict[str, Any] = {
        "architecture": "LlamaForCausalLM",
        "layers": 30,
        "hidden_size": 576,
        "heads": 9,
        "kv_heads": 3,
        "head_dim": 64,
        "vocabulary": 49152,
        "max_context": 8192,
        "dtype": "bfloat16",
        "files": 4,
        "bytes": 269_000_000,
    }
    return ModelFacts(**values | changes)


def identity(stage: int = 0, **changes: Any) -> Identity:
    return Identity(config=config(**changes), stage=stage, ip=f"10.0.0.{stage + 1}", token_path=Path("/token"))


def leader_view(**changes: Any) -> LeaderView:
    """A leader of two stages that serves; each change takes something away."""
    values: dict[str, Any] = {
        "stages": 2,
        "ray": RUNNING,
        "joined": frozenset({0, 1}),
        "deployed": True,
        "app": APP,
        "engine": ENGINE,
        "answered": True,
        "desired": SERVES,
    }
    return LeaderView(**values | changes)


def leader_report(**changes: Any) -> LeaderReport:
    values: dict[str, Any] = {"ip": "10.0.0.1", "phase": Phase.SERVING, "session": "first", "in_flight": 0}
    return LeaderReport(**values | changes)


def worker_view(**changes: Any) -> WorkerView:
    """A worker that is part of a serving leader's cluster."""
    values: dict[str, Any] = {
        "leader_host": "stage-0.demo",
        "ray": RUNNING,
        "leader": leader_report(),
        "session": "first",
        "joined": True,
    }
    return WorkerView(**values | changes)
