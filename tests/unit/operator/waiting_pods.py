"""Pods that wait, as the API server shows them: a stage pod made 40 s ago, by what is said of it."""

from dataclasses import replace
from typing import Any

from llama_operator.observe.findings import Findings
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.explain import explain_start
from llama_operator.ports import SeenEvent
from llama_serving.config import names
from tests.unit.operator.worlds import NOW, ago

NAME = "chat-abc-0-0"
IMAGE = "registry.example.com/llama-serving:1"
VOLUMES: list[dict[str, Any]] = [
    {"name": "config", "configMap": {"name": "chat-abc-0"}},
    {"name": "token", "secret": {"secretName": "chat-token"}},
    {"name": "model", "persistentVolumeClaim": {"claimName": "llama", "readOnly": True}},
    {"name": "credentials", "secret": {"secretName": "hub"}},
    {"name": "tmp", "emptyDir": {}},
]
SHARED = [{"name": "weights", "persistentVolumeClaim": {"claimName": "fast"}}]
COMPILED = [{"name": "cache", "persistentVolumeClaim": {"claimName": "code"}}]
OWN = [{"name": "weights", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]


def stamp(seconds: float) -> str:
    return ago(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def body(*, node: str = "node-1", volumes: list[dict[str, Any]] = VOLUMES, **status: Any) -> dict[str, Any]:
    """A stage pod that was made 40 s ago."""
    labels = {
        names.LABEL_DEPLOYMENT: "chat", names.LABEL_COMPONENT: names.COMPONENT_STAGE, names.LABEL_GROUP: "0",
        names.LABEL_STAGE: "0", names.LABEL_POD_HASH: "abc",
    }  # fmt: skip
    meta = {"name": NAME, "namespace": "team", "uid": "u", "labels": labels, "creationTimestamp": stamp(40)}
    spec = {
        "nodeName": node, "volumes": volumes, "containers": [{"name": "stage", "image": IMAGE}],
        "initContainers": [{"name": "stager", "image": "registry.example.com/llama-gateway:1"}],
        "imagePullSecrets": [{"name": "pull"}],
    }  # fmt: skip
    return {"metadata": meta, "spec": spec, "status": {"phase": "Pending", **status}}


def unscheduled(message: str, **fields: Any) -> PodView:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": stamp(40)}  # fmt: skip
    return pod_view(body(node="", conditions=[said], **fields))


def creating(*messages: str, reason: str = "FailedMount", **fields: Any) -> PodView:
    """A pod in ContainerCreating, and what was recorded about it, the newest last."""
    waits = {"waiting": {"reason": "ContainerCreating"}}
    view = pod_view(body(containerStatuses=[{"name": "stage", "state": waits}], **fields))
    events = (SeenEvent(reason, text, ago(20 - number)) for number, text in enumerate(messages))
    return replace(view, findings=Findings(events=tuple(events)))


def waiting(reason: str, message: str = "", *, container: str = "stage", **last: Any) -> PodView:
    state = {"name": container, "state": {"waiting": {"reason": reason, "message": message}}, "restartCount": 0} | last
    return pod_view(body(containerStatuses=[state]))


def pull(text: str) -> PodView:
    """As kubelets from 1.32 on show a pull that failed."""
    return waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {text}')


def unpack(text: str) -> str:
    """As containerd words it."""
    return f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {text}'


def mount(volume: str, text: str) -> PodView:
    return creating(f'MountVolume.SetUp failed for volume "{volume}" : {text}')


def said(pod: PodView) -> tuple[str, str]:
    found = explain_start(pod, None, NOW)
    assert found is not None
    return found.reason.value, found.detail.replace(NAME, "NAME")
