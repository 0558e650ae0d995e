"""What a rehearsal needs: the pods that try image and configuration, and the objects that are sent on trial.

A pod has the references of a stage's pod, its image, its place and its security settings, and neither its device nor
its claim for staged weights, which the operator looks up. It asks for next to nothing, so that it finds room on nodes
that are full.
"""

from typing import Any, Final

from llama_operator.api import CPU
from llama_operator.manifests import disk
from llama_operator.manifests.affinity import node_affinity
from llama_operator.manifests.common import (
    Context,
    canonical_json,
    claim_volume,
    container_security,
    credentials_volume,
    image_settings,
    log_format,
    metadata,
    mount,
    own_identity,
    pod_security,
    source_networks,
    without_identity,
)
from llama_operator.manifests.disk import bounded, scratch
from llama_operator.manifests.group import CONFIG_KEY, cell_config, chat_template_data, group_objects
from llama_operator.manifests.stage import node_software, stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.images import gateway_image, serving_image
from llama_operator.plan.naming import GroupId, rehearsal_name, stages_name
from llama_operator.plan.placement.group_request import stage_tolerations
from llama_operator.plan.rehearsal.rehearsal import Rehearsal
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.source import is_mounted

#: Name of the container that runs the serving image.
ENGINE_CONTAINER: Final = "rehearsal"
_REQUESTS: Final = {"cpu": "10m", "memory": "32Mi"}
_LIMIT: Final = "3Gi"  # importing vLLM takes 1 GB
#: Of the emptyDirs that both containers share.
_SCRATCH: Final = (disk.MODEL_CONFIG, disk.REHEARSAL)
#: Seconds that a pod may run once its image is there; the import of vLLM takes 20 s of a free core.
_DEADLINE: Final = 1800


def rehearsal_config_map(context: Context, rehearsal: Rehearsal) -> Manifest:
    """Return the ConfigMap with the cell config that the group would start from."""
    template = rehearsal.template
    group = GroupId(context.key.name, 0, template.pod_hash)
    config = cell_config(context, group, template.serve.weights)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(context, rehearsal_name(context.key.name, rehearsal.key), names.COMPONENT_REHEARSAL),
        "data": {CONFIG_KEY: canonical_json(config.to_wire()), **chat_template_data(template.spec)},
    }


def rehearsal_pods(context: Context, rehearsal: Rehearsal) -> list[Manifest]:
    """Return the pods: the first builds the engine's configuration, the others pull the image on a node each.

    There are none when it is over.
    """
    if rehearsal.over:
        return []
    (first, _), *others = rehearsal.pods
    # Without a driver the CUDA build of vLLM finds no platform, so a GPU image is only started.
    configures = context.spec.device.resource == CPU
    return [
        _pod(context, rehearsal, first, configures=configures, affinity=_prefers(rehearsal.nodes, context)),
        *(_pod(context, rehearsal, name, configures=False, affinity=_only(node)) for name, node in others),
    ]


def trial_objects(context: Context, rehearsal: Rehearsal) -> list[Manifest]:
    """Return every object of one new group, to be sent with ``dryRun=All``."""
    template = rehearsal.template
    group = GroupId(context.key.name, 0, template.pod_hash)
    stages = range(context.spec.sharding.pipeline)
    pods = [stage_pod(context, CreateStage(group, stage)) for stage in stages]
    return [*group_objects(context, group, template.serve), *pods]


def _pod(context: Context, rehearsal: Rehearsal, name: str, *, configures: bool, affinity: dict[str, Any]) -> Manifest:
    config, account = rehearsal_name(context.key.name, rehearsal.key), context.spec.model.service_account_name
    spec: dict[str, Any] = {
        "serviceAccountName": account or stages_name(context.key.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "activeDeadlineSeconds": _DEADLINE,
        "securityContext": pod_security(),
        "containers": [_container(context, configures=configures)],
        "volumes": _volumes(context, config),
        "tolerations": stage_tolerations(context.spec.placement),
        "nodeSelector": dict(context.spec.placement.node_selector),
        **image_settings(context),
        **node_software(context),
        **affinity,
    }
    if configures:
        spec["initContainers"] = [_fetch(context, rehearsal)]
    meta = metadata(context, name, names.COMPONENT_REHEARSAL)
    if annotations := without_identity(account, ENGINE_CONTAINER):
        meta = {**meta, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _container(context: Context, *, configures: bool) -> dict[str, Any]:
    model = ["--model", names.MODEL_CONFIG_MOUNT] if configures else []
    return {
        "name": ENGINE_CONTAINER,
        "image": serving_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.cell.rehearsal", *model],
        "env": [{"name": "HOME", "value": "/tmp"}, *log_format(context.settings)],
        "resources": bounded({"requests": _REQUESTS, "limits": {"memory": _LIMIT}}, *_SCRATCH),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("config", names.CELL_CONFIG_PATH.rpartition("/")[0], read_only=True),
            mount("model-config", names.MODEL_CONFIG_MOUNT, read_only=True),
            mount("tmp", "/tmp", read_only=False),
        ],
    }


def _fetch(context: Context, rehearsal: Rehearsal) -> dict[str, Any]:
    """Bring config.json and its like from the source, with the source's credentials."""
    serve, model = rehearsal.template.serve, context.spec.model
    mounts = [mount("model-config", names.MODEL_CONFIG_MOUNT, read_only=False), mount("tmp", "/tmp", read_only=False)]
    arguments = ["--source", serve.source, "--revision", serve.revision or model.revision]
    if is_mounted(model.source):
        mounts.append(mount("model", names.MODEL_MOUNT, read_only=True))
    if model.credentials_secret:
        mounts.append(mount("credentials", names.CREDENTIALS_MOUNT, read_only=True))
        arguments += ["--credentials", names.CREDENTIALS_MOUNT]
    return {
        "name": "model-config",
        "image": gateway_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.weights", "fetch-config", *arguments],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *own_identity(model.service_account_name),
            *source_networks(context.settings),
        ],
        "resources": bounded({"requests": _REQUESTS, "limits": {"memory": "1Gi"}}, *_SCRATCH),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _volumes(context: Context, config: str) -> list[dict[str, Any]]:
    model = context.spec.model
    keys = (CONFIG_KEY, *chat_template_data(context.spec))
    return [
        {"name": "config", "configMap": {"name": config, "items": [{"key": key, "path": key} for key in keys]}},
        scratch("model-config", disk.MODEL_CONFIG),
        scratch("tmp", disk.REHEARSAL),
        *([claim_volume(model.source)] if is_mounted(model.source) else []),
        *([credentials_volume(model.credentials_secret)] if model.credentials_secret else []),
    ]


def _prefers(nodes: tuple[str, ...], context: Context) -> dict[str, Any]:
    """Prefer the nodes that pull the image anyway, of those that the spec allows; a term names one node."""
    asked = node_affinity(context)
    terms = [{"weight": 100, "preference": {"matchFields": [_named(node)]}} for node in nodes]
    if terms:
        asked["preferredDuringSchedulingIgnoredDuringExecution"] = terms
    return {"affinity": {"nodeAffinity": asked}} if asked else {}


def _only(node: str) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchFields": [_named(node)]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def _named(node: str) -> dict[str, Any]:
    return {"key": "metadata.name", "operator": "In", "values": [node]}
