"""The API types; pydantic models are the source of the CRDs."""

from llama_operator.api.v1alpha1.adapters.adapter import LlamaAdapterSpec
from llama_operator.api.v1alpha1.adapters.adapter_status import AdapterFactsStatus, LlamaAdapterStatus
from llama_operator.api.v1alpha1.adapters.served import (
    AdapterLimitsSpec,
    AdapterLimitsStatus,
    AdapterSelector,
    ServedAdapter,
    ServedAdapterStatus,
)
from llama_operator.api.v1alpha1.autoscaling import AutoscalingSpec, ScheduleSpec
from llama_operator.api.v1alpha1.base import (
    ADAPTERS_KIND,
    ADAPTERS_PLURAL,
    API_VERSION,
    KIND,
    PLURAL,
    VERSION,
    WEIGHTS_KIND,
    WEIGHTS_PLURAL,
    ApiModel,
    JsonObject,
    Quantity,
    Timestamp,
)
from llama_operator.api.v1alpha1.deployment import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.engine import EngineCache, EngineSpec
from llama_operator.api.v1alpha1.gateway import GatewayResources, GatewaySpec
from llama_operator.api.v1alpha1.images import ImagesSpec
from llama_operator.api.v1alpha1.model import ChatTemplateRef, ModelSpec
from llama_operator.api.v1alpha1.placement import NodeTerm, PlacementSpec, Toleration
from llama_operator.api.v1alpha1.sharding import (
    CPU,
    FORMER_SIZE,
    DeviceSpec,
    DType,
    ShardingSpec,
    StageResources,
    StageSize,
)
from llama_operator.api.v1alpha1.staging import ClaimTemplate, StagingSpec
from llama_operator.api.v1alpha1.status import (
    AutoscalingStatus,
    ChatStatus,
    Condition,
    GroupStatus,
    LlamaDeploymentStatus,
    ModelFactsStatus,
    ModelStatus,
    PromiseStatus,
    ScaleDecision,
)
from llama_operator.api.v1alpha1.weights import (
    LlamaWeightsSpec,
    ResolvedSpec,
    ResolverImages,
    ResolverPlacement,
    content_of,
)
from llama_operator.api.v1alpha1.weights_status import LlamaWeightsStatus, ResolveAttempt, ResolvedStatus
from llama_serving.config.names import API_GROUP

__all__ = [
    "ADAPTERS_KIND",
    "ADAPTERS_PLURAL",
    "API_GROUP",
    "API_VERSION",
    "CPU",
    "FORMER_SIZE",
    "KIND",
    "PLURAL",
    "VERSION",
    "WEIGHTS_KIND",
    "WEIGHTS_PLURAL",
    "AdapterFactsStatus",
    "AdapterLimitsSpec",
    "AdapterLimitsStatus",
    "AdapterSelector",
    "ApiModel",
    "AutoscalingSpec",
    "AutoscalingStatus",
    "ChatStatus",
    "ChatTemplateRef",
    "ClaimTemplate",
    "Condition",
    "DType",
    "DeviceSpec",
    "EngineCache",
    "EngineSpec",
    "GatewayResources",
    "GatewaySpec",
    "GroupStatus",
    "ImagesSpec",
    "JsonObject",
    "LlamaAdapterSpec",
    "LlamaAdapterStatus",
    "LlamaDeploymentSpec",
    "LlamaDeploymentStatus",
    "LlamaWeightsSpec",
    "LlamaWeightsStatus",
    "ModelFactsStatus",
    "ModelSpec",
    "ModelStatus",
    "NodeTerm",
    "PlacementSpec",
    "PromiseStatus",
    "Quantity",
    "ResolveAttempt",
    "ResolvedSpec",
    "ResolvedStatus",
    "ResolverImages",
    "ResolverPlacement",
    "ScaleDecision",
    "ScheduleSpec",
    "ServedAdapter",
    "ServedAdapterStatus",
    "ShardingSpec",
    "StageResources",
    "StageSize",
    "StagingSpec",
    "Timestamp",
    "Toleration",
    "content_of",
]
