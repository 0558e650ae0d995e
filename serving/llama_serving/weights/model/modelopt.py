"""Weights that NVIDIA's ModelOpt quantized: it names an algorithm, and by that the engine chooses its method.

Two forms: ``{"producer": ..., "quantization": {"quant_algo": ...}}`` in hf_quant_config.json or in config.json, and
``{"quant_method": "modelopt", "quant_algo": ...}`` in config.json. The engine takes fewer algorithms in the first.
Source: vLLM 0.32, ``_normalize_quantization_config`` and ``model_executor/layers/quantization/modelopt.py``.
"""

from collections.abc import Mapping
from typing import Any, Final

from llama_serving.weights.model.errors import refused, shown, shown_list

_METHOD: Final = "modelopt"
_NESTED: Final = "quantization"
# Algorithm -> method of the engine.
_METHODS: Final = {
    "FP8": "modelopt",
    "FP8_PER_CHANNEL_PER_TOKEN": "modelopt",
    "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4",
    "W4A16_NVFP4": "modelopt_fp4",
    "MXFP8": "modelopt_mxfp8",
    "MIXED_PRECISION": "modelopt_mixed",
}
_OLD_FORM: Final = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4")
_NVFP4_FIELDS: Final = ("group_size", "kv_cache_quant_algo", "exclude_modules")


def names_modelopt(found: Mapping[str, Any]) -> bool:
    """Return whether this is ModelOpt's older form, which names no quant_method."""
    return "quant_method" not in found and _is_old_form(found)


def _is_old_form(found: Mapping[str, Any]) -> bool:
    producer, nested = found.get("producer"), found.get(_NESTED)
    by_name = isinstance(producer, dict) and producer.get("name") == _METHOD
    return isinstance(nested, dict) and (by_name or "modelopt_quant_config" in nested)


def modelopt_method(name: str, found: Mapping[str, Any], *, layers: bool) -> str:
    """Return the engine's method; empty where only the KV cache is quantized.

    ``name`` is where the description stands, ``layers``: it is said by which algorithm each layer is quantized.

    Raises:
        RefusedError: the engine serves no such algorithm.
    """
    nested = found.get(_NESTED)
    fields = nested if isinstance(nested, dict) else found
    algorithm, method = fields.get("quant_algo"), str(found.get("quant_method", ""))
    if not algorithm and method in ("", _METHODS["MXFP8"]):
        return method
    word = str(algorithm).upper() if algorithm else ""
    served = _OLD_FORM if _is_old_form(found) else tuple(_METHODS)
    if word not in served:
        said = f"has the quant_algo {shown(algorithm)}" if algorithm else "names no quant_algo"
        raise refused(
            f"{name} of ModelOpt {said}, the engine serves {', '.join(served)}: export the model in one of them"
        )
    _check_fields(name, fields, word=word, nested=fields is nested)
    if word == "MIXED_PRECISION" and not layers:
        raise refused(f"{name} of ModelOpt has the quant_algo {word} without quantized_layers: export the model again")
    return _METHODS[word]


def _check_fields(name: str, fields: Mapping[str, Any], *, word: str, nested: bool) -> None:
    absent = [key for key in _NVFP4_FIELDS if key not in fields] if nested and word == "NVFP4" else []
    if absent:
        raise refused(f"{name} of ModelOpt lacks {shown_list(absent)}, which {word} needs: export the model again")
    ignored = fields.get("exclude_modules" if nested else "ignore", [])
    if not isinstance(ignored, list):
        raise refused(f"{name} of ModelOpt must list the modules that are not quantized and has {shown(ignored)}")
