"""Names of a LoRA adapter's tensors, as PEFT writes them: which matrix of which module of which layer.

``base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight`` is the half A (rank x inputs) of a pair; B is outputs
x rank. Source: vLLM 0.32, ``parse_fine_tuned_lora_name`` with the modules of ``LlamaForCausalLM``.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

#: Modules of a layer that the engine adds an adapter to, with the part of the layer that they lie in.
MODULES: Final = {
    "q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn",
    "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "mlp",
}  # fmt: skip

_TENSOR: Final = re.compile(
    r"(?:base_model\.model\.)?(?P<module>model\.layers\.(?P<layer>0|[1-9]\d{0,5})\.(?P<part>self_attn|mlp)"
    r"\.(?P<name>[a-z]+_proj))\.lora_(?P<half>[AB])\.weight"
)


@dataclass(frozen=True)
class LoraTensor:
    """One matrix of a pair."""

    module: str  # such as model.layers.7.self_attn.q_proj
    layer: int
    name: str  # of the module in its layer, such as q_proj
    half: Literal["A", "B"]


def lora_tensor(name: str) -> LoraTensor | None:
    """Return what a tensor's name says; None where the engine has no place for it."""
    found = _TENSOR.fullmatch(name)
    if found is None or MODULES.get(found["name"]) != found["part"]:
        return None
    return LoraTensor(found["module"], int(found["layer"]), found["name"], "A" if found["half"] == "A" else "B")
