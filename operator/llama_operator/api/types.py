"""The kind LlamaDeployment: what is read from the API server and what is written to its status."""

from typing import Final

from pydantic import Field

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
from llama_serving.config.names import API_GROUP

KIND: Final = "LlamaDeployment"
PLURAL: Final = "llamadeployments"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{API_GROUP}/{VERSION}"

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


class ObjectMeta(ApiModel):
    """The part of metav1.ObjectMeta that the operator reads."""

    name: str
    namespace: str
    uid: str
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


class LlamaDeployment(ApiModel):
    """A Llama model served by groups of pods behind a gateway."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: LlamaDeploymentSpec
    status: LlamaDeploymentStatus = LlamaDeploymentStatus()

    @property
    def served_name(self) -> str:
        """The model's name in the OpenAI API."""
        return self.spec.model.served_name or self.metadata.name
