"""What was seen of some weights: the status of a LlamaWeights. Written by one function, only when different."""

from pydantic import Field

from llama_operator.api.v1alpha1.base import ApiModel, Timestamp
from llama_operator.api.v1alpha1.status import Condition, ModelFactsStatus


class ResolveAttempt(ApiModel):
    """The last look at the source that ended."""

    key: str = Field(description="Hash of what was looked for.")
    number: int = Field(ge=1, description="How many looks that makes; refusals are repeated with growing pauses.")
    at: Timestamp = Field(description="When it ended.")
    refused: bool = Field(default=False, description="Whether the weights were refused.")
    reason: str = Field(default="", description="Machine word of its outcome.")
    message: str = Field(default="", description="Sentence of its outcome.")


class LlamaWeightsStatus(ApiModel):
    """What the last look at the source found."""

    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that this status speaks of.")
    ready: bool = Field(default=False, description="The weights were accepted and their manifest is stored.")
    reason: str = Field(default="", description="Machine word: Accepted, why they were refused, or what is waited for.")
    message: str = Field(default="", description="Sentence with numbers for reason.")
    key: str = Field(default="", description="Hash of the wish that what follows was found for.")
    resolved_revision: str = Field(
        default="",
        description="What the revision means at the source: commit, version or digest; it is not asked again.",
    )
    digest: str = Field(
        default="",
        description="sha256: of the lines sha256, size and path of all files, sorted by path: it names the weights.",
    )
    short_digest: str = Field(default="", description="The first 12 digits of digest.")
    bytes: int = Field(default=0, ge=0, description="Bytes of all files that are served.")
    size: str = Field(default="", description="The same, shortened, such as 16.1GB.")
    files: int = Field(default=0, ge=0, description="Files that are served.")
    license: str = Field(default="", description="License that was found at the source; empty when none was.")
    facts: ModelFactsStatus | None = Field(default=None, description="What config.json and the weights say.")
    manifest: str = Field(default="", description="ConfigMap with the whole manifest: every file and tensor.")
    last_resolve: ResolveAttempt | None = Field(default=None, description="The last look at the source that ended.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
