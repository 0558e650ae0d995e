"""Reloads against fresh loads on two ranks, bit for bit: ``python -m tests.serving.reload.ranks RANK FOLDER``.

Every case takes one checkpoint, reloads another, and compares all parameters, and what the packed layers compute, with
a model that vLLM loads from the second. Run by ``test_reload.py``, a process a rank; prints one line of JSON.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llama_serving.cell.shared.adapters.room import adapter_kwargs
from llama_serving.config.cell import AdapterLimits

CASES = [
    # first and second checkpoint, stages, devices of a stage, dtype, layers wrapped for LoRA adapters
    ("a", "b", 2, 1, "bfloat16", False),
    ("a", "b", 1, 2, "bfloat16", False),
    ("a", "b", 2, 1, "float32", False),
    ("tied-a", "tied-b", 2, 1, "bfloat16", False),
    ("tied-a", "tied-b", 1, 2, "float32", False),
    ("a", "b", 2, 1, "bfloat16", True),
    ("a", "b", 1, 2, "float32", True),
    ("tied-a", "tied-b", 2, 1, "bfloat16", True),
]
LIMITS = AdapterLimits(slots=2, held=3, max_rank=8)


def engine_config(folder: Path, *, layout: tuple[int, int], dtype: str, rank: int, lora: bool) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    (pipeline, tensor), more = layout, adapter_kwargs(LIMITS if lora else None)
    arguments = EngineArgs(model=str(folder), skip_tokenizer_init=True, dtype=dtype, enforce_eager=True, **more)
    config = arguments.create_engine_config()
    config.parallel_config.pipeline_parallel_size = pipeline
    config.parallel_config.tensor_parallel_size = tensor
    config.parallel_config.rank = rank
    return config


def load(config: Any, folder: Path) -> Any:
    from vllm.model_executor.model_loader import get_model

    config.model_config.model = str(folder)
    config.compilation_config.static_forward_context.clear()
    model = get_model(vllm_config=config)
    return model if config.lora_config is None else wrapped(model, config)


def wrapped(model: Any, config: Any) -> Any:
    """The model as a rank of an engine with LoRA adapters has it."""
    import torch
    from vllm.lora.worker_manager import LRUCacheWorkerLoRAManager

    manager = LRUCacheWorkerLoRAManager(config, torch.device("cpu"), model.embedding_modules)
    return manager.create_lora_manager(model, config)


def compare(config: Any, first: Path, second: Path) -> list[str]:
    """Names of what differs."""
    from benchmarks.reload import prints
    from llama_serving.cell.rank.reload import reload_weights

    model = load(config, first)
    before = prints(model)
    worker = SimpleNamespace(model_runner=SimpleNamespace(get_model=lambda: model), vllm_config=config)
    assert reload_weights(worker, str(second)) > 0
    mine, theirs = prints(model), prints(load(config, second))
    unchanged = [f"{name} kept" for name in mine if mine[name] == before[name] and "norm" not in name]
    return unchanged + [name for name in theirs if mine.get(name) != theirs[name]] + sorted(mine.keys() - theirs.keys())


def main(rank: int, folder: Path) -> None:
    from vllm.config import set_current_vllm_config
    from vllm.distributed import (
        destroy_model_parallel,
        init_distributed_environment,
        initialize_model_parallel,
    )

    found = {}
    for number, (first, second, pipeline, tensor, dtype, lora) in enumerate(CASES):
        config = engine_config(folder / first, layout=(pipeline, tensor), dtype=dtype, rank=rank, lora=lora)
        os.environ["VLLM_DIST_IDENT"] = f"{os.getppid()}-{number}"  # in the name of the memory that the ranks share
        with set_current_vllm_config(config):
            if number == 0:
                init_distributed_environment(2, rank, f"file://{folder}/store", rank, "gloo")
            initialize_model_parallel(tensor, pipeline)
            found[f"{first} -> {second}, {pipeline} x {tensor}, {dtype}, lora {lora}"] = compare(
                config, folder / first, folder / second
            )
            destroy_model_parallel()
    print(json.dumps(found))


main(int(sys.argv[1]), Path(sys.argv[2]))
