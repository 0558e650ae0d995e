"""Reload of quantized weights: stock vLLM does it, and here is seen to it that the result is that of a fresh load.

Stock vLLM 0.32 gives each layer empty parameters as they were before its first load, loads them, processes them (packs,
transposes) and copies the result over what the kernels use. Two things are wrong with that. A parameter that no file
carries keeps whatever the empty memory held: fbgemm_fp8's ``input_scale_ub``, which is made from config.json. It keeps
its value here. And a tensor that the files lack is not missed: here all files are looked through first.

Afterwards no tensor may lie elsewhere than before, since captured graphs compute with its old address.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.model_loader.default_loader import _CONFIG_BUILT_PARAMS
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
from vllm.model_executor.models.utils import _get_tied_embedding_params

from llama_serving.cell.rank.reload_plan import IncompleteError, plan_reload
from llama_serving.config.model import SWAPPABLE_QUANTIZATION

_NOT_COUNTED: Final = 0  # elements that stock waits for before it takes a layer for loaded


def reload_quantized(worker: Any, path: str, *, names: frozenset[str]) -> None:
    """Load the weights of a folder whose files hold the tensors ``names`` into a vLLM worker's quantized model.

    Raises:
        IncompleteError: the folder lacks something, or the engine's method is not reloaded; nothing was touched.
        RuntimeError: a tensor was moved; the model may not be used.
    """
    model, config = worker.model_runner.get_model(), worker.vllm_config
    method = "" if config.quant_config is None else str(config.quant_config.get_name())
    if method not in SWAPPABLE_QUANTIZATION or config.lora_config is not None:
        raise IncompleteError(f"weights quantized by {method or 'no known method'} are not swapped in a running engine")
    check_complete(model, names)
    keep_config_built(model)
    before = addresses(model)
    worker.reload_weights(weights_path=path)
    moved = sorted(name for name, address in addresses(model).items() if before.get(name, address) != address)
    if moved:
        raise RuntimeError(
            f"{moved[0]} lies elsewhere after the reload of {Path(path).name}, as {len(moved)} tensors do"
        )


def check_complete(model: Any, names: frozenset[str]) -> None:
    """Check that the files carry every parameter as it was before its first load, but for those of config.json.

    Raises:
        IncompleteError: they do not.
    """
    plan_reload(
        names,
        parameters=list(_loaded_parameters(model)),
        stacked=model.model.hf_to_vllm_mapper.orig_to_new_stacked,
        is_elsewhere=lambda _: True,  # scales of the KV cache, indices of activations: stock knows what it leaves out
    )


def _loaded_parameters(model: Any) -> Iterator[str]:
    shared = _get_tied_embedding_params(model)
    for prefix, module in model.named_modules():
        if is_deferred_attention_layer(module):
            continue  # scales of the KV cache: stock gives those that no file carries their default anew
        for name in get_layerwise_info(module).restore_metadata[0]:
            full = f"{prefix}.{name}"
            if name not in _CONFIG_BUILT_PARAMS and full not in shared:
                yield full


def keep_config_built(model: Any) -> None:
    """Let stock give the parameters that are made from config.json the value that they have, not that of empty memory.

    The value is that of the new weights too: with another quantization_config the engine is started anew.
    """
    for module in model.modules():
        before_load = get_layerwise_info(module).restore_metadata[0]
        for name in _CONFIG_BUILT_PARAMS:
            present = getattr(module, name, None)
            if present is not None and name in before_load:
                kept = torch.nn.Parameter(present.detach().clone(), requires_grad=False)
                kept.weight_loader_numel = _NOT_COUNTED
                before_load[name] = kept


def addresses(model: Any) -> dict[str, int]:
    """Return where each tensor lies that a captured graph may read: parameters, buffers, what else is on the device."""
    found = dict([*model.named_parameters(), *model.named_buffers()])
    for prefix, module in model.named_modules():
        others = ((name, value) for name, value in vars(module).items() if isinstance(value, torch.Tensor))
        found |= {f"{prefix}.{name}": tensor for name, tensor in others if tensor.device.type != "cpu"}
    return {name: tensor.data_ptr() for name, tensor in found.items() if tensor.numel()}
