"""The pod of a stage: argument lists only, Pod Security ``restricted``, no token of the API server."""

from typing import Any

from llama_operator.api import CPU
from llama_operator.manifests.common import (
    Context,
    container_security,
    image_settings,
    labels_of,
    metadata,
    pod_security,
    probe,
)
from llama_operator.manifests.group import CONFIG_KEY, model_volume
from llama_operator.plan.model import CreateStage
from llama_operator.plan.naming import stage_hostname, stages_name, token_name
from llama_operator.plan.revision import serving_image
from llama_operator.ports import Manifest
from llama_serving.config import names

# Seconds that the pod gets after the engine's own drain deadline.
GRACE_MARGIN = 15
# Seconds until a pod on a node that went silent is evicted; the API server's default would be 300.
LOST_NODE_SECONDS = 30


def stage_pod(context: Context, item: CreateStage) -> Manifest:
    """Pod of one stage."""
    group, stage = item.group, item.stage
    labels = {"group": str(group.ordinal), "stage": str(stage), "revision": group.revision}
    spec = {
        "hostname": stage_hostname(stage),
        "subdomain": group.name,
        "serviceAccountName": stages_name(context.key.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": context.spec.drain_timeout_seconds + GRACE_MARGIN,
        "securityContext": pod_security(),
        "containers": [_container(context, stage)],
        "volumes": _volumes(context, group.name),
        **image_settings(context),
        **_placement(context, group.ordinal, group.revision),
    }
    if stage == 0:
        spec["readinessGates"] = [{"conditionType": names.GATE_IN_ROTATION}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(context, group.pod(stage), names.COMPONENT_STAGE, **labels),
        "spec": spec,
    }


def _container(context: Context, stage: int) -> dict[str, Any]:
    return {
        "name": "stage",
        "image": serving_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.cell"],
        "env": [
            {"name": names.ENV_STAGE, "value": str(stage)},
            {"name": names.ENV_POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOME", "value": "/tmp"},
        ],
        "ports": _ports(stage),
        "resources": resources(context),
        "securityContext": container_security(),
        "startupProbe": probe(names.ROUTE_LIVE, names.PORT_STATE, period=1, failures=120, timeout=5),
        "livenessProbe": probe(names.ROUTE_LIVE, names.PORT_STATE, period=10, failures=6, timeout=5),
        "readinessProbe": probe(names.ROUTE_READY, names.PORT_STATE, period=1, failures=2, timeout=5),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": names.CELL_CONFIG_PATH.rpartition("/")[0], "readOnly": True},
            {"name": "token", "mountPath": names.TOKEN_PATH.rpartition("/")[0], "readOnly": True},
            {"name": "model", "mountPath": names.MODEL_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def resources(context: Context) -> dict[str, Any]:
    """Requests equal limits for memory and devices; CPU may burst where it is not the device."""
    spec = context.spec
    requests = {"cpu": spec.resources.cpu, "memory": spec.resources.memory}
    limits = {"memory": spec.resources.memory}
    if spec.device.resource != CPU:
        requests[spec.device.resource] = limits[spec.device.resource] = str(spec.device.count)
    return {"requests": requests, "limits": limits}


def _ports(stage: int) -> list[dict[str, Any]]:
    ports = [{"name": "state", "containerPort": names.PORT_STATE, "protocol": "TCP"}]
    if stage == 0:
        ports.insert(0, {"name": "engine", "containerPort": names.PORT_ENGINE, "protocol": "TCP"})
    return ports


def _volumes(context: Context, group_name: str) -> list[dict[str, Any]]:
    shared_memory = context.spec.resources.shared_memory
    return [
        {"name": "config", "configMap": {"name": group_name, "items": [{"key": CONFIG_KEY, "path": CONFIG_KEY}]}},
        {
            "name": "token",
            "secret": {
                "secretName": token_name(context.key.name),
                "items": [{"key": "token", "path": "token"}],
                "defaultMode": 0o440,
            },
        },
        model_volume(context.spec.model.source),
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]


def _placement(context: Context, ordinal: int, revision: str) -> dict[str, Any]:
    placement = context.spec.placement
    tolerations = [item.to_api() for item in placement.tolerations]
    tolerations += [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    ]
    placed: dict[str, Any] = {"tolerations": tolerations, "nodeSelector": dict(placement.node_selector)}
    if placement.priority_class_name:
        placed["priorityClassName"] = placement.priority_class_name
    if placement.spread_stages:
        placed["affinity"] = {"podAntiAffinity": _apart(context, ordinal, revision)}
    return placed


def _apart(context: Context, ordinal: int, revision: str) -> dict[str, Any]:
    labels = labels_of(context, names.COMPONENT_STAGE, group=str(ordinal), revision=revision)
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
