"""Two deployments with everything set that shows in a manifest: one on CPU, one on GPUs; and all their children."""

from datetime import UTC, datetime
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.changes import Changes, changes
from llama_operator.manifests.common import Context
from llama_operator.observe.deployment import Snapshot
from llama_operator.plan.actions import Actions, CreateStage, GroupPlan
from llama_operator.plan.groups.images import serving_image
from llama_operator.plan.groups.state import plan_state
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.groups.weights_lookup import weights_artifact
from llama_operator.plan.naming import GroupId
from llama_operator.plan.plan import Plan
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key
from llama_serving.config.desired import WeightsArtifact
from tests.fakes.models import FACTS, view_of

SETTINGS: Final = Settings("registry.example/serving:1", "registry.example/gateway:1", "llama-system")
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
UID: Final = "00000000-0000-0000-0000-000000000001"

CPU_SPEC: Final[dict[str, Any]] = {
    "model": {"source": "pvc://models/smollm2", "revision": "v1", "license": "apache-2.0", "acceptLicense": True},
    "contextLength": 2048,
    "sharding": {"pipeline": 2},
    "device": {"resource": "cpu"},
    "resources": {"cpu": "1500m", "memory": "3Gi", "sharedMemory": "256Mi"},
}
GPU_SPEC: Final[dict[str, Any]] = {
    "model": {
        "source": "pvc://models", "revision": "fp8-1", "servedName": "meta/Llama-3.1-405B",
        "license": "llama3.1", "acceptLicense": True,
    },
    "contextLength": 131072,
    "replicas": 2,
    "sharding": {"pipeline": 2, "tensor": 8},
    "device": {"resource": "nvidia.com/gpu", "count": 8},
    "resources": {"cpu": "64", "memory": "1Ti", "sharedMemory": "32Gi"},
    "placement": {
        "nodeSelector": {"pool": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "spreadStages": True,
        "priorityClassName": "serving",
    },
    "engine": {"enablePrefixCaching": True, "kvCacheMemory": "20Gi"},
    "images": {"serving": "registry.example/mine:2", "pullPolicy": "Always", "pullSecrets": ["regcred"]},
    "gateway": {"replicas": 2, "drainSeconds": 60},
}  # fmt: skip
#: Fabric, places and accounts beside: what GPU clusters need of a pod.
FABRIC_SPEC: Final[dict[str, Any]] = {
    **{name: GPU_SPEC[name] for name in ("contextLength", "sharding", "resources")},
    "model": {
        "source": "s3://models/llama", "revision": "v1", "license": "llama3.1", "acceptLicense": True,
        "serviceAccountName": "model-reader",
    },
    "device": {
        "count": 8, "claimTemplate": "eight-gpus",
        "extra": {"rdma/hca_shared_devices_a": 1, "hugepages-2Mi": "5Gi"},
    },
    "placement": {
        "runtimeClassName": "nvidia", "schedulerName": "volcano", "spreadStages": True,
        "stagesTogether": "nvidia.com/gpu.clique", "groupsApart": "topology.kubernetes.io/zone",
        "nodeAffinity": {
            "required": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["h100", "h200"]}]}],
            "preferred": [{"weight": 50, "matchExpressions": [{"key": "pool", "operator": "In", "values": ["h200"]}]}],
        },
    },
    "network": {"annotations": {"k8s.v1.cni.cncf.io/networks": "rail0,rail1"}},
    "engine": {"nccl": {"NCCL_IB_HCA": "mlx5", "NCCL_IB_GID_INDEX": 3}},
    "images": {"serving": "registry.example/mine:2"},
}  # fmt: skip
SAMPLES: Final = {"cpu": CPU_SPEC, "gpu": GPU_SPEC, "fabric": FABRIC_SPEC}


def context_of(spec: dict[str, Any], *, key: Key | None = None, uid: str = UID) -> Context:
    return Context(key or Key("team", "chat"), uid, LlamaDeploymentSpec.model_validate(spec), SETTINGS)


def weights_in(context: Context) -> WeightsArtifact:
    """The weights of the context's spec, resolved."""
    return weights_artifact(view_of(context.spec.model), context.spec.model.name_in_api(context.key.name))


def whole_plan(context: Context) -> Plan:
    """A plan that makes everything at once: weights, all groups and all stages."""
    name, spec, serve = context.key.name, context.spec, weights_in(context)
    pod_hash = template_hash(spec, FACTS, serving_image=serving_image(spec, context.settings))
    groups = tuple(GroupId(name, ordinal, pod_hash) for ordinal in range(spec.replicas))
    creates = tuple(CreateStage(group, stage) for group in groups for stage in range(spec.sharding.pipeline))
    plans = tuple(GroupPlan(group, serve, spec) for group in groups)
    return Plan(Actions(groups=plans, creates=creates), models=(spec.model,))


def all_changes(context: Context, world: Snapshot) -> Changes:
    """What has to be written for ``whole_plan``, given what is there."""
    return changes(whole_plan(context), plan_state(world, context.settings, NOW), context)
