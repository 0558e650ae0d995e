"""Ray Serve LLM as one would run it without us: two replicas of a model, updated by deploying the app again.

``python -m benchmarks._serve_rolling PORT NAME`` runs in the serving environment and starts a Ray of its own on this
machine. Each line of its input is the folder of a model: the app is deployed with it, and ``serving`` is printed when
Serve says that all replicas are new. It ends with its input.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

REPLICAS = 2
CONTEXT_LENGTH = 512
BATCH = 8


def main(port: int, name: str) -> None:
    """Deploy what the input says; whatever Ray writes is gone afterwards."""
    from llama_serving.cell.engine_options import engine_environment, engine_kwargs
    from llama_serving.cell.model_facts import model_facts
    from llama_serving.config.cell import CellConfig, Layout, Weights

    def cell(path: str) -> CellConfig:
        return CellConfig(
            deployment=name, namespace="bench", group=0, revision="r1", stage_hosts=("127.0.0.1",),
            weights=Weights(path=path, id=path, served_name=name), layout=Layout(pipeline=1, tensor=1, device="cpu"),
            context_length=CONTEXT_LENGTH, dtype="float32", max_num_seqs=BATCH,
        )  # fmt: skip

    os.environ.update(engine_environment(cell("/")))
    # The replicas' ranks come in no order here: each has one.
    os.environ.pop("VLLM_RAY_BUNDLE_INDICES")
    import ray
    from ray import serve
    from ray.serve.llm import LLMConfig, build_openai_app

    def deploy(path: str) -> None:
        options: dict[str, Any] = {
            "model_loading_config": {"model_id": name, "model_source": path},
            "engine_kwargs": {
                key: value
                for key, value in engine_kwargs(cell(path), model=model_facts(Path(path), whole=True)).items()
                if key != "worker_extension_cls"
            },
            "accelerator_config": {"kind": "cpu"},
            "placement_group_config": {"bundle_per_worker": {"CPU": 1}, "strategy": "PACK"},
            "deployment_config": {"num_replicas": REPLICAS},
            "log_engine_metrics": False,
        }
        serve.run(build_openai_app({"llm_configs": [LLMConfig(**options)]}), route_prefix="/")

    with tempfile.TemporaryDirectory(prefix="bench-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(address="local", num_cpus=16, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        http: dict[str, Any] = {"host": "127.0.0.1", "port": port}
        serve.start(http_options=http)
        for line in sys.stdin:
            deploy(line.strip())
            print("serving", flush=True)
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
