"""What a stage pod asks of its node: devices, CPU, memory. One stage is one pod and runs on all devices of its pod."""

from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.device_rules import EXTRA_RULES
from llama_operator.api.crdgen.patterns import NAME, matches
from llama_operator.api.crdgen.quantity import quantity_rules
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import Amount, ApiModel, Quantity
from llama_serving.config.names import DNS_SUBDOMAIN

CPU: Final = "cpu"

_RESOURCE_RULES: Final = (
    Rule(
        f"self == 'cpu' || {matches(f'{DNS_SUBDOMAIN}/{NAME}')}",
        "device.resource must be cpu or the name under which a node offers its devices: a domain, a slash and a name, "
        "such as nvidia.com/gpu",
    ),
    Rule(
        "!self.matches('^([^/]*[.])?kubernetes[.]io/') && !self.startsWith('requests.')",
        "device.resource must be a device of a vendor, such as nvidia.com/gpu: kubernetes.io and requests. are "
        "reserved by Kubernetes",
    ),
)

_DEVICE_RULES: Final = (
    Rule(
        "self.resource != 'cpu' || self.count == 1",
        "device.count must be 1 when device.resource is cpu: a stage on CPU is one process; "
        "give it more with resources.cpu",
        shown="count is {self.count}",
        field="count",
    ),
    # The default serving image is made for one of the two, and both revisions run during a change.
    Rule(
        "(self.resource == 'cpu') == (oldSelf.resource == 'cpu')",
        "device.resource cannot change between cpu and a GPU, because the serving image is made for one of them: "
        "create a second LlamaDeployment",
        shown="{oldSelf.resource} to {self.resource}",
        field="resource",
    ),
)

_EXTRA_BESIDE: Final = Rule(
    "!(self.resource in self.extra)",
    "device.extra must not have the name of device.resource, whose number is device.count: remove it from device.extra",
    shown="it is {self.resource}",
    field="extra",
)

_CLAIM_TEMPLATE_RULE: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "device.claimTemplate must be the name of a ResourceClaimTemplate of the same namespace: lower-case letters, "
    "digits, '-' and '.'",
)

_SHARED_BELOW_MEMORY: Final = Rule(
    "!has(self.memory) || !has(self.sharedMemory) || "
    "!isQuantity(string(self.memory)) || !isQuantity(string(self.sharedMemory)) || "
    "quantity(string(self.sharedMemory)).isLessThan(quantity(string(self.memory)))",
    "resources.sharedMemory must be less than resources.memory, which it is a part of",
    shown="sharedMemory is {self.sharedMemory}, memory is {self.memory}",
    field="sharedMemory",
)


class ShardingSpec(ApiModel):
    """How one copy of the model is cut: pipeline stages (pods), each over tensor devices."""

    pipeline: int = Field(
        default=1,
        le=128,
        description="Stages of a group, one pod each: the model's layers are dealt out over them.",
        json_schema_extra=rules(
            Rule("self >= 1", "sharding.pipeline must be at least 1: the whole model in one pod is pipeline 1")
        ),
    )
    tensor: int = Field(
        default=1,
        le=64,
        description="Devices that share every layer of a stage. Must equal device.count.",
        json_schema_extra=rules(
            Rule("self >= 1", "sharding.tensor must be at least 1: a stage on one device is tensor 1")
        ),
    )


class DeviceSpec(ApiModel):
    """The devices of a stage pod."""

    model_config = ConfigDict(json_schema_extra=rules(*_DEVICE_RULES, _EXTRA_BESIDE))

    resource: str = Field(
        default="nvidia.com/gpu",
        min_length=1,
        max_length=128,
        description="Resource name of the devices, such as nvidia.com/gpu, or cpu. Cannot change between cpu and "
        "a GPU.",
        json_schema_extra=rules(*_RESOURCE_RULES),
    )
    count: int = Field(
        default=1,
        le=64,
        description="Devices of a stage pod.",
        json_schema_extra=rules(
            Rule("self >= 1", "device.count must be at least 1: a stage without a GPU is device.resource cpu")
        ),
    )
    extra: dict[str, Amount] = Field(
        default={},
        description="What a stage pod needs beside its devices: network devices for RDMA by number, such as "
        "rdma/hca_shared_devices_a: 1 or vpc.amazonaws.com/efa: 4, and huge pages by size, such as hugepages-2Mi: 5Gi.",
        json_schema_extra=rules(*EXTRA_RULES, maxProperties=16),
    )
    ipc_lock: bool = Field(
        default=False,
        description="Adds the capability IPC_LOCK to the engine's container, which some RDMA drivers ask for. Pod "
        "Security of the namespace must be privileged then; see docs/how-to/fabrics.md for what it needs of a node.",
    )
    claim_template: str = Field(
        default="",
        max_length=253,
        description="ResourceClaimTemplate of the same namespace from which each stage pod gets its devices (dynamic "
        "resource allocation). The claim must hold device.count devices; device.resource then only says whether "
        "they are GPUs.",
        json_schema_extra=rules(_CLAIM_TEMPLATE_RULE),
    )

    @property
    def counted(self) -> dict[str, str]:
        """What a stage pod requests of a node's device plugins: resource name -> number or size."""
        by_name = {} if self.resource == CPU or self.claim_template else {self.resource: str(self.count)}
        return {**by_name, **self.extra}


@dataclass(frozen=True)
class StageSize:
    """CPU, memory and shared memory of a stage pod, each as a quantity."""

    cpu: str
    memory: str
    shared_memory: str


#: What every stage had before sizes were derived. Objects, templates and hashes of that time mean it by saying nothing.
FORMER_SIZE: Final = StageSize(cpu="4", memory="32Gi", shared_memory="2Gi")


class StageResources(ApiModel):
    """CPU and memory of a stage pod, requested and limited alike. Quantities such as 8, 500m, 64Gi.

    What is absent is derived once, from the devices of a stage and the bytes of its weights, and then kept.
    """

    model_config = ConfigDict(json_schema_extra=rules(_SHARED_BELOW_MEMORY))

    cpu: Quantity | None = Field(
        default=None,
        description="CPU cores of a stage pod; with device cpu the engine computes on them. If absent, derived: see "
        "status.stageResources.",
        json_schema_extra=rules(
            *quantity_rules(field="resources.cpu", lowest="100m", highest="1024", hint="8 or 500m")
        ),
    )
    memory: Quantity | None = Field(
        default=None,
        description="Memory of a stage pod, shared memory included; with device cpu it holds the weights. If absent, "
        "derived.",
        json_schema_extra=rules(*quantity_rules(field="resources.memory", lowest="256Mi", highest="64Ti", hint="64Gi")),
    )
    shared_memory: Quantity | None = Field(
        default=None,
        description="Size of /dev/shm in a stage pod, through which the processes of a stage talk. Part of memory. If "
        "absent, derived.",
        json_schema_extra=rules(
            *quantity_rules(field="resources.sharedMemory", lowest="64Mi", highest="1Ti", hint="2Gi")
        ),
    )

    def over(self, size: StageSize) -> StageSize:
        """Return the sizes that are set and, of the others, those of ``size``."""
        return StageSize(
            cpu=size.cpu if self.cpu is None else self.cpu,
            memory=size.memory if self.memory is None else self.memory,
            shared_memory=size.shared_memory if self.shared_memory is None else self.shared_memory,
        )

    @property
    def size(self) -> StageSize:
        """The sizes of a stage's pod. A template names them all (plan/groups/stage_size.py)."""
        return self.over(FORMER_SIZE)


DType = Literal["auto", "bfloat16", "float16", "float32"]
