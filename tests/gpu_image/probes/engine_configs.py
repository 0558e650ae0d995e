"""Builds the engine's configuration for each cell of a JSON list, on the GPUs that the paper driver shows.

Arguments: the file with the list, of {"cell": a CellConfig, "model": folder with its config.json}. Prints a line of
JSON for each: what vLLM chose, or why it refuses.
"""

import json
import os
import sys
from pathlib import Path

from llama_serving.cell.shared.engine_args import engine_environment, engine_kwargs
from llama_serving.cell.shared.model_facts import model_facts
from llama_serving.config.cell import CellConfig


def configured(config: CellConfig, model: Path) -> dict[str, object]:
    os.environ.update(engine_environment(config))
    kwargs = engine_kwargs(config, model=model_facts(model, whole=False))
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments = AsyncEngineArgs(model=str(model), distributed_executor_backend="ray", **kwargs)
    found = arguments.create_engine_config()
    return {
        "world": found.parallel_config.world_size,
        "graphs": str(found.compilation_config.cudagraph_mode),
        "quantization": found.model_config.quantization,
        "cache": str(found.cache_config.cache_dtype),
    }


for one in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
    try:
        said = configured(CellConfig.model_validate(one["cell"]), Path(one["model"]))
    except Exception as error:  # what vLLM has against it is the answer
        said = {"error": f"{type(error).__name__}: {error}"[:600]}
    print("CONFIG " + json.dumps(said), flush=True)
