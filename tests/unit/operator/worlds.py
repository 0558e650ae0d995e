"""A world in one readable line: ``world(leader(0), worker(0), replicas=2)``."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus, ModelFactsStatus, ModelStatus
from llama_operator.observe import PodView, Snapshot, pod_view
from llama_operator.plan.groups import Wish
from llama_operator.plan.revision import model_key_of, revision_of
from llama_operator.ports import CellAnswer, Key
from llama_serving.config import names
from llama_serving.config.state import CellReason, CellState, Phase
from tests.fakes.nodes import FACTS
from tests.fakes.world import SETTINGS, spec_of

NOW: Final = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
KEY: Final = Key("team", "chat")
SPEC: Final = LlamaDeploymentSpec.model_validate(spec_of())
NEW: Final = revision_of(SPEC, SETTINGS)
OLD: Final = "0ld00000"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def stage(group: int, number: int, revision: str = NEW, **fields: Any) -> PodView:
    """A running pod of a group."""
    name = f"chat-{revision}-{group}-{number}"
    body = {"metadata": {"name": name, "uid": f"uid-{name}"}}
    found = replace(
        pod_view(body),
        component=names.COMPONENT_STAGE, group=group, stage=number, revision=revision, phase="Running",
        node=f"node-{number}", ip=f"ip-{name}", created=ago(600),
    )  # fmt: skip
    return replace(found, **fields)


def leader(group: int, revision: str = NEW, **fields: Any) -> PodView:
    """A leader that gets requests."""
    return stage(group, 0, revision, **{"ready": True, "in_rotation": True, "weights": "v1"} | fields)


def worker(group: int, revision: str = NEW, **fields: Any) -> PodView:
    return stage(group, 1, revision, **fields)


def group(ordinal: int, revision: str = NEW) -> tuple[PodView, PodView]:
    """A group that serves."""
    return leader(ordinal, revision), worker(ordinal, revision)


def inspector(name: str, **fields: Any) -> PodView:
    body = {"metadata": {"name": name, "uid": f"uid-{name}"}}
    found = replace(pod_view(body), component=names.COMPONENT_INSPECTOR, created=ago(30))
    return replace(found, **fields)


def cell(**fields: Any) -> CellAnswer:
    """What a supervisor says; it serves unless told otherwise."""
    state = {
        "deployment": "chat", "group": 0, "stage": 0, "revision": NEW, "weights": "v1", "phase": Phase.SERVING,
        "reason": CellReason.SERVING, "message": "It serves.", "phase_seconds": 1, "uptime_seconds": 1, "ready": True,
    }  # fmt: skip
    return CellAnswer(CellState.model_validate(state | fields))


def gateway_deployment(available: int = 2) -> dict[str, Any]:
    meta = {"name": "chat-gateway", "uid": "g"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 2},
        "status": {"availableReplicas": available},
    }  # fmt: skip


def world(*pods: PodView, replicas: int = 2, known: bool = True, **fields: Any) -> Snapshot:
    """One LlamaDeployment of two stages a group, its model accepted unless ``known`` is False."""
    spec = LlamaDeploymentSpec.model_validate(spec_of(replicas=replicas))
    facts = ModelFactsStatus.model_validate(FACTS.model_dump())
    model = ModelStatus(key=model_key_of(spec), outcome="accepted", reason="Accepted", facts=facts)
    found = Snapshot(
        key=KEY, uid="uid-1", generation=1, deleting=False, spec=spec, spec_error="",
        status=LlamaDeploymentStatus(model=model if known else None), pods=pods, children=(gateway_deployment(),),
    )  # fmt: skip
    return replace(found, **fields)


def wish(replicas: int = 2, stages: int = 2) -> Wish:
    return Wish("chat", NEW, replicas, stages)
