"""Which tensors a stage of a pipeline needs.

The layers are split as vLLM 0.32 splits them (``vllm.distributed.utils.get_pp_indices`` without
VLLM_PP_LAYER_PARTITION): each stage gets ``layers // stages``; of the rest, one each goes to the stage before the last,
the one before that, and so on; never one to the last. The embedding is on the first stage,
and on the last too where input and output embeddings are one tensor; the final norm and the head are on the last.
What is in no layer and none of these is needed by all, since a tensor too much costs bytes and one too few a start.
A matrix of a LoRA adapter (``base_model.model.model.layers.7...``) goes with the layer that it is added to.
"""

import re
from dataclasses import dataclass
from typing import Final

_LAYER: Final = re.compile(r"^(?:base_model\.model\.)?(?:model\.)?layers\.(\d+)\.")
_EMBEDDING: Final = re.compile(r"^(?:model\.)?embed_tokens\.")
_END: Final = re.compile(r"^(?:(?:model\.)?norm|lm_head)\.")


@dataclass(frozen=True)
class LayerPartition:
    """The part of a model that one stage loads; ``stage`` counts from 0."""

    layers: int
    stage: int
    stages: int
    tied: bool  # input and output embeddings are one tensor

    @property
    def first(self) -> bool:
        """Whether requests enter the pipeline here."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether tokens leave the pipeline here."""
        return self.stage == self.stages - 1


def stage_layers(partition: LayerPartition) -> range:
    """Return the layers of this stage."""
    counts = [partition.layers // partition.stages] * partition.stages
    for rest in range(partition.layers % partition.stages):
        counts[-(rest + 2)] += 1
    begin = sum(counts[: partition.stage])
    return range(begin, begin + counts[partition.stage])


def is_needed(tensor: str, partition: LayerPartition) -> bool:
    """Return whether the engine of this stage loads ``tensor``."""
    if layer := _LAYER.match(tensor):
        number = int(layer.group(1))
        return number in stage_layers(partition) or number >= partition.layers
    if _EMBEDDING.match(tensor):
        return partition.first or (partition.last and partition.tied)
    if _END.match(tensor):
        return partition.last
    return True
