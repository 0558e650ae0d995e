"""Reload: other weights into the parameters that are there; each file is read once, out of the page cache's own pages.

The files are mapped, and every tensor is handed to its parameter's own weight loader, which takes this rank's share of
it, converts it where types differ and copies it in place. No parameter is allocated anew. Stock vLLM 0.32 collects a
layer's tensors, allocates the layer again, copies into it and copies that into the old place.

On CPU vLLM keeps linear layers packed by oneDNN and throws the parameter away. Those are filled into one buffer that
all layers share (or, where a tensor is the whole parameter, not copied at all) and packed again; packing is what takes
the time then. Where a model is not one of plain parameters (quantized) stock does the work: see quantized_reload.
"""

from pathlib import Path
from typing import Any, Final

import torch
from vllm.config import set_current_vllm_config
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    UnquantizedEmbeddingMethod,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload.layerwise import _get_original_loader, get_layerwise_info
from vllm.model_executor.model_loader.reload.sanitize import restore_layer_refs
from vllm.model_executor.models.utils import _get_tied_embedding_params, is_pp_missing_parameter

from llama_serving.cell.rank.checkpoint import CheckpointFiles
from llama_serving.cell.rank.quantized_reload import reload_quantized
from llama_serving.cell.rank.reload_plan import IncompleteError, Piece, plan_reload

_UNUSED: Final = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
_PLAIN: Final = (UnquantizedLinearMethod, UnquantizedEmbeddingMethod)
_WRAPPED: Final = ".base_layer."  # in the name of a parameter whose layer vLLM wrapped for LoRA adapters


def reload_weights(worker: Any, path: str) -> int:
    """Load the weights of a folder into a vLLM worker's model; return the bytes of the tensors that were read.

    Raises:
        IncompleteError: the folder lacks something that this stage needs, or the method of the weights is not one that
            is reloaded; nothing was touched.
        Exception: anything else that went wrong; the model may hold parts of two weights.
    """
    model, config = worker.model_runner.get_model(), worker.vllm_config
    files = CheckpointFiles(Path(path))
    if not is_plain(model, config):
        reload_quantized(worker, path, names=files.names)
        return sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))
    with torch.no_grad(), set_current_vllm_config(config):
        ModelReload(model, files).run()
    config.model_config.model = path
    return files.bytes


def is_plain(model: torch.nn.Module, config: Any) -> bool:
    """Return whether what is in the files is what is in the parameters, packed at most."""
    methods = (getattr(module, "quant_method", None) for module in model.modules())
    quantized = any(isinstance(method, QuantizeMethodBase) and not isinstance(method, _PLAIN) for method in methods)
    known = hasattr(getattr(model, "model", None), "hf_to_vllm_mapper")  # says which tensors are fused
    return known and config.quant_config is None and not quantized


class ModelReload:
    """One load of all parameters of a model."""

    def __init__(self, model: torch.nn.Module, files: CheckpointFiles) -> None:
        self._model = model
        self._wrapped = {name.replace(_WRAPPED, "."): name for name, _ in model.named_parameters()}
        self._files = files
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def run(self) -> None:
        """Plan, then fill parameter after parameter."""
        todo = self._plan()
        for parameter, pieces in todo.items():
            try:
                self._fill(self._wrapped[parameter], pieces)
            except (AssertionError, RuntimeError, ValueError) as error:
                shapes = ", ".join(f"{piece.name} {list(self._files.tensor(piece.name).shape)}" for piece in pieces)
                raise ValueError(f"{shapes} does not fit into {parameter}: {error}") from error
        for module in self._model.modules():
            if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
                _repack_vocabulary(module)

    def _plan(self) -> dict[str, list[Piece]]:
        shared = _get_tied_embedding_params(self._model)
        self._check_shared(shared)
        return plan_reload(
            self._files.names,
            parameters=list(self._wrapped),
            stacked=self._model.model.hf_to_vllm_mapper.orig_to_new_stacked,
            is_elsewhere=lambda name: (
                name in shared or name.endswith(_UNUSED) or is_pp_missing_parameter(name, self._model)
            ),
        )

    def _check_shared(self, shared: dict[str, str]) -> None:
        """Refuse weights with a head of their own for an engine whose head is its embedding."""
        for name, canonical in shared.items():
            if {name, canonical} <= self._files.names and not torch.equal(
                self._files.tensor(name), self._files.tensor(canonical)
            ):
                raise IncompleteError(f"the files hold a {name} of its own, and this engine shares it with {canonical}")

    def _fill(self, parameter: str, pieces: list[Piece]) -> None:
        module = self._model.get_submodule(parameter.rpartition(".")[0])
        if is_packed(module):
            self._repack(module, pieces)
        else:
            self._copy(self._model.get_parameter(parameter), pieces)

    def _copy(self, target: torch.Tensor, pieces: list[Piece]) -> None:
        loader = _get_original_loader(target)  # a stock reload leaves a wrapper behind that loads nothing any more
        for piece in pieces:
            tensor = self._files.tensor(piece.name)
            if piece.shard is None:
                loader(target, tensor)
            else:
                loader(target, tensor, piece.shard)

    def _repack(self, module: Any, pieces: list[Piece]) -> None:
        empty = module.weight
        module.cpu_linear = None  # gives its memory back before the new one asks for as much
        shape = get_layerwise_info(module).restore_metadata[0]["weight"]
        whole = self._files.tensor(pieces[0].name) if len(pieces) == 1 else None
        try:
            if whole is not None and (whole.shape, whole.dtype) == (shape.shape, shape.dtype):
                module.weight = torch.nn.Parameter(whole, requires_grad=False)
            else:
                module.weight = self._buffer_as(shape, module)
                self._copy(module.weight, pieces)
            module.quant_method.process_weights_after_loading(module)
        except Exception:
            module.weight = empty  # still a packed layer for the next load
            raise

    def _buffer_as(self, shape: torch.Tensor, module: Any) -> torch.Tensor:
        """Return the shared buffer as the parameter that the module was made with."""
        if self._buffer.numel() < shape.nbytes:
            self._buffer = torch.empty(shape.nbytes, dtype=torch.uint8)
        buffer = self._buffer[: shape.nbytes].view(shape.dtype).view(shape.shape)
        buffer.__class__ = shape.__class__
        buffer.__dict__ = shape.__dict__.copy()
        return restore_layer_refs(buffer, module)


def _repack_vocabulary(module: Any) -> None:
    """Pack the copy beside the matrix anew: a head computes with it (a tied one was filled under the embedding's name).

    vLLM makes one of an embedding too, and never uses it: it goes, rather than stay as it was.
    """
    module.cpu_linear = None
    if isinstance(module, ParallelLMHead):
        module.quant_method.process_weights_after_loading(module)


def is_packed(module: Any) -> bool:
    """Return whether a linear layer's parameter is gone: its matrix is in a layout that only its kernel knows."""
    return isinstance(module, LinearBase) and hasattr(module, "cpu_linear") and module.weight.numel() == 0
