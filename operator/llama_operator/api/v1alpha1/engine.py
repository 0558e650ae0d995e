"""Options of the engine (vLLM) that a user may set: each one typed, with its range; nothing else reaches the engine.

A typed field is documented by ``kubectl explain``, its type and range are checked by name, and there is no text that
could become a command line. An option that is not here is refused by kubectl ("unknown field") and dropped, with a
warning, by the API server for clients that do not ask for strict validation: it can never reach an engine.
"""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.nccl_rules import NCCL_RULES
from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.quantity import parse_bytes, quantity_rules
from llama_operator.api.crdgen.rules import Rule, choices, rules
from llama_operator.api.v1alpha1.base import ApiModel, Quantity, ShortText
from llama_serving.config.chat.parsers import REASONING_PARSERS, TOOL_PARSERS
from llama_serving.config.names import DNS_SUBDOMAIN

EngineValue = bool | int | float | str

_ONE_CACHE_SIZE: Final = Rule(
    "!has(self.gpuMemoryUtilization) || !has(self.kvCacheMemory)",
    "engine.gpuMemoryUtilization and engine.kvCacheMemory both set the size of the KV cache: remove one",
    field="kvCacheMemory",
)

# No minimum of the schema: the API server rounds 0.1 down to compare it with an integer, and so would take 0.
_SHARE: Final = Rule(
    "self >= 0.1 && self <= 0.98",
    "engine.gpuMemoryUtilization must lie between 0.1 and 0.98: the rest is for what the engine does not count",
)


_ONE_PLACE: Final = Rule(
    "(self.claimName != '') != self.onStagingClaim",
    "engine.cache needs either claimName or onStagingClaim: true; without engine.cache the caches go with the pod",
    field="claimName",
)

_CACHE_CLAIM: Final = Rule(
    f"self == '' || {matches(DNS_SUBDOMAIN)}",
    "engine.cache.claimName must be the name of a PersistentVolumeClaim: lower-case letters, digits, '-' and '.'",
)


class EngineCache(ApiModel):
    """The volume for what an engine compiles at its start, so that the next start finds it."""

    model_config = ConfigDict(json_schema_extra=rules(_ONE_PLACE))

    claim_name: str = Field(
        default="",
        max_length=253,
        description="A claim for the caches of all stage pods; ReadWriteMany where these run on several nodes. Who may "
        "write to it can run code in the engines.",
        json_schema_extra=rules(_CACHE_CLAIM),
    )
    on_staging_claim: bool = Field(
        default=False, description="Keep the caches on the claim of staging.sharedClaimName, beside the weights."
    )


class EngineSpec(ApiModel):
    """Engine options. One that is absent has the engine's own default."""

    model_config = ConfigDict(json_schema_extra=rules(_ONE_CACHE_SIZE))

    enable_prefix_caching: bool | None = Field(
        default=None, description="Keep the KV cache of prompts that begin alike."
    )
    max_num_batched_tokens: int | None = Field(
        default=None, ge=16, le=1_048_576, description="Tokens that one step of the engine computes at most."
    )
    kv_cache_dtype: Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"] | None = Field(
        default=None, description="Type of the numbers in the KV cache; auto is the model's."
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        description="Share of a device's memory that the engine takes, 0.1 to 0.98.",
        json_schema_extra=rules(_SHARE),
    )
    kv_cache_memory: Quantity | None = Field(
        default=None,
        description="Memory of the KV cache per device, such as 20Gi, instead of a share of the device.",
        json_schema_extra=rules(
            *quantity_rules(field="engine.kvCacheMemory", lowest="16Mi", highest="4Ti", hint="20Gi")
        ),
    )
    quantization: (
        Literal["awq", "awq_marlin", "compressed-tensors", "fp8", "gptq", "gptq_marlin", "modelopt"] | None
    ) = Field(default=None, description="How the weights are quantized; absent means what config.json says.")
    enforce_eager: bool | None = Field(
        default=None, description="Run without compiled graphs: slower, but it starts sooner and takes less memory."
    )
    block_size: Literal[16, 32, 64, 128] | None = Field(default=None, description="Tokens of a block of KV cache.")
    long_prefill_token_threshold: int | None = Field(
        default=None, ge=0, le=1_048_576, description="Prompts longer than this count as long when steps are shared."
    )
    seed: int | None = Field(
        default=None, ge=0, le=4_294_967_295, description="Seed of sampling for requests that bring none."
    )
    nccl: dict[str, ShortText] | None = Field(
        default=None,
        description="Variables of NCCL, UCX and Gloo for the engine's processes, from the list in "
        "docs/how-to/fabrics.md, such as NCCL_IB_HCA: mlx5.",
        json_schema_extra=rules(*NCCL_RULES, maxProperties=32),
    )
    tool_call_parser: str | None = Field(
        default=None,
        max_length=64,
        description="The engine's name for model.tools: a parser of tool calls. Set one of the two.",
        json_schema_extra=choices(*sorted(TOOL_PARSERS)),
    )
    reasoning_parser: str | None = Field(
        default=None,
        max_length=64,
        description="The engine's name for model.reasoning: a parser of reasoning. Set one of the two.",
        json_schema_extra=choices(*sorted(REASONING_PARSERS)),
    )
    cache: EngineCache | None = Field(
        default=None,
        description="Where compiled code outlives its pod: a start on GPUs then takes it from there. If absent, it "
        "goes with the pod.",
    )

    def options(self) -> dict[str, EngineValue]:
        """Return the options that are set, under the engine's names for them; sizes in bytes."""
        others = {"nccl", "cache", "tool_call_parser", "reasoning_parser"}  # of the pod, or resolved in the cell
        options = self.model_dump(exclude_none=True, exclude=others)
        memory = options.pop("kv_cache_memory", None)
        return options if memory is None else {**options, "kv_cache_memory_bytes": parse_bytes(memory)}
