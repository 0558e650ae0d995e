"""The status of a LlamaWeights. Written by one function, only when different."""

from pydantic import Field

from llama_operator.api.v1alpha1.base import ApiModel, Timestamp
from llama_operator.api.v1alpha1.status import (
    NOT_OBSERVED,
    OBSERVED_GENERATION,
    ChatStatus,
    Condition,
    ModelFactsStatus,
)


class ResolveAttempt(ApiModel):
    """The last attempt to resolve the weights that ended."""

    key: str = Field(description="Hash of what was to be resolved.")
    number: int = Field(ge=1, description="Number of attempts so far; a refused one is repeated after a growing pause.")
    at: Timestamp = Field(description="When it ended.")
    refused: bool = Field(default=False, description="Whether the weights were refused.")
    reason: str = Field(default="", description="Machine word of its outcome.")
    message: str = Field(default="", description="Sentence of its outcome.")


class ResolvedStatus(ApiModel):
    """What the last attempt to resolve a source found, whatever is there."""

    observed_generation: int = Field(default=NOT_OBSERVED, ge=NOT_OBSERVED, description=OBSERVED_GENERATION)
    ready: bool = Field(default=False, description="The weights were accepted and their manifest is stored.")
    reason: str = Field(default="", description="Machine word: Accepted, why they were refused, or what they wait for.")
    message: str = Field(default="", description="Sentence with numbers for reason.")
    key: str = Field(default="", description="Hash of the spec that the following fields were found for.")
    resolved_revision: str = Field(
        default="",
        description="What the revision means at the source: commit, version or digest. It stays.",
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
    permitted_secret: str | None = Field(
        default=None,
        description="The credentialsSecret that may be sent to the source; empty: none was named. Absent: an older "
        "version wrote this.",
    )
    manifest: str = Field(default="", description="ConfigMap with the whole manifest: every file and tensor.")
    last_resolve: ResolveAttempt | None = Field(
        default=None, description="The last attempt to resolve the weights that ended."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Reconciling and Stalled, of which one is True.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class LlamaWeightsStatus(ResolvedStatus):
    """What the last attempt to resolve the weights found."""

    facts: ModelFactsStatus | None = Field(default=None, description="What config.json and the weights say.")
    chat: ChatStatus | None = Field(
        default=None, description="What chat template and tokenizer say; absent: an older version resolved the weights."
    )
