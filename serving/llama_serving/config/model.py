"""What the inspector reports of a model folder, written to the pod's termination message (at most 4096 bytes)."""

from typing import Literal

from pydantic import Field

from llama_serving.config.cell import Frozen


class ModelFacts(Frozen):
    """From config.json and the headers of the safetensors files; sizes in bytes."""

    architecture: str
    layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    max_context: int = Field(ge=1)
    dtype: str
    quantization: str = ""
    tied_embeddings: bool = False
    files: int = Field(ge=1)
    bytes: int = Field(ge=0)


class ModelReport(Frozen):
    """The inspector's last word: facts, or a refusal with a machine reason and a sentence."""

    outcome: Literal["accepted", "refused"]
    reason: str = Field(description="CellReason of a refusal, or Accepted")
    message: str
    facts: ModelFacts | None = None
