"""What the operator asks of a running group: ``PUT :8080/llama/desired`` on every stage, with the group's token.

A desired state is a level, not a command: the last one holds, and the same one again changes nothing. A supervisor
keeps it in ``names.DESIRED_PATH``, so that a container that starts again begins with it. Without one the config of the
pod holds.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen, WeightsRef
from llama_serving.config.weights import Manifest


class Tool(Frozen):
    """A function that a prompt offers to the model."""

    name: str = Field(min_length=1, max_length=64)
    description: str = Field(default="", max_length=1024, description="what it is for, as the model reads it")
    parameters: str = Field(default="", max_length=4096, description="JSON schema of its arguments; empty: it has none")


class ExpectedCall(Frozen):
    """The call of a function that a prompt must lead to."""

    name: str = Field(min_length=1, max_length=64)
    arguments: str = Field(default="", max_length=4096, description="JSON object that its arguments must contain")


class GoldenPrompt(Frozen):
    """A prompt whose greedy answer is known.

    JSON of users stays text here: it is as long as it looks, and is parsed only where it is checked.
    """

    prompt: str = Field(min_length=1, max_length=4096)
    expect: str = Field(default="", max_length=1024, description="text that the answer must contain; empty: none")
    pattern: str = Field(default="", max_length=1024, description="regular expression that the answer must match")
    tools: tuple[Tool, ...] = Field(default=(), max_length=8, description="offered with tool_choice auto")
    expect_call: ExpectedCall | None = Field(default=None, description="None: a text is expected")
    answer_schema: str = Field(
        default="", max_length=16384, description="JSON schema that is asked for and that the answer must fit"
    )
    max_tokens: int = Field(default=32, ge=1, le=256, description="length of the answer")
    chat: bool = Field(default=True, description="true asks as a user's message; false has plain text completed")


class Verify(Frozen):
    """What an engine is asked before it gets requests. It is asked the same after a start and after a swap."""

    golden: tuple[GoldenPrompt, ...] = ()
    quality_texts: tuple[str, ...] = Field(
        default=(), description="texts whose mean log-probability is measured; empty: those built in"
    )

    @cached_property
    def key(self) -> str:
        """Short hash: what a measurement reports to say what it answers."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]


def texts_hash(texts: Sequence[str]) -> str:
    """Return eight hexadecimal characters; means over texts are compared only where these are equal."""
    return hashlib.sha256(json.dumps(list(texts), separators=(",", ":")).encode()).hexdigest()[:8]


class WeightsArtifact(Frozen):
    """WeightsRef to be brought into the pod, or verified in it, while others serve."""

    weights: WeightsRef
    source: str = Field(description="URI, its {revision} filled in; a pvc:// one is verified where it lies")
    revision: str = Field(default="", description="resolved revision at the source: commit, version or digest")
    manifest: Manifest


class AdapterRef(Frozen):
    """A LoRA adapter as a group serves it: weights of its own that are added to those of the base.

    Clients choose it by its name. The same name may come to mean another digest; no answer mixes the two.
    """

    name: str = Field(min_length=1, description="its name in the OpenAI API")
    digest: str = Field(description="of its manifest, sha256:...")
    id: str = Field(description="name of these bytes for humans and headers, such as source and revision")
    rank: int = Field(ge=1, description="rank of its matrices")


class WantedAdapter(Frozen):
    """An adapter to be brought into the pod, verified in it, and loaded on all ranks."""

    adapter: AdapterRef
    source: str = Field(description="URI, its {revision} filled in; a pvc:// one is copied too")
    revision: str = Field(default="", description="resolved revision at the source: commit, version or digest")
    manifest: Manifest
    layers: int = Field(
        default=0, ge=0, description="of the base; 0: not known, each stage gets the matrices of all layers"
    )
    golden: tuple[GoldenPrompt, ...] = Field(default=(), description="asked of this adapter before it gets requests")


class DesiredState(Frozen):
    """What a group shall serve, and what shall lie ready."""

    serve: WeightsRef
    staged: tuple[WeightsArtifact, ...] = Field(
        default=(), description="most wanted first; weights that are on disk and not named here may be removed"
    )
    verify: Verify = Verify()
    adapters: tuple[WantedAdapter, ...] = Field(
        default=(), description="those that this group shall have, most wanted first; others may be removed"
    )

    @cached_property  # asked for each pod in every pass; the manifest of a large model has 150 KB
    def key(self) -> str:
        """Short hash: what a stage reports to say which one it holds."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:16]


class StagedWeights(Frozen):
    """How far one stage is with some weights."""

    digest: str
    id: str
    outcome: str = Field(description="waiting, working, ready or refused")
    reason: str = Field(default="", description="machine word of a refusal or a wait (StagingReason)")
    message: str = Field(default="", description="one sentence with numbers")
    bytes_done: int = Field(default=0, ge=0)
    bytes_total: int = Field(default=0, ge=0, description="what this stage needs of them")
    bytes_read: int = Field(default=0, ge=0, description="read from the source, repeated reads included")
    bytes_per_second: float = Field(default=0, ge=0)
    seconds_left: float | None = Field(default=None, description="None while it is not known")


class StagingState(Frozen):
    """What a stage's stager writes to ``names.STAGING_PATH``."""

    weights: tuple[StagedWeights, ...] = ()
    adapters: tuple[StagedWeights, ...] = Field(default=(), description="how far the stage is with each adapter")
    desired: str | None = Field(
        default=None,
        description="key of the desired state that this answers; empty: none was read yet; absent: an older version",
    )
    disk_free: int = Field(default=0, ge=0, description="bytes free on the volume of the weights")


class GoldenResult(Frozen):
    """One golden prompt and what was answered. A newer cell may say more than its reader knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str
    passed: bool
    answer: str = Field(description="its first 200 characters")
    call: str = Field(default="", description="function that was called; empty: none")
    arguments: str = Field(default="", description="those of the call, their first 200 characters")
    problem: str = Field(default="", description="what was expected and what came, with the prompt as its subject")


class TextQuality(Frozen):
    """How likely an engine finds one of the quality texts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    language: str = Field(default="", description="of a built-in text; empty: a text of the user")
    mean_logprob: float = Field(description="mean log-probability per token, in nats")
    tokens: int = Field(ge=1, description="that it is the mean of")


class Measurement(Frozen):
    """What the leader measured of the engine after a start or a swap, before its first request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    id: str
    stage_digests: tuple[str, ...] = Field(
        default=(), description="per stage, the digest of the weights that it says it loaded"
    )
    checks: str = Field(default="", description="key of the Verify that it answers; empty: an older cell")
    golden: tuple[GoldenResult, ...] = ()
    mean_logprob: float | None = Field(default=None, description="mean log-probability per token, in nats")
    texts: str = Field(
        default="", description="hash of the texts as they were measured; empty: an older cell, or none was measured"
    )
    by_text: tuple[TextQuality, ...] = Field(default=(), description="the same for each text, in their order")
    answer_hash: str = Field(default="", description="of the token ids of a fixed greedy answer: groups must agree")
    error: str = Field(default="", description="why it could not be measured; empty when it was")
    seconds: float = Field(default=0, ge=0)


class SwapState(Frozen):
    """Where the weight swap in a leader's engine stands."""

    digest: str = Field(description="of the weights that are wanted")
    outcome: str = Field(description="running, done or failed")
    message: str = Field(default="", description="one sentence with numbers; a failure names the stage")
    seconds: float = Field(default=0, ge=0, description="that it took, or takes so far")
    bytes: int = Field(default=0, ge=0, description="bytes of tensors that all stages read")
