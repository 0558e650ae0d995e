"""Ray Serve LLM's own rolling update; runs in the serving environment.

``python -m benchmarks._serve_rollout PORT FOLDER MODEL REVISION [--surge]`` starts a Ray of its own on this machine and
deploys two replicas of the model in FOLDER/REVISION behind Serve's HTTP proxy, by ``ray.serve.llm``'s own application.
A replica has one stage: of two, the second dies on CPU at the first request with stock vLLM (docs/reference/cell.md,
"CPU stages"). Then each line of its input is a revision that it updates to by ``serve.run``; it answers with a line,
``REVISION SECONDS PEAK``, when Serve says that the update is done: PEAK is the largest number of replicas that had
begun and not ended, seen twice a second. It ends with its input.
"""

import argparse
import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.llm import LLMConfig, build_openai_app

from benchmarks._own_serve import own_serve

APP, REPLICAS = "llama", 2
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_MQ_MAX_CHUNK_BYTES_MB": "2",
    "TORCHDYNAMO_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
}
"""As in a cell on CPU."""


def application(model: str, path: Path, *, surge: bool) -> Application:
    """Two replicas of the model and the ingress that ``ray.serve.llm`` puts in front, on CPU slots."""
    config = LLMConfig(
        model_loading_config={"model_id": model, "model_source": str(path)},
        engine_kwargs={
            "dtype": "float32",
            "max_model_len": 512,
            "max_num_seqs": 8,
            "enforce_eager": True,
            "kv_cache_memory_bytes": 64 << 20,
        },
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundle_per_worker": {"CPU": 1}, "strategy": "PACK"},
        log_engine_metrics=False,
        deployment_config={"num_replicas": REPLICAS, "max_ongoing_requests": 1000} | updating(surge=surge),
    )
    ingress = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0}} | updating(surge=surge)
    return build_openai_app({"llm_configs": [config], "ingress_deployment_config": ingress})


def updating(*, surge: bool) -> dict[str, Any]:
    """Return Serve's options for an update: its default (one away, then one new), or new replicas first."""
    return {"max_surge_percent": 100} if surge else {}


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """Numbers of replicas of the model while the block runs."""
    counts, ended = [0], threading.Event()

    def count() -> None:
        while not ended.wait(0.5):
            found = serve.status().applications.get(APP)
            models = [one for name, one in found.deployments.items() if "LLMServer" in name] if found else []
            counts.append(sum(sum(one.replica_states.values()) for one in models))

    watch = threading.Thread(target=count)
    watch.start()
    try:
        yield counts
    finally:
        ended.set()
        watch.join()


def main() -> None:
    """Serve, and update as told, until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks._serve_rollout", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("revision")
    parser.add_argument("--surge", action="store_true")
    asked = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    with own_serve(asked.port, slots=16):
        for revision in itertools.chain([asked.revision], map(str.strip, sys.stdin)):
            started = time.monotonic()
            with counted() as counts:
                app = application(asked.model, asked.folder / revision, surge=asked.surge)
                serve.run(app, name=APP, route_prefix="/")
            print(revision, f"{time.monotonic() - started:.1f}", max(counts), flush=True)


if __name__ == "__main__":
    main()
