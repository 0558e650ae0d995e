"""Edits that the API server takes and that cannot work, each with what stands against it and what the user reads.

One table for the simulated cluster (tests/component/rollout/test_impossible_edits.py: every edit, one and two groups)
and for the test bed (tests/e2e/test_edits.py). Whatever the edit: no group that serves leaves the rotation, the rollout
is ``Held`` with a reason and a sentence, and the mended edit goes through. What the API server refuses is in
tests/contract/crd/bad_inputs.py.

An edit is a JSON merge patch of a spec: ``SMALL`` with ``before`` merged into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Object = dict[str, Any]

GPU: Final = "nvidia.com/gpu"
#: What every spec begins with, those of the end-to-end tests too: two stages on two nodes.
SMALL: Final[Object] = {
    "contextLength": 512,
    "maxConcurrentRequests": 8,
    "device": {"resource": "cpu"},
    "sharding": {"pipeline": 2},
    "resources": {"cpu": "100m", "memory": "4Gi", "sharedMemory": "256Mi"},
    "placement": {"spreadStages": True},
    "dtype": "float32",
}
#: The same on GPUs, three for each stage at most: the simulated model has 9 heads and 3 KV heads.
ON_GPUS: Final[Object] = {"device": {"resource": GPU, "count": 1}}
FETCHED: Final[Object] = {"model": {"source": "https://models.example.com/m"}}
DEDICATED: Final[Object] = {"placement": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}

NO_IMAGE: Final = "localhost/llama-serving:nope"
NO_DIGEST: Final = f"localhost/llama-serving@sha256:{'0' * 64}"
NO_REGISTRY: Final = "127.0.0.1:9/llama-serving:1"
NOT_OURS: Final = "localhost/llama-operator:dev"
NEW_PODS: Final[Object] = {"contextLength": 448}  # a change that works, and needs new pods


@dataclass(frozen=True)
class Trouble:
    """What stands against an edit in the simulated cluster, beside what spec, model and nodes say themselves.

    The API server refuses an object, the kubelet pulls no image, a container of the image ends, the engine refuses its
    configuration, the weights cannot be read: with the words ``said``, where the JSON of the object has ``seen``.
    ``missing`` is the name of a claim that nobody made; ``nodes`` is a taint, or ``cordon``; ``scheduler`` is the name
    of one that does not run.
    """

    step: Literal["api", "image", "container", "engine", "weights", "missing", "nodes", "scheduler"]
    seen: str
    said: str = ""


@dataclass(frozen=True)
class ImpossibleEdit:
    """One edit. ``bed``: whether the test bed can have it; what it needs there is in tests/e2e/support/troubles.py."""

    edit: Object
    fields: tuple[str, ...]  # of the spec: those that cannot have this value
    reasons: tuple[str, ...]
    words: tuple[str, ...]
    trouble: Trouble | None = None
    mended: Object | None = None  # None: it is taken back
    before: Object = field(default_factory=dict)
    heals: bool = False  # the cause is outside: when it is gone, the rollout goes on by itself
    bed: bool = True


def _in_pool(pool: str) -> Object:
    return {"required": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": [pool]}]}]}


_ROOM: Final = ("Unschedulable", "WaitingForRoom")


def _not_pulled(image: str, why: str) -> Trouble:
    return Trouble("image", image, f'failed to pull and unpack image "{image}": failed to resolve reference: {why}')


def _denied(what: str, seen: str) -> Trouble:
    return Trouble("api", seen, f'pods "chat" is forbidden: {what}')


_IMAGES: Final[Mapping[str, ImpossibleEdit]] = {
    "image with a typing error": ImpossibleEdit(
        {"images": {"serving": NO_IMAGE}}, ("images.serving",), ("ImageUnavailable",), (NO_IMAGE,),
        _not_pulled(NO_IMAGE, "not found"), {"images": {"serving": "localhost/llama-serving:2"}}, heals=True,
    ),
    "image of a registry that is not there": ImpossibleEdit(
        {"images": {"serving": NO_REGISTRY}}, ("images.serving",), ("ImageUnavailable",), (NO_REGISTRY,),
        _not_pulled(NO_REGISTRY, "dial tcp 127.0.0.1:9: connect: connection refused"),
        {"images": {"serving": "localhost/llama-serving:2"}}, heals=True,
    ),
    "image by a digest that is not there": ImpossibleEdit(
        {"images": {"serving": NO_DIGEST}}, ("images.serving",), ("ImageUnavailable",), ("@sha256:000",),
        _not_pulled(NO_DIGEST, "not found"), {"images": {"serving": "localhost/llama-serving:2"}},
    ),
    "image of another program": ImpossibleEdit(
        {"images": {"serving": NOT_OURS}}, ("images.serving",), ("EngineConfigRefused", "RehearsalFailed"),
        ("of the rehearsal ended",),
        Trouble("container", NOT_OURS, "python3: No module named llama_serving.cell"),
        {"images": {"serving": "localhost/llama-serving:2"}},
    ),
    "image that may not be pulled": ImpossibleEdit(
        {"images": {"serving": NO_IMAGE, "pullPolicy": "Never"}}, ("images.pullPolicy",), ("ImageUnavailable",),
        ("images.pullPolicy is Never",),
        Trouble("image", NO_IMAGE, f'Container image "{NO_IMAGE}" is not present with pull policy of Never'),
        {"images": {"serving": "localhost/llama-serving:2", "pullPolicy": "IfNotPresent"}}, heals=True,
    ),
    "image that is pulled each time": ImpossibleEdit(
        {"images": {"serving": NO_IMAGE, "pullPolicy": "Always"}}, ("images.pullPolicy",), ("ImageUnavailable",),
        (NO_IMAGE,), _not_pulled(NO_IMAGE, "dial tcp 127.0.0.1:443: connect: connection refused"),
        {"images": {"serving": "localhost/llama-serving:2", "pullPolicy": "IfNotPresent"}}, heals=True,
    ),
    "pull secret that is not there": ImpossibleEdit(
        {"images": {"serving": NO_IMAGE, "pullSecrets": ["nope"]}}, ("images.pullSecrets",),
        ("ImageUnavailable", "ReferenceMissing"), ("nope",), _not_pulled(NO_IMAGE, "401 Unauthorized"),
        {"images": {"serving": "localhost/llama-serving:2", "pullSecrets": None}}, heals=True,
    ),
}  # fmt: skip

_PLACES: Final[Mapping[str, ImpossibleEdit]] = {
    "priority class that is not there": ImpossibleEdit(
        {"placement": {"priorityClassName": "nope"}}, ("placement.priorityClassName",), ("ApiRejected",),
        ("PriorityClass nope", "placement.priorityClassName"),
        _denied("no PriorityClass with name nope was found", '"priorityClassName": "nope"'),
        {"placement": {"priorityClassName": "serving"}}, heals=True,
    ),
    "runtime class that is not there": ImpossibleEdit(
        {"placement": {"runtimeClassName": "nope"}}, ("placement.runtimeClassName",), ("ApiRejected",),
        ("RuntimeClass nope", "placement.runtimeClassName"),
        _denied('pod rejected: RuntimeClass "nope" not found', '"runtimeClassName": "nope"'),
        {"placement": {"runtimeClassName": "nvidia"}}, heals=True,
    ),
    "scheduler that does not run": ImpossibleEdit(
        {"placement": {"schedulerName": "nope"}}, ("placement.schedulerName",), ("Unschedulable",),
        ("scheduler nope", "placement.schedulerName"), Trouble("scheduler", "nope"),
        {"placement": {"schedulerName": "volcano"}}, heals=True,
    ),
    "no node that the affinity allows": ImpossibleEdit(
        {"placement": {"nodeAffinity": _in_pool("none")}}, ("placement.nodeAffinity.required",), ("Unschedulable",),
        ("placement.nodeAffinity", "pool In none"),
        mended={"placement": {"nodeAffinity": _in_pool("llama")}}, heals=True,
    ),
    "network device that no node has": ImpossibleEdit(
        {"device": {"extra": {"rdma/none": 1}}}, ("device.extra",), ("Unschedulable",), ("1 rdma/none",),
        mended={"device": {"extra": None}, **NEW_PODS},
    ),
    "capability that the namespace forbids": ImpossibleEdit(
        {"device": {"ipcLock": True}}, ("device.ipcLock",), ("ApiRejected",),
        ("Pod Security restricted", "device.ipcLock"),
        _denied(
            'violates PodSecurity "restricted:latest": unrestricted capabilities (container "stage" must not include'
            ' "IPC_LOCK" in securityContext.capabilities.add)', '"IPC_LOCK"',
        ), heals=True,
    ),
    "more stages than nodes": ImpossibleEdit(
        {"sharding": {"pipeline": 4}}, ("sharding.pipeline",), _ROOM, ("4 x", "placement.spreadStages"),
        mended={"sharding": {"pipeline": 1}}, heals=True,
    ),
    "stages spread over too few nodes": ImpossibleEdit(
        {"placement": {"spreadStages": True}}, ("placement.spreadStages",), _ROOM, ("placement.spreadStages",),
        mended={"placement": {"spreadStages": False}, **NEW_PODS}, heals=True, bed=False,
        before={"sharding": {"pipeline": 3}, "placement": {"spreadStages": False}},
    ),
    "no node with this label": ImpossibleEdit(
        {"placement": {"nodeSelector": {"pool": "none"}}}, ("placement.nodeSelector",), ("Unschedulable",),
        ("pool=none",), mended={"placement": {"nodeSelector": {"pool": "llama"}}}, heals=True,
    ),
    "one node with this label, two stages": ImpossibleEdit(
        {"placement": {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}}, ("placement.nodeSelector",), _ROOM,
        ("placement.spreadStages",),
        mended={"placement": {"nodeSelector": {"kubernetes.io/hostname": None, "pool": "llama"}}},
    ),
    "no node of this architecture": ImpossibleEdit(
        {"placement": {"nodeSelector": {"kubernetes.io/arch": "arm64"}}}, ("placement.nodeSelector",),
        ("Unschedulable",), ("kubernetes.io/arch=arm64",),
        mended={"placement": {"nodeSelector": {"kubernetes.io/arch": None, "pool": "llama"}}},
    ),
    "taint that is not tolerated any more": ImpossibleEdit(
        {"placement": {"tolerations": []}}, ("placement.tolerations",), ("Unschedulable",), ("taint dedicated",),
        Trouble("nodes", "dedicated"), {"placement": {"tolerations": [{"key": "dedicated", "value": "llama"}]}},
        before=DEDICATED, heals=True, bed=False,
    ),
    "more cpu than a node has": ImpossibleEdit(
        {"resources": {"cpu": "500"}}, ("resources.cpu",), _ROOM, ("500",), mended={"resources": {"cpu": "200m"}},
    ),
    "more memory than a node has": ImpossibleEdit(
        {"resources": {"memory": "900Gi"}}, ("resources.memory",), _ROOM, ("900",),
        mended={"resources": {"memory": "3Gi"}},
    ),
    "less memory than the weights": ImpossibleEdit(
        {"resources": {"memory": "128Mi", "sharedMemory": "64Mi"}}, ("resources.memory",), ("LayoutRefused",),
        ("spec.resources.memory is 128Mi",), mended={"resources": {"memory": "2Gi"}}, bed=False,
    ),
    "device that no node has": ImpossibleEdit(
        {"device": {"resource": "example.com/npu"}}, ("device.resource",), ("Unschedulable",), ("example.com/npu",),
        mended={"device": {"resource": GPU}, **NEW_PODS}, before=ON_GPUS, bed=False,
    ),
    "more devices than a node has": ImpossibleEdit(
        {"device": {"count": 9}, "sharding": {"tensor": 9}}, ("device.count",), _ROOM, (f"9 {GPU}",),
        mended={"device": {"count": 3}, "sharding": {"tensor": 3}}, before=ON_GPUS, bed=False,
    ),
    "restart while no node takes pods": ImpossibleEdit(
        {"rollout": {"restartedAt": "2026-01-31T12:00:00Z"}}, ("rollout.restartedAt",), ("Unschedulable",),
        ("cordoned",), Trouble("nodes", "cordon"), heals=True,
    ),
}  # fmt: skip

_MODEL: Final[Mapping[str, ImpossibleEdit]] = {
    "more stages than layers": ImpossibleEdit(
        {"sharding": {"pipeline": 128}}, ("sharding.pipeline",), ("LayoutRefused",), ("spec.sharding.pipeline is 128",),
        mended={"sharding": {"pipeline": 1}},
    ),
    "heads that cannot be split": ImpossibleEdit(
        {"device": {"count": 2}, "sharding": {"tensor": 2}}, ("sharding.tensor",), ("LayoutRefused",),
        ("spec.sharding.tensor is 2", "9 attention heads"), before=ON_GPUS, bed=False,
        mended={"device": {"count": 3}, "sharding": {"tensor": 3}},
    ),
    "context above the model's": ImpossibleEdit(
        {"contextLength": 1_000_000}, ("contextLength",), ("LayoutRefused",), ("spec.contextLength is 1000000",),
        mended=NEW_PODS,
    ),
    "KV cache below one context": ImpossibleEdit(
        {"contextLength": 8192, "engine": {"kvCacheMemory": "16Mi"}}, ("engine.kvCacheMemory",), ("LayoutRefused",),
        ("spec.engine.kvCacheMemory is 16Mi",), mended={"engine": {"kvCacheMemory": "1Gi"}}, bed=False,
    ),
    "quantization that the weights do not have": ImpossibleEdit(
        {"engine": {"quantization": "awq"}}, ("engine.quantization",), ("LayoutRefused",),
        ("spec.engine.quantization is awq",), mended={"engine": {"quantization": None}, **NEW_PODS},
    ),
    "type that the quantized weights do not have": ImpossibleEdit(
        {"dtype": "float32"}, ("dtype",), ("EngineConfigRefused",), ("torch.float32 is not supported",),
        Trouble(
            "engine", '"dtype": "float32"',
            "the engine refuses the configuration: torch.float32 is not supported for quantization method awq",
        ), {"dtype": "float16"}, before={"dtype": "bfloat16"}, bed=False,
    ),
    "prompts longer than the context": ImpossibleEdit(
        {"engine": {"longPrefillTokenThreshold": 100_000}}, ("engine.longPrefillTokenThreshold",),
        ("EngineConfigRefused",), ("long_prefill_token_threshold (100000) cannot be greater",),
        Trouble(
            "engine", '"long_prefill_token_threshold": 100000',
            "the engine refuses the configuration: SchedulerConfig: long_prefill_token_threshold (100000) cannot be"
            " greater than the max_model_len (512)",
        ), {"engine": {"longPrefillTokenThreshold": 256}},
    ),
    "more requests than a step has tokens": ImpossibleEdit(
        {"maxConcurrentRequests": 4096, "sharding": {"pipeline": 1}}, ("maxConcurrentRequests",),
        ("EngineConfigRefused",), ("max_num_seqs (4096)",),
        Trouble(
            "engine", '"max_num_seqs": 4096',
            "the engine refuses the configuration: max_num_batched_tokens (2048) must be greater than or equal to"
            " max_num_seqs (4096)",
        ), {"maxConcurrentRequests": 16},
    ),
}  # fmt: skip

_REFERENCES: Final[Mapping[str, ImpossibleEdit]] = {
    "credentials that are not there": ImpossibleEdit(
        {"model": {"credentialsSecret": "nope"}}, ("model.credentialsSecret",), ("ReferenceMissing",),
        ("Secret nope", "model.credentialsSecret"),
        Trouble(
            "weights", '"credentialsSecret": "nope"', "ReferenceMissing: the Secret nope does not exist in namespace"
            " team (model.credentialsSecret); create it, or correct the field",
        ), heals=True,
    ),
    "account that is not there": ImpossibleEdit(
        {"model": {"serviceAccountName": "nope"}}, ("model.serviceAccountName",), ("ApiRejected",),
        ("ServiceAccount nope", "model.serviceAccountName"),
        _denied(
            'error looking up service account team/nope: serviceaccount "nope" not found',
            '"serviceAccountName": "nope"',
        ), heals=True,
    ),
    "claim template that is not there": ImpossibleEdit(
        {"device": {"claimTemplate": "nope"}, "rollout": {"strategy": "drain"}}, ("device.claimTemplate",),
        ("ReferenceMissing",), ("ResourceClaimTemplate nope does not exist", "device.claimTemplate"),
        Trouble("missing", "nope"), {"device": {"claimTemplate": "weights"}}, heals=True,
    ),
    "claim that is not there": ImpossibleEdit(
        {"model": {"source": "pvc://nope/m"}}, ("model.source",), ("VolumeUnavailable",), ("claim nope",),
        Trouble(
            "weights", '"source": "pvc://nope/m"', "VolumeUnavailable: claim nope does not exist in namespace team"
            " (model.source pvc://nope/...); create it, or correct the field",
        ), heals=True,
    ),
    "folder that is not there": ImpossibleEdit(
        {"model": {"source": "pvc://models/none-such/{revision}"}}, ("model.source",), ("WeightsMissing",),
        ("there is no folder /models/none-such/",),
        Trouble(
            "weights", "none-such",
            "WeightsMissing: there is no folder /models/none-such/v1: check the path in model.source",
        ),
    ),
    "revision that is not there": ImpossibleEdit(
        {"model": {"revision": "none-such"}}, ("model.revision",), ("WeightsMissing",),
        ("there is no folder /models/none-such",),
        Trouble(
            "weights", '"revision": "none-such"',
            "WeightsMissing: there is no folder /models/none-such: check the path in model.source",
        ), heals=True,
    ),
    "license that the model does not have": ImpossibleEdit(
        {"model": {"license": "mit"}}, ("model.license",), ("ModelRefused",), ("mit was accepted",),
        Trouble("weights", '"license": "mit"', "LicenseRefused: the files name license llama3.1, mit was accepted"),
        bed=False,
    ),
    "shared claim that is not there": ImpossibleEdit(
        {"staging": {"sharedClaimName": "nope"}}, ("staging.sharedClaimName",), ("VolumeUnavailable",),
        ("claim nope does not exist", "staging.sharedClaimName"), Trouble("missing", "nope"),
        {"staging": {"sharedClaimName": "weights"}}, before=FETCHED, heals=True, bed=False,
    ),
    "claim for compiled code that is not there": ImpossibleEdit(
        {"engine": {"cache": {"claimName": "nope"}}}, ("engine.cache.claimName",), ("VolumeUnavailable",),
        ("claim nope does not exist", "engine.cache.claimName"), Trouble("missing", "nope"),
        {"engine": {"cache": {"claimName": "weights"}}}, heals=True, bed=False,
    ),
    "less disk than the weights": ImpossibleEdit(
        {"staging": {"sizeLimit": "64Mi"}}, ("staging.sizeLimit",), ("LayoutRefused",),
        ("spec.staging.sizeLimit is 64Mi",), mended={"staging": {"sizeLimit": "1Gi"}}, before=FETCHED, bed=False,
    ),
    "claims smaller than the weights": ImpossibleEdit(
        {"staging": {"volumeClaimTemplate": {"size": "64Mi"}}}, ("staging.volumeClaimTemplate.size",),
        ("LayoutRefused",), ("spec.staging.volumeClaimTemplate.size is 64Mi",), before=FETCHED, bed=False,
        mended={"staging": {"volumeClaimTemplate": {"size": "1Gi"}}},
    ),
}  # fmt: skip

_RULES: Final[Mapping[str, ImpossibleEdit]] = {
    "quota that is used up": ImpossibleEdit(
        NEW_PODS, ("contextLength",), ("ApiRejected",), ("ResourceQuota edits allows no more",),
        Trouble(
            "api", '"kind": "NetworkPolicy"', 'networkpolicies.networking.k8s.io "chat" is forbidden: exceeded quota:'
            " edits, requested: count/networkpolicies.networking.k8s.io=1, used:"
            " count/networkpolicies.networking.k8s.io=3, limited: count/networkpolicies.networking.k8s.io=1",
        ), heals=True,
    ),
    "quota that the new group exceeds": ImpossibleEdit(
        {"resources": {"cpu": "3"}}, ("resources.cpu",), ("ApiRejected",),
        ("ResourceQuota team allows no more", "requests.cpu=6"),
        _denied(
            "exceeded quota: team, requested: requests.cpu=3, used: requests.cpu=1, limited: requests.cpu=3",
            '"cpu": "3"',
        ), {"resources": {"cpu": "1"}}, heals=True, bed=False,
    ),
    "limit of the namespace": ImpossibleEdit(
        {"resources": {"memory": "6Gi"}}, ("resources.memory",), ("ApiRejected",), ("LimitRange", "5Gi"),
        _denied("maximum memory usage per Container is 5Gi, but limit is 6Gi", '"memory": "6Gi"'),
        {"resources": {"memory": "3Gi"}}, heals=True,
    ),
    "policy of the cluster": ImpossibleEdit(
        {"resources": {"cpu": "1"}}, ("resources.cpu",), ("ApiRejected",),
        ("ValidatingAdmissionPolicy llama-e2e-edits", "less than 1 cpu"),
        _denied(
            "ValidatingAdmissionPolicy 'llama-e2e-edits' with binding 'llama-e2e-edits' denied request: a container has"
            " less than 1 cpu",
            '"cpu": "1"',
        ), {"resources": {"cpu": "200m"}}, heals=True,
    ),
    "webhook that denies": ImpossibleEdit(
        {"drainTimeoutSeconds": 900}, ("drainTimeoutSeconds",), ("ApiRejected",), ("webhook grace.example.com",),
        Trouble(
            "api", '"terminationGracePeriodSeconds": 915',
            'admission webhook "grace.example.com" denied the request: a pod ends within 600 s',
        ), {"drainTimeoutSeconds": 60}, heals=True, bed=False,
    ),
    "Pod Security that became stricter": ImpossibleEdit(
        NEW_PODS, ("contextLength",), ("ApiRejected",), ("Pod Security",),
        _denied('violates PodSecurity "restricted:latest": unrestricted capabilities', '"kind": "Pod"'),
        heals=True, bed=False,
    ),
}  # fmt: skip

_STRATEGIES: Final[Mapping[str, ImpossibleEdit]] = {
    "new pods in place": ImpossibleEdit(
        {**NEW_PODS, "rollout": {"strategy": "inPlace"}}, ("rollout.strategy",), ("RolloutHeld",),
        ("spec.rollout.strategy is inPlace", "needs new pods"), mended={"rollout": {"strategy": "auto"}},
    ),
    "surge without a group more": ImpossibleEdit(
        {**NEW_PODS, "rollout": {"strategy": "surge", "maxSurge": 0}}, ("rollout.maxSurge",), ("RolloutHeld",),
        ("spec.rollout.maxSurge is 0",), mended={"rollout": {"maxSurge": 1}},
    ),
    "drain without a group less": ImpossibleEdit(
        {**NEW_PODS, "rollout": {"strategy": "drain", "maxUnavailable": 0}}, ("rollout.maxUnavailable",),
        ("RolloutHeld",), ("spec.rollout.maxUnavailable is 0",), mended={"rollout": {"maxUnavailable": 1}},
    ),
}  # fmt: skip

EDITS: Final[Mapping[str, ImpossibleEdit]] = (
    dict(_IMAGES) | dict(_PLACES) | dict(_MODEL) | dict(_REFERENCES) | dict(_RULES) | dict(_STRATEGIES)
)
#: Those that a new user tried first: on the test bed in every run, the others in ``make soak``.
FIRST: Final = ("image with a typing error", "priority class that is not there", "more stages than nodes")

#: Fields that change a group's pods and of which no accepted value is known to fail before a group tries it, with why.
NO_IMPOSSIBLE_VALUE: Final[Mapping[str, str]] = {
    "startTimeoutSeconds": "a deadline of the supervisor: it bounds a start and prevents none",
    "resources.sharedMemory": "below memory, by a rule of the CRD; what the engine needs of it shows its start only",
    "placement.tolerations.tolerationSeconds": "how long a pod stays when a taint comes; it keeps none away",
    "staging.volumeClaimTemplate.storageClassName": "tried by the new group itself: a claim made ahead would take the"
    " volume that the group needs, where volumes are made by hand",
    "engine.enablePrefixCaching": "on and off both work",
    "engine.enforceEager": "on and off both work",
    "engine.seed": "every number works",
    **dict.fromkeys(
        (
            "model.tools",
            "model.reasoning",
            "engine.toolCallParser",
            "engine.reasoningParser",
            "model.chatTemplate.configMap",
            "model.chatTemplate.key",
            "model.chatTemplate.text",
        ),
        "what does not fit depends on the chat template and the tokenizer: component/rollout/test_chat_template.py",
    ),
    **dict.fromkeys(
        ("adapterLimits.slots", "adapterLimits.held", "adapterLimits.maxRank"),
        "whether a device has memory for so much room shows on the device only",
    ),
    "engine.cache.onStagingClaim": "it needs staging.sharedClaimName, by a rule of the CRD, of which that claim's row"
    " speaks",
    "engine.blockSize": "the engine takes each of the sizes that the CRD lists",
    "engine.maxNumBatchedTokens": "at least 16 and at least maxConcurrentRequests, by rules of the CRD; prompts are cut"
    " into steps",
    "engine.kvCacheDtype": "whether a device computes with it shows on the device only",
    "engine.nccl": "whether a node has such an interface or card shows to the engine on that node only",
    "network.annotations": "whether there is such a network is known to the network plug-in of the node only",
    "placement.nodeAffinity.preferred": "a preference: it keeps no pod away",
    "placement.stagesTogether": "a preference: it keeps no pod away",
    "placement.groupsApart": "a preference: it keeps no pod away",
    "engine.gpuMemoryUtilization": "what is free on the device shows on the device only",
    "walls.engineKey": "every value works with gateways of this version; what an older image of gateways sends shows to"
    " engines only",
    "walls.sourceEgress": "direct and proxy both work: the proxy is a pod of the deployment itself",
}


def taken_back(edit: Object, spec: Object) -> Object:
    """The patch that takes an edit of ``spec`` back: what was there before, and None for what was not."""

    def value(change: Any, had: Any) -> Any:
        return taken_back(change, had) if isinstance(change, dict) and isinstance(had, dict) else had

    return {key: value(change, spec.get(key)) for key, change in edit.items()}
