"""What a user asks for: the spec of a LlamaDeployment, and the rules that span its sections."""

from math import ceil
from typing import Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.v1alpha1.adapters.served import MOST_LISTED, AdapterLimitsSpec, AdapterSelector, ServedAdapter
from llama_operator.api.v1alpha1.autoscaling import AutoscalingSpec
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.edge.access import AccessSpec
from llama_operator.api.v1alpha1.engine import EngineSpec
from llama_operator.api.v1alpha1.gateway import GatewaySpec
from llama_operator.api.v1alpha1.images import ImagesSpec
from llama_operator.api.v1alpha1.model import ModelSpec
from llama_operator.api.v1alpha1.placement import NetworkSpec, PlacementSpec, PodMetadata
from llama_operator.api.v1alpha1.rollout import RolloutSpec
from llama_operator.api.v1alpha1.sharding import DeviceSpec, DType, ShardingSpec, StageResources
from llama_operator.api.v1alpha1.staging import StagingSpec
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.api.v1alpha1.walls.spec import WallsSpec

#: Seconds; upper bounds of times that are computed, where contextLength does not ask for more.
LONGEST_DRAIN: Final = 600
_GATEWAY_DRAIN: Final = 300
_FIRST_BYTE: Final = 600
#: Tokens per second that one request is assumed to get at least.
_SLOWEST: Final = 40
#: Seconds; nobody is waited for longer without having asked for it.
_LONGEST: Final = 3600

_REPLICAS: Final = Rule("self >= 0", "replicas must be at least 0; with 0 there is no group, and requests wait")

_ACROSS: Final = (
    # A stage owns its pod's devices, so fewer would idle and more cannot be had.
    Rule(
        "self.device.resource == 'cpu' || self.sharding.tensor == self.device.count",
        "sharding.tensor must equal device.count, because a stage runs on exactly the devices of its pod: "
        "change one of them, and take more pods with sharding.pipeline",
        shown="tensor is {self.sharding.tensor}, count is {self.device.count}",
        field="sharding.tensor",
    ),
    Rule(
        "self.device.resource != 'cpu' || self.sharding.tensor == 1",
        "sharding.tensor must be 1 when device.resource is cpu, because a stage on CPU is one process: "
        "take more pods with sharding.pipeline",
        shown="tensor is {self.sharding.tensor}",
        field="sharding.tensor",
    ),
    Rule(
        "!has(self.engine.maxNumBatchedTokens) || self.engine.maxNumBatchedTokens >= self.maxConcurrentRequests",
        "engine.maxNumBatchedTokens must not be less than maxConcurrentRequests: each request needs a token per step",
        shown="maxConcurrentRequests is {self.maxConcurrentRequests}",
        field="engine.maxNumBatchedTokens",
    ),
    Rule(
        "self.gateway.replicas <= self.maxConcurrentRequests",
        "gateway.replicas must not exceed maxConcurrentRequests, which the gateway pods share",
        shown="maxConcurrentRequests is {self.maxConcurrentRequests}",
        field="gateway.replicas",
    ),
    Rule(
        "!has(self.gateway.maxInFlightPerGroup) || self.gateway.maxInFlightPerGroup <= self.maxConcurrentRequests",
        "gateway.maxInFlightPerGroup must not exceed maxConcurrentRequests, or requests would wait in the engine",
        shown="maxConcurrentRequests is {self.maxConcurrentRequests}",
        field="gateway.maxInFlightPerGroup",
    ),
    # The API server fills in the default of replicas, so 1 has to pass for "not set".
    Rule(
        "!has(self.autoscaling) || self.replicas == 1 || "
        "(self.replicas >= self.autoscaling.minReplicas && self.replicas <= self.autoscaling.maxReplicas)",
        "replicas must lie between autoscaling.minReplicas and autoscaling.maxReplicas, or be left out: with "
        "autoscaling it is only the number to begin with",
        shown="replicas is {self.replicas}",
        field="replicas",
    ),
    Rule(
        "!has(self.autoscaling) || !has(self.autoscaling.target.inFlightPerGroup) || "
        "self.autoscaling.target.inFlightPerGroup <= self.maxConcurrentRequests",
        "autoscaling.target.inFlightPerGroup must not exceed maxConcurrentRequests, more than which a group never has",
        shown="maxConcurrentRequests is {self.maxConcurrentRequests}",
        field="autoscaling.target.inFlightPerGroup",
    ),
    Rule(
        "!has(self.engine.toolCallParser) || self.model.tools in ['auto', self.engine.toolCallParser]",
        "engine.toolCallParser and model.tools name two parsers of tool calls: remove engine.toolCallParser",
        shown="tools is {self.model.tools}",
        field="engine.toolCallParser",
    ),
    Rule(
        "!has(self.engine.reasoningParser) || self.model.reasoning in ['auto', self.engine.reasoningParser]",
        "engine.reasoningParser and model.reasoning name two parsers of reasoning: remove engine.reasoningParser",
        shown="reasoning is {self.model.reasoning}",
        field="engine.reasoningParser",
    ),
    Rule(
        "!has(self.engine.cache) || !self.engine.cache.onStagingClaim || self.staging.sharedClaimName != ''",
        "engine.cache.onStagingClaim needs staging.sharedClaimName: every other volume of staging goes with its pod; "
        "set it, or name a claim with engine.cache.claimName",
        field="engine.cache.onStagingClaim",
    ),
    Rule(
        "!has(self.autoscaling) || self.autoscaling.warmGroups == 0 || has(self.staging.volumeClaimTemplate)",
        "autoscaling.warmGroups needs staging.volumeClaimTemplate: only a claim of its own keeps weights without its "
        "pod",
        shown="warmGroups is {self.autoscaling.warmGroups}",
        field="autoscaling.warmGroups",
    ),
    Rule(
        "!self.network.annotations.exists(key, key in self.podTemplate.annotations)",
        "podTemplate.annotations must not have a key of network.annotations, since a pod gets its networks only when "
        "it is made: remove it from podTemplate.annotations",
        field="podTemplate.annotations",
    ),
)


class LlamaDeploymentSpec(ApiModel):
    """The desired state: a model, how it is split, where it runs, and the gateway in front of it."""

    model_config = ConfigDict(json_schema_extra=rules(*_ACROSS))

    model: ModelSpec = Field(description="The model that is served.")
    adapters: tuple[ServedAdapter, ...] = Field(
        default=(),
        max_length=MOST_LISTED,
        description="LoRA adapters that are served beside the model, each under a name of its own. They are loaded "
        "into running groups; one that cannot be served is left out and says so in status.adapters.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    adapter_selector: AdapterSelector | None = Field(
        default=None, description="Further adapters, by their labels. If absent, only those of adapters."
    )
    adapter_limits: AdapterLimitsSpec | None = Field(
        default=None,
        description="Room for adapters in each engine. If absent, it follows from the adapters, and there is none "
        "without any.",
    )
    context_length: int = Field(
        default=8192,
        ge=16,
        le=10_485_760,
        description="Tokens of prompt and answer together. The operator checks it against the model's maximum.",
    )
    replicas: int = Field(
        default=1,
        le=1000,
        description="Groups: copies of the model, each over sharding.pipeline pods. 0: requests wait in the gateway. "
        "With autoscaling only the number to begin with.",
        json_schema_extra=rules(_REPLICAS),
    )
    autoscaling: AutoscalingSpec | None = Field(
        default=None, description="The number of groups follows the load. If absent, it is replicas."
    )
    sharding: ShardingSpec = Field(default=ShardingSpec(), description="How one copy of the model is split.")
    device: DeviceSpec = Field(default=DeviceSpec(), description="The devices of a stage pod.")
    dtype: DType = Field(default="auto", description="Type of the weights in memory; auto is the model's.")
    max_concurrent_requests: int = Field(
        default=64, ge=1, le=4096, description="Requests that the engine of a group runs at once."
    )
    resources: StageResources = Field(default=StageResources(), description="CPU and memory of a stage pod.")
    placement: PlacementSpec = Field(default=PlacementSpec(), description="Where stage pods may run.")
    network: NetworkSpec = Field(default=NetworkSpec(), description="Further networks of the stage pods.")
    staging: StagingSpec = Field(
        default=StagingSpec(), description="The volume for weights that are downloaded into the stage pods."
    )
    engine: EngineSpec = Field(default=EngineSpec(), description="Engine options.")
    images: ImagesSpec = Field(default=ImagesSpec(), description="The images of the pods.")
    pod_template: PodMetadata = Field(
        default=PodMetadata(),
        description="Labels and annotations of the stage pods and the gateway pods. A change is written to running "
        "stage pods in place; the gateway's pods are replaced one by one.",
    )
    walls: WallsSpec = Field(default=WallsSpec(), description="Walls around the pods, beyond NetworkPolicies.")
    gateway: GatewaySpec = Field(default=GatewaySpec(), description="The gateway in front of the groups.")
    access: AccessSpec | None = Field(
        default=None, description="Who may call the API, and how much. If absent, everybody, without a limit."
    )
    rollout: RolloutSpec = Field(default=RolloutSpec(), description="How a change is rolled out to the groups.")
    verify: VerifySpec = Field(default=VerifySpec(), description="How a group is verified before it gets requests.")
    drain_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Time for requests in flight when a group is taken out of rotation. If absent, what an answer "
        "of contextLength tokens takes at the speed that requests get, between 30 and 600, or up to contextLength / 40 "
        "and 3600 where that is more.",
    )
    start_timeout_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="Time for a group from all stages joined to its first answer."
    )

    @property
    def tools(self) -> str:
        """Parser of tool calls that is asked for: ``auto``, ``off`` or a name."""
        return self.engine.tool_call_parser or self.model.tools

    @property
    def reasoning(self) -> str:
        """Parser of reasoning that is asked for: ``auto``, ``off`` or a name."""
        return self.engine.reasoning_parser or self.model.reasoning

    @property
    def serves_adapters(self) -> bool:
        """Whether engines make room for LoRA adapters."""
        return bool(self.adapters) or self.adapter_selector is not None or self.adapter_limits is not None

    @property
    def longest_drain(self) -> int:
        """Seconds that a pod may need to end its requests: what its grace period must hold."""
        if self.drain_timeout_seconds is not None:
            return self.drain_timeout_seconds
        return answer_deadline(self.context_length, usual=LONGEST_DRAIN)

    @property
    def gateway_drain(self) -> int:
        """Seconds that a gateway pod may need to end its requests."""
        given = self.gateway.drain_seconds
        return answer_deadline(self.context_length, usual=_GATEWAY_DRAIN) if given is None else given

    @property
    def first_byte_timeout(self) -> int:
        """Seconds from a request sent to the first byte of its answer; one that is no stream comes whole."""
        given = self.gateway.first_byte_timeout_seconds
        return answer_deadline(self.context_length, usual=_FIRST_BYTE) if given is None else given


def answer_deadline(context_length: int, *, usual: int) -> int:
    """Return the seconds in which an answer of a whole context ends, but not less than ``usual``.

    max(usual, min(context_length / 40, 3600)): 40 tokens per second is what one request is assumed to get at least.
    So nothing changes up to 12,000 tokens (usual: 300) or 24,000 (600), and 131,072 tokens get 3277 s.
    """
    return max(usual, min(ceil(context_length / _SLOWEST), _LONGEST))
