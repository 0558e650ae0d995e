"""The pod of a stage: argument lists only, Pod Security ``restricted``, no token of the API server.

Two containers: the engine, and beside it the stager, which readies weights and alone sees the source's credentials. It
is a native sidecar (an init container that is always restarted), so it is there before the engine and until after it.
"""

from typing import Any

from llama_operator.api import LlamaDeploymentSpec, StagingSpec
from llama_operator.api.crdgen.quantity import parse_bytes
from llama_operator.manifests import disk
from llama_operator.manifests.affinity import kept_from_nodes, stage_affinity
from llama_operator.manifests.claims import claim_spec
from llama_operator.manifests.common import (
    Context,
    claim_volume,
    container_security,
    credentials_volume,
    image_settings,
    key_volume,
    log_format,
    metadata,
    mount,
    own_identity,
    pod_security,
    probe,
    source_networks,
    without_identity,
)
from llama_operator.manifests.disk import bounded, scratch, weights_on_disk
from llama_operator.manifests.group import CONFIG_KEY, NEXT_KEY, chat_template_data
from llama_operator.manifests.pod_metadata import stage_metadata
from llama_operator.manifests.walls.engine_key import asks_for_key, engine_key_mount, engine_key_volume
from llama_operator.manifests.walls.fetch import fetch_address, fetch_key_mount, fetch_key_volume, fetches_by_proxy
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.images import gateway_image, serving_image
from llama_operator.plan.naming import stage_hostname, stager_key_name, stages_name, token_name
from llama_operator.plan.placement.group_request import stage_tolerations
from llama_operator.plan.settings import STAGER_MEMORY_LIMIT, STAGER_REQUESTS
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.source import fill, is_mounted

# Seconds that the pod gets after the engine's own drain deadline.
GRACE_MARGIN = 15
#: Name of the container that runs the engine.
ENGINE_CONTAINER = "stage"
#: Name, in a pod, of the claim from which it has its devices.
DEVICE_CLAIM = "devices"
#: Name of the volume with the engine's caches, and their folder on the claim of the weights.
CACHE_VOLUME = "cache"
CACHE_FOLDER = "engine-cache"


def stage_pod(context: Context, item: CreateStage, *, claim: str = "") -> Manifest:
    """Pod of one stage. ``claim``: its weights lie in this claim, which outlives it."""
    group, stage = item.group, item.stage
    labels = {"group": str(group.ordinal), "stage": str(stage), "pod_hash": group.pod_hash}
    spec = {
        "hostname": stage_hostname(stage),
        "subdomain": group.name,
        "serviceAccountName": context.spec.model.service_account_name or stages_name(context.key.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": context.spec.longest_drain + GRACE_MARGIN,
        "securityContext": pod_security(),
        **_containers(context, stage, claim),
        "volumes": _volumes(context, group.name, claim),
        **image_settings(context),
        **_placement(context, item),
    }
    if context.spec.placement.scheduling == "gang":
        spec["schedulingGates"] = [{"name": names.GATE_GROUP}]
    if stage == 0:
        spec["readinessGates"] = [{"conditionType": names.GATE_IN_ROTATION}]
    meta = metadata(context, group.pod(stage), names.COMPONENT_STAGE, **labels)
    if annotations := _annotations(context):
        meta = {**meta, "annotations": annotations}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": stage_metadata(meta, context.spec.pod_template),
        "spec": spec,
    }


def _annotations(context: Context) -> dict[str, str]:
    """Return what the pod has from its first moment: networks, and which container has no identity of the account."""
    account = context.spec.model.service_account_name
    return {**context.spec.network.annotations, **without_identity(account, ENGINE_CONTAINER)}


def _containers(context: Context, stage: int, claim: str) -> dict[str, Any]:
    """Return engine and stager, with limits of disk where all that the pod writes has one."""
    engine, stager = _container(context, stage), _stager(context, stage)
    weights = weights_on_disk(context.spec.staging, claim=claim) if _stages(context.spec) else ()
    if weights is not None:
        engine["resources"] = bounded(engine["resources"], disk.ENGINE)
        stager["resources"] = bounded(stager["resources"], disk.CONTROL, disk.SMALL, *weights)
    return {"initContainers": [stager], "containers": [engine]}


def _container(context: Context, stage: int) -> dict[str, Any]:
    return {
        "name": ENGINE_CONTAINER,
        "image": serving_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.cell"],
        "env": [
            {"name": names.ENV_STAGE, "value": str(stage)},
            {"name": names.ENV_POD_IP, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOME", "value": "/tmp"},
            *log_format(context.settings),
            *({"name": name, "value": value} for name, value in sorted((context.spec.engine.nccl or {}).items())),
        ],
        "ports": _ports(stage),
        "resources": resources(context),
        "securityContext": container_security(ipc_lock=context.spec.device.ipc_lock),
        "startupProbe": probe(names.ROUTE_LIVE, names.PORT_STATE, period=1, failures=120, timeout=5),
        "livenessProbe": probe(names.ROUTE_LIVE, names.PORT_STATE, period=10, failures=6, timeout=5),
        "readinessProbe": probe(names.ROUTE_READY, names.PORT_STATE, period=1, failures=2, timeout=5),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("config", _folder(names.CELL_CONFIG_PATH), read_only=True),
            mount("token", _folder(names.TOKEN_PATH), read_only=True),
            *([engine_key_mount()] if asks_for_key(context.spec) else []),
            mount("control", names.CONTROL_MOUNT, read_only=False),
            *_weights_mounts(context, read_only=True),
            mount("tmp", "/tmp", read_only=False),
            mount("shm", "/dev/shm", read_only=False),
            *_cache_mount(context.spec),
        ],
    }


def _stager(context: Context, stage: int) -> dict[str, Any]:
    secret = context.spec.model.credentials_secret
    credentials = [mount("credentials", names.CREDENTIALS_MOUNT, read_only=True)] if secret else []
    proxy = fetches_by_proxy(context.spec)
    return {
        "name": "stager",
        "image": gateway_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "restartPolicy": "Always",
        "args": ["python3", "-m", "llama_serving.weights", "stage", *_size_limit(context.spec.staging)],
        "env": [
            {"name": names.ENV_STAGE, "value": str(stage)},
            {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "HOME", "value": "/tmp"},
            *own_identity(context.spec.model.service_account_name),
            *([{"name": names.ENV_FETCH_PROXY, "value": fetch_address(context)}] if proxy else []),
            *log_format(context.settings),
            *source_networks(context.settings),
        ],
        # No CPU limit: it hashes what it brings, and a rollout waits for it.
        "resources": {"requests": dict(STAGER_REQUESTS), "limits": {"memory": STAGER_MEMORY_LIMIT}},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("config", _folder(names.CELL_CONFIG_PATH), read_only=True),
            mount("control", names.CONTROL_MOUNT, read_only=False),
            *_weights_mounts(context, read_only=False),
            mount("stager-tmp", "/tmp", read_only=False),
            mount("stager-key", _folder(names.STAGER_KEY_PATH), read_only=True),
            *credentials,
            *([fetch_key_mount()] if proxy else []),
        ],
    }


def _size_limit(staging: StagingSpec) -> list[str]:
    """Tell the stager where the kubelet would end the pod: an emptyDir looks as large as its disk."""
    return ["--size-limit", str(parse_bytes(staging.size_limit))] if staging.size_limit else []


def _weights_mounts(context: Context, *, read_only: bool) -> list[dict[str, Any]]:
    """Mount the weights; a claim with the model is read-only for all. What is brought into the pod lies beside it."""
    mounted = is_mounted(context.spec.model.source)
    model = [mount("model", names.MODEL_MOUNT, read_only=True)] if mounted else []
    return [*model, *([mount("weights", names.WEIGHTS_MOUNT, read_only=read_only)] if _stages(context.spec) else [])]


def _stages(spec: LlamaDeploymentSpec) -> bool:
    """Return whether a stager brings something into the pod: weights, or LoRA adapters."""
    return not is_mounted(spec.model.source) or spec.adapter_limits is not None


def _cache_mount(spec: LlamaDeploymentSpec) -> list[dict[str, Any]]:
    """Mount the engine's cache; of the claim of the weights only the folder of the caches, which can be written."""
    cache = spec.engine.cache
    if cache is None:
        return []
    found = mount(CACHE_VOLUME, names.CACHE_MOUNT, read_only=False)
    return [found if cache.claim_name else {**found, "subPath": CACHE_FOLDER}]


def _cache_volume(spec: LlamaDeploymentSpec) -> list[dict[str, Any]]:
    """Return the claim of the cache; its own volume also where the claim holds the weights, which may lie elsewhere."""
    cache = spec.engine.cache
    if cache is None:
        return []
    claim = cache.claim_name or spec.staging.shared_claim_name
    return [{"name": CACHE_VOLUME, "persistentVolumeClaim": {"claimName": claim}}]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def resources(context: Context) -> dict[str, Any]:
    """Return requests and limits, equal for memory and devices; CPU may burst where it is not the device."""
    size, device = context.spec.resources.size, context.spec.device
    requests = {"cpu": size.cpu, "memory": size.memory, **device.counted}
    found: dict[str, Any] = {"requests": requests, "limits": {"memory": size.memory, **device.counted}}
    return {**found, "claims": [{"name": DEVICE_CLAIM}]} if device.claim_template else found


def _ports(stage: int) -> list[dict[str, Any]]:
    ports = [{"name": "state", "containerPort": names.PORT_STATE, "protocol": "TCP"}]
    if stage == 0:
        ports.insert(0, {"name": "engine", "containerPort": names.PORT_ENGINE, "protocol": "TCP"})
        ports.append({"name": "metrics", "containerPort": names.PORT_METRICS, "protocol": "TCP"})
    return ports


def _volumes(context: Context, group_name: str, claim: str) -> list[dict[str, Any]]:
    spec = context.spec
    keys = (CONFIG_KEY, NEXT_KEY, *chat_template_data(spec))
    files = [{"key": key, "path": key} for key in keys]
    secret = spec.model.credentials_secret
    source = fill(spec.model.source, spec.model.revision)
    return [
        {"name": "config", "configMap": {"name": group_name, "items": files}},
        key_volume("token", token_name(context.key.name)),
        key_volume("stager-key", stager_key_name(context.key.name)),
        *([claim_volume(source)] if is_mounted(source) else []),
        *([staging_volume(spec.staging, claim)] if _stages(spec) else []),
        *([credentials_volume(secret)] if secret else []),
        *([engine_key_volume(context)] if asks_for_key(spec) else []),
        *([fetch_key_volume(context)] if fetches_by_proxy(spec) else []),
        scratch("control", disk.CONTROL),
        scratch("tmp", disk.ENGINE),
        scratch("stager-tmp", disk.SMALL),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.resources.size.shared_memory}},
        *_cache_volume(spec),
    ]


def staging_volume(staging: StagingSpec, claim: str = "") -> dict[str, Any]:
    """Where the stager puts weights; see ``StagingSpec``. ``claim`` is one that outlives the pod."""
    if claim or staging.shared_claim_name:
        return {"name": "weights", "persistentVolumeClaim": {"claimName": claim or staging.shared_claim_name}}
    if staging.volume_claim_template:
        return {
            "name": "weights",
            "ephemeral": {"volumeClaimTemplate": {"spec": claim_spec(staging.volume_claim_template)}},
        }
    limit = {"sizeLimit": staging.size_limit} if staging.size_limit else {}
    return {"name": "weights", "emptyDir": limit}


def _placement(context: Context, item: CreateStage) -> dict[str, Any]:
    placement = context.spec.placement
    placed: dict[str, Any] = {
        "tolerations": stage_tolerations(placement),
        "nodeSelector": dict(placement.node_selector),
    }
    if placement.priority_class_name:
        placed["priorityClassName"] = placement.priority_class_name
    affinity = stage_affinity(context, item.group.ordinal, item.group.pod_hash)
    if item.kept_from:
        beside = affinity.get("nodeAffinity", {})
        affinity["nodeAffinity"] = kept_from_nodes(item.kept_from, required=item.required, beside=beside)
    if affinity:
        placed["affinity"] = affinity
    if context.spec.device.claim_template:
        placed["resourceClaims"] = [
            {"name": DEVICE_CLAIM, "resourceClaimTemplateName": context.spec.device.claim_template}
        ]
    return {**placed, **node_software(context)}


def node_software(context: Context) -> dict[str, Any]:
    """Return the runtime and the scheduler of a pod, where they are not the cluster's defaults."""
    placement = context.spec.placement
    found = {"runtimeClassName": placement.runtime_class_name, "schedulerName": placement.scheduler_name}
    return {name: value for name, value in found.items() if value}
