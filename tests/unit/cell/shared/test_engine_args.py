"""What follows from a cell's config: engine, bundles, Serve's document, Ray's command lines."""

from pathlib import Path
from typing import Any

import pytest

from llama_serving.cell.ray.command import head_command, worker_command
from llama_serving.cell.shared.engine_args import bundle_selectors, engine_environment, llm_config
from llama_serving.cell.shared.kv_cache import default_kv_cache_bytes, token_bytes
from llama_serving.cell.shared.serve_config import deployment_options, serve_document
from llama_serving.cell.shared.weights_ref import from_user_config
from tests.unit.cell.worlds import OLD, config, facts, identity

GPU: dict[str, Any] = {"pipeline": 2, "tensor": 8, "device": "gpu"}


def test_a_cell_of_two_gpu_stages_is_stock_ray_serve_llm() -> None:
    cell = config(**GPU, context_length=131072, max_num_seqs=128, engine_options={"gpu_memory_utilization": 0.93})
    assert llm_config(cell, model=facts(), path="/models/m") == {
        "model_loading_config": {"model_id": "llama", "model_source": "/models/m"},
        "engine_kwargs": {
            "enable_prefix_caching": True,
            "gpu_memory_utilization": 0.93,
            "dtype": "auto",
            "max_model_len": 131072,
            "max_num_seqs": 128,
            "pipeline_parallel_size": 2,
            "tensor_parallel_size": 8,
            "trust_remote_code": False,
            "worker_extension_cls": "llama_serving.cell.rank.worker_extension.StageReport",
        },
        "accelerator_config": {"kind": "gpu"},
        "placement_group_config": {"bundle_per_worker": {"GPU": 1, "CPU": 1}, "strategy": "PACK"},
        "log_engine_metrics": False,
    }
    environment = engine_environment(cell)
    assert environment["VLLM_RAY_BUNDLE_INDICES"] == ",".join(map(str, range(16)))
    assert not {"RAYLLM_VLLM_ENGINE_CLS", "OMP_NUM_THREADS"} & set(environment)


def test_each_bundle_is_pinned_to_the_pod_of_its_stage() -> None:
    assert bundle_selectors(config(**GPU)) == [{"stage": "0"}] * 8 + [{"stage": "1"}] * 8
    options = deployment_options(config(**GPU))
    assert options["placement_group_bundles"] == [{"GPU": 1, "CPU": 1}] * 16
    assert options["placement_group_bundle_label_selector"] == bundle_selectors(config(**GPU))
    assert options["ray_actor_options"] == {"num_cpus": 0}


def test_a_cpu_cell_gets_our_executor_no_compilation_and_a_bounded_cache() -> None:
    cell = config(cpus_per_stage=3)
    kwargs = llm_config(cell, model=facts(), path="/models/m")["engine_kwargs"]
    assert kwargs["enforce_eager"] is True
    assert kwargs["kv_cache_memory_bytes"] == 64 << 20
    environment = engine_environment(cell)
    assert environment["RAYLLM_VLLM_ENGINE_CLS"] == "llama_serving.cpu.engine.CpuStagesEngine"
    assert environment["OMP_NUM_THREADS"] == "3"


def test_engines_never_ask_the_internet() -> None:
    assert engine_environment(config())["HF_HUB_OFFLINE"] == "1"
    assert engine_environment(config())["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"kv_cache_memory_bytes": 1 << 30}, "kv_cache_memory_bytes", 1 << 30),
        ({"enforce_eager": False}, "enforce_eager", False),
        ({"pipeline_parallel_size": 7}, "pipeline_parallel_size", 2),
        ({"trust_remote_code": True}, "trust_remote_code", False),
        ({"max_model_len": 9}, "max_model_len", 512),
    ],
)
def test_options_of_the_user_win_over_defaults_but_not_over_the_spec(
    options: dict[str, Any], key: str, value: object
) -> None:
    assert llm_config(config(engine_options=options), model=facts(), path="/models/m")["engine_kwargs"][key] == value


@pytest.mark.parametrize(
    ("model", "context", "expected"),
    [
        # SmolLM2 in two stages: 15 layers x 2 x 3 heads x 64 x 2 bytes = 11 520 bytes a token.
        (facts(), 512, 64 << 20),
        (facts(), 8192, 4 * (8192 + 128) * 11_520),
        # One context alone is more than the most that the default takes.
        (facts(layers=80, kv_heads=64, head_dim=128), 8192, (8192 + 128) * 2 * 40 * 64 * 128 * 2),
        (facts(dtype="float32"), 8192, 4 * (8192 + 128) * 23_040),
    ],
)
def test_the_default_cache_holds_four_contexts(model: Any, context: int, expected: int) -> None:
    assert default_kv_cache_bytes(model, pipeline=2, context_length=context, dtype="auto") == expected


def test_the_stage_with_the_most_layers_counts() -> None:
    assert token_bytes(facts(layers=3), pipeline=2, dtype="bfloat16") == 2 * 2 * 3 * 64 * 2


def test_serves_document_is_a_function_of_the_config() -> None:
    document = serve_document(config(), OLD)
    assert document == serve_document(config(), OLD)
    [app] = document["applications"]
    assert app["import_path"] == "llama_serving.cell.replica.app:build"
    assert app["deployments"] == [{"name": "cell", "user_config": OLD.user_config()}]
    assert from_user_config(OLD.user_config()) == OLD
    assert document["proxy_location"] == "Disabled"


def test_the_head_listens_on_the_pods_address_only() -> None:
    command = head_command(identity(), python="py", temp=Path("/t"), base={"HOME": "/tmp"}, interface="eth0")
    assert command.arguments[:5] == ("py", "-m", "llama_serving.cell.ray.start", "start", "--head")
    assert {"--node-ip-address=10.0.0.1", "--dashboard-host=10.0.0.1", "--labels=stage=0", "--block"} <= set(
        command.arguments
    )
    assert command.environment["HOME"] == "/tmp"
    assert command.environment["RAY_AUTH_MODE"] == "token"
    assert command.environment["RAY_AUTH_TOKEN_PATH"] == "/token"
    assert "RAY_preload_python_modules" not in command.environment


def test_a_worker_joins_the_leaders_address_and_imports_ahead() -> None:
    command = worker_command(
        identity(1, **GPU), leader_ip="10.0.0.1", python="py", temp=Path("/t"), base={}, interface="eth0"
    )
    assert {"--address=10.0.0.1:6379", "--labels=stage=1", "--num-gpus=8", "--num-cpus=8"} <= set(command.arguments)
    assert "--head" not in command.arguments
    assert command.environment["RAY_preload_python_modules"].startswith("vllm.")
    assert command.environment["VLLM_HOST_IP"] == "10.0.0.2"
