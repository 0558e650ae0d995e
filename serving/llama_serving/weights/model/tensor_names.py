"""Names of a Llama's tensors: one that the engine has no place for ends its start, so it is found before.

``model.layers.7.self_attn.q_proj.weight`` is a module of the engine's and a suffix. Modules are checked always,
suffixes only where the weights are not quantized: each method has its own.
"""

import re
from collections.abc import Iterable
from typing import Final

from llama_serving.weights.model.errors import RefusedError, refused, shown, shown_list

_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)")
_MODULES: Final = re.compile(
    r"(self_attn\.((q|k|v|o|qkv)_proj|rotary_emb|attn|[qkv]_scale|kv_scale|[qkv]_zero_point)"
    r"|mlp\.(gate|up|down|gate_up)_proj|(input|post_attention)_layernorm)(\..+|\Z)"
)
_OUTSIDE: Final = re.compile(r"(model\.embed_tokens|model\.norm|lm_head|model\.rotary_emb)\..+")
# Leftovers of old checkpoints, which the engine drops.
_DROPPED: Final = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "rotary_pos_emb.inv_freq")
_ADAPTER: Final = ".lora_"
_PLAIN: Final = re.compile(r".*(embed_tokens|norm|lm_head|_proj)\.(weight|bias)")


def check_names(names: Iterable[str], *, layers: int, quantized: bool) -> None:
    """Check that the engine has a place for every tensor. Raises RefusedError, naming the first ones that have none."""
    kept = [name for name in names if not any(part in name for part in _DROPPED)]
    strange = sorted(name for name in kept if _ADAPTER in name or not _has_a_place(name, layers=layers))
    if strange:
        raise _refusal(strange, layers=layers)
    scales = [] if quantized else sorted(name for name in kept if not _PLAIN.fullmatch(name))
    if scales:
        raise refused(
            f"the weights hold {shown_list(scales, most=2)}, as quantized weights do, and nothing says how they "
            "are quantized: copy the config.json that belongs to them, or add a quantization_config to it"
        )


def _has_a_place(name: str, *, layers: int) -> bool:
    found = _LAYER.fullmatch(name)
    if found is None:
        return _OUTSIDE.fullmatch(name) is not None
    return int(found[1]) < layers and _MODULES.fullmatch(found[2]) is not None


def _refusal(names: list[str], *, layers: int) -> RefusedError:
    listed = shown_list(names, most=2)
    if any(_ADAPTER in name for name in names):
        return refused(
            f"the weights hold {listed}, tensors of a LoRA adapter: merge it into its model (merge_and_unload of PEFT)"
        )
    beyond = [found for name in names if (found := _LAYER.fullmatch(name)) and int(found[1]) >= layers]
    if len(beyond) == len(names):
        return refused(f"config.json promises {layers} layers, the weights hold {shown(names[0])}: they differ")
    return refused(f"the weights hold {listed}, which no Llama has: take weights of a plain Llama, with nothing added")
