"""Which LoRA adapter is wanted: the spec of a LlamaAdapter. What names it cannot change; what it is asked can."""

from typing import ClassVar, Final

from pydantic import Field

from llama_operator.api.v1alpha1.verification import GoldenPromptSpec
from llama_operator.api.v1alpha1.weights import ResolvedSpec

_ANOTHER: Final = (
    "cannot change, because it names the adapter: make another LlamaAdapter, and name that in spec.adapters of the "
    "LlamaDeployment"
)


class LlamaAdapterSpec(ResolvedSpec):
    """The desired state: one revision of a LoRA adapter at a source, resolved before any engine is asked to load it."""

    another: ClassVar[str] = _ANOTHER

    source: str = Field(
        min_length=1,
        max_length=1024,
        description="Where the adapter's folder is, as model.source of a LlamaDeployment; with pvc:// on the claim of "
        "the model that it is served with, since a running pod gets no other.",
    )
    base: str = Field(
        default="",
        max_length=256,
        description="The model that it was trained on, for readers. Whether it fits one is found by its shapes.",
    )
    golden_prompts: tuple[GoldenPromptSpec, ...] = Field(
        default=(),
        max_length=16,
        description="Prompts whose greedy answers by this adapter are known. A group that answers otherwise gets no "
        "requests for it.",
    )
