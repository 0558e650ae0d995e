"""How a model's weights are quantized: found wherever models say it, and checked as the engine checks it.

The first of these that is there counts: ``quantization_config`` in config.json, hf_quant_config.json (ModelOpt before
0.31), ``compression_config`` in config.json (compressed-tensors before 0.8). Source: vLLM 0.32, ``get_config``,
``_normalize_quantization_config``, ``_verify_quantization`` and ``from_config`` of each method. What only a device can
say (its kernels, its compute capability) is left to the engine.
"""

from collections.abc import Mapping
from typing import Any, Final

from llama_serving.config.model import QUANTIZATION_METHODS
from llama_serving.weights.model.errors import RefusedError, refused, shown
from llama_serving.weights.model.folder import CONFIG, Folder
from llama_serving.weights.model.modelopt import modelopt_method, names_modelopt

HF_QUANT: Final = "hf_quant_config.json"
_METHOD: Final = "quant_method"
_AUTO_ROUND: Final = "auto-round"  # what models call the engine's inc
_INSTEAD: Final = "take the model's weights in fp8, awq, gptq or compressed-tensors, or those that are not quantized"
_IN_ORDER: Final = "take weights that were quantized without it, or in static order"

# Method -> what its config must name; where models spell a field in two ways, either will do.
_AWQ: Final = (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",))
_GPTQ: Final = (("bits",), ("group_size",), ("desc_act",), ("sym",))
_FP8: Final = (("activation_scheme",),)
_INC: Final = (("bits",), ("group_size",))
_FIELDS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "awq": _AWQ,
    "auto_awq": _AWQ,
    "awq_marlin": _AWQ,
    "gptq": _GPTQ,
    "auto_gptq": _GPTQ,
    "gptq_marlin": _GPTQ,
    "fp8": _FP8,
    "deepseek_v4_fp8": _FP8,
    "fbgemm_fp8": (("modules_to_not_convert",), ("activation_scale_ub",)),
    "fp_quant": (("hadamard_group_size",), ("forward_dtype",), ("forward_method",), ("modules_to_not_convert",)),
    "inc": _INC,
    _AUTO_ROUND: _INC,
    "quark": (("export",),),
    "torchao": (("quant_type",),),
}
# Method -> numbers of bits that the engine loads.
_BITS: Final = {
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin"), (4,)),
    **dict.fromkeys(("gptq", "auto_gptq", "gptq_marlin"), (4, 8)),
    **dict.fromkeys(("inc", _AUTO_ROUND), (2, 3, 4, 5, 6, 7, 8)),
}
_SYMMETRIC_ONLY: Final = ("gptq", "auto_gptq", "gptq_marlin")
# Words of --quantization: the engine quantizes whole weights by them, and loads no weights that name them.
_NOT_OF_WEIGHTS: Final = (
    "online", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "int8_per_channel_weight_only", "nvfp4_per_token",
    "moe_wna16",
)  # fmt: skip


def quantization(folder: Folder, config: Mapping[str, Any]) -> str:
    """Return the method by which the weights are quantized; empty when they are not.

    Raises:
        RefusedError: the engine does not serve the method, or its description lacks what the engine needs.
    """
    if "text_config" in config:
        raise refused(f"{CONFIG} has a text_config, as models of text and images have; only plain Llamas are served")
    name, found = _description(folder, config)
    if found is None:
        return ""
    if not isinstance(found, dict):
        raise _nameless(name)
    if names_modelopt(found):
        return modelopt_method(name, found, layers=_mixed_layers(folder, found))
    method = _named(name, found)
    _check_known(name, method)
    if method.startswith("modelopt"):
        return modelopt_method(name, {**found, _METHOD: method}, layers=_mixed_layers(folder, found))
    _check_fields(name, method, found)
    return method


def _description(folder: Folder, config: Mapping[str, Any]) -> tuple[str, Any]:
    """Return where the description stands, for sentences, and the description."""
    if config.get("quantization_config") is not None:
        return f"{CONFIG}: quantization_config", config["quantization_config"]
    if HF_QUANT in folder.names:
        return HF_QUANT, folder.read_json(HF_QUANT) or None
    return f"{CONFIG}: compression_config", config.get("compression_config")


def _named(name: str, found: Mapping[str, Any]) -> str:
    method = found.get(_METHOD)
    if not isinstance(method, str) or not method:
        raise _nameless(name)
    return method.lower().replace("compressed_tensors", "compressed-tensors")


def _nameless(name: str) -> RefusedError:
    return refused(f"{name} must name its quant_method, such as fp8")


def _check_known(name: str, method: str) -> None:
    if method in _NOT_OF_WEIGHTS:
        raise refused(f"{name} has the quant_method {method}, by which no weights are stored: {_INSTEAD}")
    if method not in (*QUANTIZATION_METHODS, _AUTO_ROUND):
        raise refused(f"{name} has the quant_method {shown(method)}, which the engine does not serve: {_INSTEAD}")


def _check_fields(name: str, method: str, found: Mapping[str, Any]) -> None:
    values = [_field(name, method, found, keys=keys) for keys in _FIELDS.get(method, ())]
    if method in _BITS and values[0] not in _BITS[method]:
        served = ", ".join(map(str, _BITS[method]))
        raise refused(f"{name} of {method} has {shown(values[0])} bits, the engine loads {served}: {_INSTEAD}")
    if method in _SYMMETRIC_ONLY and found["sym"] is not True:
        raise refused(f"{name} of {method} has sym {shown(found['sym'])}, the engine loads only true: {_INSTEAD}")
    if method in _SYMMETRIC_ONLY:
        _check_order(name, method, found)
    if method in ("fp8", "deepseek_v4_fp8"):
        _check_fp8(name, found)
    if method == "compressed-tensors":
        _check_compressed(name, found)


def _field(name: str, method: str, found: Mapping[str, Any], *, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in found and (found[key] is not None or method != "quark"):
            return found[key]
    raise refused(f"{name} of {method} lacks {' or '.join(keys)}, without which the engine loads no weights")


def _table(found: Mapping[str, Any], key: str, *, of: str) -> Mapping[str, Any]:
    """Return the object under a key; an empty one where there is none."""
    value = found.get(key) or {}
    if not isinstance(value, dict):
        raise refused(f"{of} has {shown(key)} {shown(value)} in place of an object; copy the file again")
    return value


def _check_order(name: str, method: str, found: Mapping[str, Any]) -> None:
    """Check that no group of weights is in the order of its activations; with one group the order changes nothing."""
    rules = _table(found, "dynamic", of=f"{name} of {method}")
    own = [rule for pattern, rule in rules.items() if isinstance(rule, dict) and not pattern.startswith("-:")]
    base = {key: found[key] for key in ("desc_act", "group_size")}
    if any(one["desc_act"] and one["group_size"] != -1 for one in (base, *({**base, **rule} for rule in own))):
        raise refused(f"{name} of {method} has desc_act true, which the engine loads no more: {_IN_ORDER}")


def _check_compressed(name: str, found: Mapping[str, Any]) -> None:
    of = f"{name} of compressed-tensors"
    groups = _table(found, "config_groups", of=of)
    weights = [_table(_table(groups, key, of=of), "weights", of=of) for key in groups]
    order = next((one["actorder"] for one in weights if one.get("actorder") in (True, "group", "dynamic")), None)
    if order is not None:
        raise refused(f"{of} has the actorder {shown(order)}, which is not served any more: {_IN_ORDER}")
    if _table(found, "sparsity_config", of=of).get("targets"):
        raise refused(f"{of} has a sparsity_config, which the engine serves no more: {_INSTEAD}")


def _check_fp8(name: str, found: Mapping[str, Any]) -> None:
    scheme, block = found["activation_scheme"], found.get("weight_block_size")
    if scheme not in ("static", "dynamic"):
        raise refused(f"{name} of fp8 has the activation_scheme {shown(scheme)}, served are static and dynamic")
    if block is None:
        return
    if not isinstance(block, list) or len(block) != 2:
        raise refused(f"{name} of fp8 has the weight_block_size {shown(block)} in place of two numbers")
    if scheme != "dynamic":
        raise refused(f"{name} of fp8 has blocks and the activation_scheme {scheme}, served is dynamic")


def _mixed_layers(folder: Folder, found: Mapping[str, Any]) -> bool:
    """Return whether the folder says by which method each layer is quantized, which ModelOpt's mixture needs."""
    if "quantized_layers" in found:
        return bool(found["quantized_layers"])
    beside = folder.read_json(HF_QUANT).get("quantization") if HF_QUANT in folder.names else None
    return isinstance(beside, dict) and bool(beside.get("quantized_layers"))
