"""What a stage pod asks of its node: devices, CPU, memory. One stage is one pod and runs on all devices of its pod."""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.patterns import NAME, matches
from llama_operator.api.crdgen.quantity import quantity_rules
from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.base import ApiModel, Quantity
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

_SHARED_BELOW_MEMORY: Final = Rule(
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

    model_config = ConfigDict(json_schema_extra=rules(*_DEVICE_RULES))

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


class StageResources(ApiModel):
    """CPU and memory of a stage pod, requested and limited alike. Quantities such as 8, 500m, 64Gi."""

    model_config = ConfigDict(json_schema_extra=rules(_SHARED_BELOW_MEMORY))

    cpu: Quantity = Field(
        default="4",
        description="CPU cores of a stage pod; with device cpu the engine computes on them.",
        json_schema_extra=rules(
            *quantity_rules(field="resources.cpu", lowest="100m", highest="1024", hint="8 or 500m")
        ),
    )
    memory: Quantity = Field(
        default="32Gi",
        description="Memory of a stage pod, shared memory included; with device cpu it holds the weights.",
        json_schema_extra=rules(*quantity_rules(field="resources.memory", lowest="256Mi", highest="64Ti", hint="64Gi")),
    )
    shared_memory: Quantity = Field(
        default="2Gi",
        description="Size of /dev/shm in a stage pod, through which the processes of a stage talk. Part of memory.",
        json_schema_extra=rules(
            *quantity_rules(field="resources.sharedMemory", lowest="64Mi", highest="1Ti", hint="2Gi")
        ),
    )


DType = Literal["auto", "bfloat16", "float16", "float32"]
