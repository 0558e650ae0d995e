"""What vLLM makes of the config of a cell on paper GPUs: ``python -m tests.serving.configs.verdicts < requests``.

A config is built as a replica builds it, by Ray Serve LLM out of ``llm_config``. One process for all of them, because
its imports take most of the time. Prints one line of JSON: by request, the refusal or what was configured.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.serving.configs import paper_gpu

GPUS = {name: gpu for name, gpu in vars(paper_gpu).items() if isinstance(gpu, paper_gpu.Gpu)}


def configure(gpu: str, folder: str, cell: dict[str, Any]) -> dict[str, Any]:
    """Return what vLLM configured, or its refusal."""
    from ray.llm._internal.serve.engines.vllm.vllm_engine import _get_vllm_engine_config
    from ray.serve.llm import LLMConfig

    from llama_serving.cell.shared.engine_args import devices, llm_config
    from llama_serving.cell.shared.model_facts import model_facts
    from llama_serving.config.cell import CellConfig
    from llama_serving.weights.model.chat import chat_facts

    config = CellConfig.model_validate(cell)
    os.environ["VLLM_RAY_BUNDLE_INDICES"] = ",".join(str(rank) for rank in range(devices(config)))
    paper_gpu.use(GPUS[gpu])
    try:
        model, chat = model_facts(Path(folder), whole=False), chat_facts(Path(folder))
        options = llm_config(config, model=model, chat=chat, path=folder)
        _, found = _get_vllm_engine_config(LLMConfig(**options))
    except Exception as error:  # whatever ends the engine is its refusal
        return {"refusal": f"{type(error).__name__}: {error}"}
    return {
        "refusal": "",
        "ranks": found.parallel_config.world_size,
        "backend": found.parallel_config.distributed_executor_backend,
        "worker": found.parallel_config.worker_cls,
        "quantization": found.model_config.quantization or "",
        "cache": found.cache_config.cache_dtype,
        "block": found.cache_config.block_size,
        "share": found.cache_config.gpu_memory_utilization,
        "graphs": str(found.compilation_config.cudagraph_mode),
        "context": found.model_config.max_model_len,
        "keys": list(_keys(found, folder)),
    }


def _keys(config: Any, folder: str) -> tuple[bool, bool]:
    """Return whether vLLM's key of compiled code is that of the same model elsewhere: stock, and ours."""
    from ray import cloudpickle

    from llama_serving.cell.replica.compile_key import forget_path

    stock = _is_same_elsewhere(config.model_config, folder)
    engine = SimpleNamespace(_prepare_engine_config=lambda _: (None, None, config))
    forget_path(engine)
    *_, prepared = engine._prepare_engine_config(None)
    in_a_rank = cloudpickle.loads(cloudpickle.dumps(prepared.model_config))
    assert in_a_rank.model == folder
    return stock, _is_same_elsewhere(in_a_rank, folder)


def _is_same_elsewhere(model: Any, folder: str) -> bool:
    before = model.compute_hash()
    model.model = f"{folder}-elsewhere"
    after = model.compute_hash()
    model.model = folder
    return bool(before == after)


def main() -> None:
    """Answer a JSON object of the arguments of ``configure`` by name."""
    requests = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        paper_gpu.install()
        found = {name: configure(**request) for name, request in requests.items()}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "CRITICAL")
    main()
