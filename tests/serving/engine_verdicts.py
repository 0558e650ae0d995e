"""The engine's own verdict on model folders, without a device: ``python -m tests.serving.engine_verdicts < requests``.

A folder is read as a cell has it read: with the arguments of ``engine_kwargs``. The engine builds its configuration and
that of the quantization method, opens the weights, and for weights that are not quantized builds the model on the CPU
and loads it. The kernels of most quantization methods exist for GPUs alone, so that those models end with their
configuration: a CPU's refusal would say nothing of the model. One process for all folders, because vLLM takes long to
import.
"""

import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import safe_open
from vllm.config import ModelConfig, set_current_vllm_config
from vllm.config.lora import MaxLoRARanks
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.layers import quantization, rotary_embedding
from vllm.model_executor.model_loader import get_model_loader
from vllm.model_executor.model_loader.utils import initialize_model, process_weights_after_loading
from vllm.model_executor.model_loader.weight_utils import get_quant_config
from vllm.transformers_utils import repo_utils
from vllm.utils.torch_utils import set_default_torch_dtype


class _NoPause:
    """In place of ``time``: a folder on a disk that cannot be read is not read better two seconds later."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Return at once."""


def main() -> None:
    """Answer a JSON list of the arguments of ``_verdict`` with a list of verdicts, and with the engine's methods."""
    requests = json.load(sys.stdin)
    repo_utils.time = _NoPause
    with redirect_stdout(sys.stderr):
        verdicts = [_verdict(**request) for request in requests]
    methods = {
        "known": quantization.QUANTIZATION_METHODS,
        "deprecated": quantization.DEPRECATED_QUANTIZATION_METHODS,
        "ranks": get_args(MaxLoRARanks),
    }
    json.dump({"verdicts": verdicts, "methods": methods}, sys.stdout)


def _verdict(path: str, kwargs: dict[str, Any], context: int, *, on_cpu: bool = False) -> dict[str, Any]:
    """Return what the engine says; ``context`` is the longest that the project takes, 0 where it refuses.

    ``on_cpu`` asks whether a CPU serves the model, kernels included.
    """
    rotary_embedding._ROPE_DICT.clear()  # it takes a factor of 4 for one of 4.0 that an earlier folder had
    try:
        args = EngineArgs(model=path, skip_tokenizer_init=True, **kwargs)
        model = args.create_model_config()
        found = {"quantization": model.quantization or "", "longest": _is_longest(model, context)}
        if on_cpu:
            _load(args, kernels=True)
        elif model.quantization:
            get_quant_config(model, args.create_load_config())
            _open_weights(args)
        else:
            _load(args)
    except Exception as error:  # whatever ends the engine is its refusal
        return {"refusal": f"{type(error).__name__}: {error}"}
    return {"refusal": "", **found}


def _is_longest(model: ModelConfig, context: int) -> bool:
    """Return whether ``context`` is the longest that the engine takes, by its own function."""
    model.get_and_verify_max_len(context)
    try:
        model.get_and_verify_max_len(context + 1)
    except ValueError:
        return True
    return False


def _open_weights(args: EngineArgs) -> None:
    loader = get_model_loader(args.create_load_config())
    _, files, _, _ = loader._prepare_weights(args.model, None, None, True, None)
    for file in files:
        with safe_open(file, framework="pt") as opened:
            opened.keys()


def _load(args: EngineArgs, *, kernels: bool = False) -> None:
    """Build the model on the CPU and load all weights into it; ``kernels``: and make of them what its kernels need."""
    config = args.create_engine_config()
    with set_current_vllm_config(config), set_default_torch_dtype(config.model_config.dtype):
        if not torch.distributed.is_initialized():
            meeting = Path(tempfile.mkdtemp()) / "meeting"
            init_distributed_environment(1, 0, f"file://{meeting}", 0, "gloo")
            initialize_model_parallel(1, 1)
        model = initialize_model(vllm_config=config)
        get_model_loader(config.load_config).load_weights(model, config.model_config)
        if kernels:
            process_weights_after_loading(model, config.model_config, torch.device("cpu"))


if __name__ == "__main__":
    main()
