"""The API types; pydantic models are the source of the CRDs."""

from llama_operator.api.autoscaling import AutoscalingSpec, ScheduleSpec
from llama_operator.api.base import ApiModel, JsonObject, Quantity, Timestamp
from llama_operator.api.engine import EngineSpec
from llama_operator.api.gateway import GatewayResources, GatewaySpec
from llama_operator.api.hardware import CPU, DeviceSpec, DType, ShardingSpec, StageResources
from llama_operator.api.images import ImagesSpec
from llama_operator.api.model import ModelSpec
from llama_operator.api.placement import PlacementSpec, Toleration
from llama_operator.api.source import PvcSource, filled, is_remote, parse_source, scheme_of
from llama_operator.api.spec import LlamaDeploymentSpec
from llama_operator.api.staging import ClaimTemplate, StagingSpec
from llama_operator.api.status import (
    AutoscalingStatus,
    Condition,
    GroupStatus,
    LlamaDeploymentStatus,
    ModelFactsStatus,
    ModelStatus,
    ScaleDecision,
)
from llama_operator.api.types import (
    API_VERSION,
    KIND,
    PLURAL,
    VERSION,
    WEIGHTS_KIND,
    WEIGHTS_PLURAL,
    LlamaDeployment,
    LlamaWeights,
    ObjectMeta,
)
from llama_operator.api.weights import LlamaWeightsSpec, ResolverImages, ResolverPlacement, content_of
from llama_operator.api.weights_status import LlamaWeightsStatus, LookStatus
from llama_serving.config.names import API_GROUP

__all__ = [
    "API_GROUP",
    "API_VERSION",
    "CPU",
    "KIND",
    "PLURAL",
    "VERSION",
    "WEIGHTS_KIND",
    "WEIGHTS_PLURAL",
    "ApiModel",
    "AutoscalingSpec",
    "AutoscalingStatus",
    "ClaimTemplate",
    "Condition",
    "DType",
    "DeviceSpec",
    "EngineSpec",
    "GatewayResources",
    "GatewaySpec",
    "GroupStatus",
    "ImagesSpec",
    "JsonObject",
    "LlamaDeployment",
    "LlamaDeploymentSpec",
    "LlamaDeploymentStatus",
    "LlamaWeights",
    "LlamaWeightsSpec",
    "LlamaWeightsStatus",
    "LookStatus",
    "ModelFactsStatus",
    "ModelSpec",
    "ModelStatus",
    "ObjectMeta",
    "PlacementSpec",
    "PvcSource",
    "Quantity",
    "ResolverImages",
    "ResolverPlacement",
    "ScaleDecision",
    "ScheduleSpec",
    "ShardingSpec",
    "StageResources",
    "StagingSpec",
    "Timestamp",
    "Toleration",
    "content_of",
    "filled",
    "is_remote",
    "parse_source",
    "scheme_of",
]
