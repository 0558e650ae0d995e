"""Which tensors a stage of a pipeline needs.

The layers are split as vLLM 0.32 splits them (``vllm.distributed.utils.get_pp_indices`` without
VLLM_PP_LAYER_PARTITION): each stage gets ``layers // stages``; of the rest, one each goes to the stage before the last,
the one before that, and so on; never one to the last. The embedding is on the first stage,
and on the last too where input and output embeddings are one tensor; the final norm and the head are on the last.
What is in no layer and none of these is needed by all, since a tensor too much costs bytes and one too few a start.
"""

import re
from dataclasses import dataclass
from typing import Final

_LAYER: Final = re.compile(r"^(?:model\.)?layers\.(\d+)\.")
_EMBEDDING: Final = re.compile(r"^(?:model\.)?embed_tokens\.")
_END: Final = re.compile(r"^(?:(?:model\.)?norm|lm_head)\.")


@dataclass(frozen=True)
class Cut:
    """One stage of a model: ``stage`` counts from 0."""

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


def layers_of(cut: Cut) -> range:
    """The layers of this stage."""
    counts = [cut.layers // cut.stages] * cut.stages
    for rest in range(cut.layers % cut.stages):
        counts[-(rest + 2)] += 1
    begin = sum(counts[: cut.stage])
    return range(begin, begin + counts[cut.stage])


def needs(tensor: str, cut: Cut) -> bool:
    """Whether the engine of this stage loads ``tensor``."""
    if layer := _LAYER.match(tensor):
        number = int(layer.group(1))
        return number in layers_of(cut) or number >= cut.layers
    if _EMBEDDING.match(tensor):
        return cut.first or (cut.last and cut.tied)
    if _END.match(tensor):
        return cut.last
    return True
