"""The kinds LlamaDeployment and LlamaWeights: what is read from the API server and what is written to its status."""

from typing import Final

from pydantic import Field

from llama_operator.api.v1alpha1.base import ApiModel, Timestamp
from llama_operator.api.v1alpha1.deployment import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.status import LlamaDeploymentStatus
from llama_operator.api.v1alpha1.weights import LlamaWeightsSpec
from llama_operator.api.v1alpha1.weights_status import LlamaWeightsStatus
from llama_serving.config.names import API_GROUP

KIND: Final = "LlamaDeployment"
PLURAL: Final = "llamadeployments"
WEIGHTS_KIND: Final = "LlamaWeights"
WEIGHTS_PLURAL: Final = "llamaweights"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{API_GROUP}/{VERSION}"


class ObjectMeta(ApiModel):
    """The part of metav1.ObjectMeta that the operator reads."""

    name: str
    namespace: str
    uid: str
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
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


class LlamaWeights(ApiModel):
    """One revision of the weights of a model, resolved, checked and named by its digest."""

    api_version: str = API_VERSION
    kind: str = WEIGHTS_KIND
    metadata: ObjectMeta
    spec: LlamaWeightsSpec
    status: LlamaWeightsStatus = LlamaWeightsStatus()
