"""A world in one readable line: ``world(leader(0), worker(0), replicas=2)``."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.groups.state import PlanState, plan_state
from llama_operator.plan.groups.template import desired_template, persisted_template
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.groups.weights_lookup import weights_artifact
from llama_operator.ports import Key, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import Measurement, StagedWeights, StagingState, WeightsArtifact
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Phase
from tests.fakes.models import FACTS, digest_of, id_of, view_of
from tests.fakes.world import SETTINGS, spec_of

NOW: Final = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
KEY: Final = Key("team", "chat")
SPEC: Final = LlamaDeploymentSpec.model_validate(spec_of())
NEW: Final = template_hash(SPEC, FACTS, serving_image=SETTINGS.serving_image)
V1: Final = id_of("v1")
OLD: Final = "0ld00000"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def state_of(seen: Snapshot, now: datetime = NOW) -> PlanState:
    """What a pass looks at."""
    return plan_state(seen, SETTINGS, now)


def stage(group: int, number: int, pod_hash: str = NEW, **fields: Any) -> PodView:
    """A running pod of a group."""
    name = f"chat-{pod_hash}-{group}-{number}"
    body = {"metadata": {"name": name, "uid": f"uid-{name}"}}
    found = replace(
        pod_view(body),
        component=names.COMPONENT_STAGE, group=group, stage=number, pod_hash=pod_hash, phase="Running",
        node=f"node-{number}", ip=f"ip-{name}", created=ago(600),
    )  # fmt: skip
    return replace(found, **fields)


def leader(group: int, pod_hash: str = NEW, **fields: Any) -> PodView:
    """A leader that gets requests."""
    return stage(group, 0, pod_hash, **{"ready": True, "in_rotation": True, "weights": V1} | fields)


def worker(group: int, pod_hash: str = NEW, **fields: Any) -> PodView:
    return stage(group, 1, pod_hash, **fields)


def group(ordinal: int, pod_hash: str = NEW) -> tuple[PodView, PodView]:
    """A group that serves."""
    return leader(ordinal, pod_hash), worker(ordinal, pod_hash)


def serve_of(revision: str = "v1") -> WeightsArtifact:
    """The weights of a revision, as a cell is told of them."""
    spec = spec_of()
    spec["model"] |= {"revision": revision}
    return weights_artifact(view_of(LlamaDeploymentSpec.model_validate(spec).model), KEY.name)


def staging(**outcomes: str) -> StagingState:
    """What a stager says, by revision: ``staging(v1="ready", v2="working")``."""
    found = (StagedWeights(digest=digest_of(name), id=id_of(name), outcome=how) for name, how in outcomes.items())
    return StagingState(weights=tuple(found))


def verdict(revision: str = "v1", **fields: Any) -> Measurement:
    """What a leader measured; nothing is wrong unless told otherwise."""
    digest = digest_of(revision)
    found = {
        "digest": digest, "id": id_of(revision), "stage_digests": (digest, digest), "mean_logprob": -3.5,
        "answer_hash": f"answer-{revision}", "seconds": 0.5,
    }  # fmt: skip
    return Measurement(**found | fields)


def cell(pod_hash: str = NEW, *, model: str = "v1", **fields: Any) -> SupervisorAnswer:
    """What a supervisor says; it serves the weights of the model's revision unless told otherwise."""
    state = {
        "deployment": "chat", "group": 0, "stage": 0, "pod_hash": pod_hash, "weights": id_of(model),
        "phase": Phase.SERVING, "reason": CellReason.SERVING, "message": "It serves.", "phase_seconds": 1,
        "uptime_seconds": 1, "ready": True, "stages_total": 2,
        "measurement": verdict(model), "staging": staging(**{model: "ready"}),
    }  # fmt: skip
    return SupervisorAnswer(CellState.model_validate(state | fields))


def heard(*pods: PodView, **fields: Any) -> dict[str, SupervisorAnswer]:
    """Every pod's supervisor, saying the same."""
    return {
        pod.name: cell(pod.pod_hash, **{"group": pod.group, "stage": pod.stage} | fields) for pod in pods if pod.alive
    }


def gateway_deployment(available: int = 2) -> dict[str, Any]:
    meta = {"name": "chat-gateway", "uid": "g"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 2},
        "status": {"replicas": available, "updatedReplicas": available, "availableReplicas": available},
    }  # fmt: skip


def world(*pods: PodView, replicas: int = 2, known: bool = True, **fields: Any) -> Snapshot:
    """One LlamaDeployment of two stages a group; its weights are ready, and its groups' good ones, unless ``known``
    is False."""
    changes = fields.pop("spec", {})
    spec = LlamaDeploymentSpec.model_validate(spec_of(replicas=replicas, **changes))
    view = view_of(spec.model, "uid-1")
    found = Snapshot(
        key=KEY, uid="uid-1", generation=1, deleting=False, spec=spec, spec_error="",
        status=LlamaDeploymentStatus(), pods=pods, children=(gateway_deployment(),),
        weights={view.name: view} if known else {},
    )  # fmt: skip
    good = desired_template(state_of(replace(found, spec=SPEC)))
    if good:
        found = replace(found, status=LlamaDeploymentStatus(stable=persisted_template(good)))
    return replace(found, **fields)
