"""The API types; pydantic models are the source of the CRDs."""

from llama_operator.api.base import ApiModel, JsonObject, Quantity, Timestamp
from llama_operator.api.engine import EngineSpec
from llama_operator.api.gateway import GatewayResources, GatewaySpec
from llama_operator.api.hardware import CPU, DeviceSpec, DType, ShardingSpec, StageResources
from llama_operator.api.images import ImagesSpec
from llama_operator.api.model import ModelSpec
from llama_operator.api.placement import PlacementSpec, Toleration
from llama_operator.api.source import PvcSource, parse_source
from llama_operator.api.spec import LlamaDeploymentSpec
from llama_operator.api.status import Condition, GroupStatus, LlamaDeploymentStatus, ModelFactsStatus, ModelStatus
from llama_operator.api.types import API_VERSION, KIND, PLURAL, VERSION, LlamaDeployment, ObjectMeta
from llama_serving.config.names import API_GROUP

__all__ = [
    "API_GROUP",
    "API_VERSION",
    "CPU",
    "KIND",
    "PLURAL",
    "VERSION",
    "ApiModel",
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
    "ModelFactsStatus",
    "ModelSpec",
    "ModelStatus",
    "ObjectMeta",
    "PlacementSpec",
    "PvcSource",
    "Quantity",
    "ShardingSpec",
    "StageResources",
    "Timestamp",
    "Toleration",
    "parse_source",
]
