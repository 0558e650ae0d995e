"""What is reported of a model's folder, written to a pod's termination message (at most 4096 bytes)."""

from typing import Final, Literal

from pydantic import Field

from llama_serving.config.cell import Frozen
from llama_serving.config.chat.facts import ChatFacts

#: Quantization methods of the pinned vLLM 0.32 (``QUANTIZATION_METHODS``); a test compares them with the package.
QUANTIZATION_METHODS: Final = (
    "awq", "auto_awq", "fp8", "fbgemm_fp8", "fp_quant", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed",
    "auto_gptq", "gptq", "gptq_marlin", "awq_marlin", "humming", "compressed-tensors", "experts_int8", "quark",
    "moe_wna16", "torchao", "inc", "mxfp4", "gpt_oss_mxfp4", "deepseek_v4_fp8", "online", "fp8_per_tensor",
    "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only", "nvfp4_per_token", "mxfp8",
)  # fmt: skip

#: Those that vLLM serves only when it is told to (``allow_deprecated_quantization``).
DEPRECATED_QUANTIZATION: Final = ("fbgemm_fp8", "fp_quant")

#: Those without a kernel for CPUs: an engine without a GPU ends with them.
GPU_ONLY_QUANTIZATION: Final = ("fbgemm_fp8", "modelopt_fp4", "modelopt_mxfp8", "mxfp8")

#: Words for one way to store weights; the engine takes any of them for ``quantization`` of such a model.
QUANTIZATION_FAMILIES: Final = (
    ("awq", "auto_awq", "awq_marlin"),
    ("gptq", "auto_gptq", "gptq_marlin"),
)

#: Those whose weights are swapped in a running engine: a test reloads each of them and compares it, bit for bit, with a
#: fresh load. Weights of any other method get an engine of their own.
SWAPPABLE_QUANTIZATION: Final = (
    "compressed-tensors", "fp8", "fbgemm_fp8", "awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin",
)  # fmt: skip

#: What the engine calls whole weights that it quantizes itself, as ``quantization: fp8`` asks it to.
ONLINE_QUANTIZATION: Final = "online"

#: Methods that the engine takes from the weights whatever it was asked for.
SELF_DESCRIBED_QUANTIZATION: Final = ("auto-round", "modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed")


def unswappable_quantization(stored: str, *, asked: str | None) -> str:
    """Return the method that keeps weights from being swapped in a running engine; empty where nothing does.

    ``stored`` is the method of the weights, empty where they are whole; ``asked`` is the engine's ``quantization``.
    """
    method = stored or (ONLINE_QUANTIZATION if asked else "")
    return "" if not method or method in SWAPPABLE_QUANTIZATION else method


class ModelFacts(Frozen):
    """From config.json and the headers of the safetensors files; sizes in bytes."""

    architecture: str = Field(description="class of the model, such as LlamaForCausalLM")
    layers: int = Field(ge=1, description="layers, which the stages share out")
    hidden_size: int = Field(ge=1, description="width of the hidden state")
    heads: int = Field(ge=1, description="attention heads, which the devices of a stage share out")
    kv_heads: int = Field(ge=1, description="key and value heads")
    head_dim: int = Field(ge=1, description="width of a head")
    vocabulary: int = Field(ge=1, description="tokens in the vocabulary")
    max_context: int = Field(ge=1, description="longest context that the model was made for, in tokens")
    dtype: str = Field(description="type of the weights, such as bfloat16")
    quantization: str = Field(default="", description="method by which the weights are quantized; empty when not")
    intermediate_size: int = Field(
        default=0, ge=0, description="width inside the MLP of a layer; 0: found by an older resolver, which did not say"
    )
    tied_embeddings: bool = Field(default=False, description="input and output embeddings are one tensor")
    files: int = Field(ge=1, description="safetensors files")
    bytes: int = Field(ge=0, description="bytes of all tensors")


#: Ranks that the pinned vLLM 0.32 makes room for (``MaxLoRARanks``); a test compares them with the package.
ENGINE_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class TargetModule(Frozen):
    """A module of every layer that an adapter adds to: its two matrices are rank x inputs and outputs x rank."""

    name: str = Field(description="such as q_proj")
    inputs: int = Field(ge=1, description="width of what goes in")
    outputs: int = Field(ge=1, description="width of what comes out")


class AdapterFacts(Frozen):
    """From adapter_config.json and the header of adapter_model.safetensors."""

    rank: int = Field(ge=1, description="highest rank of a module")
    alpha: float = Field(description="lora_alpha: what is added is scaled by alpha / rank, or alpha / sqrt(rank)")
    use_rslora: bool = Field(default=False, description="the scale is alpha / sqrt(rank)")
    base_model: str = Field(default="", description="the base as training named it; empty where it did not")
    target_modules: tuple[TargetModule, ...] = Field(description="modules that have matrices, by name")
    layers: int = Field(ge=1, description="layers that the base must have at least")
    vocabulary: int = Field(
        default=0, ge=0, description="tokens that the files of a tokenizer beside it need; 0 where they name none"
    )
    dtype: str = Field(description="type of the matrices, such as bfloat16")
    tensors: int = Field(ge=1, description="matrices")
    bytes: int = Field(ge=0, description="bytes of all matrices")


class ModelReport(Frozen):
    """The inspector's last word: facts, or a refusal with a machine reason and a sentence."""

    outcome: Literal["accepted", "refused"]
    reason: str = Field(description="CellReason of a refusal, or Accepted")
    message: str
    facts: ModelFacts | None = None


#: Key of the ConfigMap into whose ``binaryData`` a resolver puts the manifest: JSON, gzip.
MANIFEST_KEY: Final = "manifest.json.gz"


class WeightsReport(Frozen):
    """A resolver's last word: what the weights are, or a refusal with a machine reason and a sentence."""

    outcome: Literal["accepted", "refused"]
    reason: str = Field(description="ReportReason")
    message: str
    facts: ModelFacts | None = None
    chat: ChatFacts | None = Field(default=None, description="of tool calls and reasoning; None: an older resolver")
    adapter: AdapterFacts | None = Field(default=None, description="what a LoRA adapter is; of weights None")
    digest: str = Field(default="", description="of the manifest, sha256:...")
    bytes: int = Field(default=0, ge=0, description="of all files that are served")
    files: int = Field(default=0, ge=0, description="files that are served")
    license: str = Field(default="", description="short name of the license that was found; empty when none was")
    revision: str = Field(default="", description="resolved revision: commit, version or digest")
