"""Arguments and environment of the engine, by the config of the cell."""

from typing import Any

import pytest

from llama_serving.cell.shared.engine_args import chat_kwargs, engine_environment, llm_config
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.model import DEPRECATED_QUANTIZATION
from tests.unit.cell.worlds import config, facts

GPU: dict[str, Any] = {"pipeline": 2, "tensor": 8, "device": "gpu"}


def test_a_cell_of_two_gpu_stages() -> None:
    cell = config(
        **GPU,
        cpus_per_stage=50,
        context_length=131072,
        max_num_seqs=128,
        engine_options={"gpu_memory_utilization": 0.93},
    )
    assert llm_config(cell, model=facts(), chat=ChatFacts(), path="/models/m") == {
        "model_loading_config": {"model_id": "llama", "model_source": "/models/m"},
        "engine_kwargs": {
            "enable_prefix_caching": True,
            "gpu_memory_utilization": 0.93,
            "config_format": "hf",
            "load_format": "safetensors",
            "dtype": "auto",
            "max_model_len": 131072,
            "max_num_seqs": 128,
            "pipeline_parallel_size": 2,
            "tensor_parallel_size": 8,
            "trust_remote_code": False,
            "worker_extension_cls": "llama_serving.cell.rank.worker_extension.WorkerExtension",
        },
        "accelerator_config": {"kind": "gpu"},
        "placement_group_config": {"bundle_per_worker": {"GPU": 1, "CPU": 1}, "strategy": "PACK"},
        "log_engine_metrics": False,
    }
    environment = engine_environment(cell)
    assert environment["VLLM_RAY_BUNDLE_INDICES"] == ",".join(map(str, range(16)))
    assert environment["RAYLLM_VLLM_ENGINE_CLS"] == "llama_serving.gpu.engine.GpuStagesEngine"
    assert environment["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["OMP_NUM_THREADS"] == "6"


@pytest.mark.parametrize(("cpus", "threads"), [(1, "1"), (4, "1"), (17, "1"), (18, "2"), (64, "7"), (192, "8")])
def test_the_ranks_of_a_stage_share_its_cpus(cpus: int, threads: str) -> None:
    assert engine_environment(config(**GPU, cpus_per_stage=cpus))["OMP_NUM_THREADS"] == threads


def test_a_cpu_cell_gets_our_executor_no_compilation_and_a_bounded_cache() -> None:
    cell = config(cpus_per_stage=3)
    kwargs = llm_config(cell, model=facts(), chat=ChatFacts(), path="/models/m")["engine_kwargs"]
    assert kwargs["enforce_eager"] is True
    assert kwargs["kv_cache_memory_bytes"] == 64 << 20
    environment = engine_environment(cell)
    assert environment["RAYLLM_VLLM_ENGINE_CLS"] == "llama_serving.cpu.engine.CpuStagesEngine"
    assert environment["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("method", DEPRECATED_QUANTIZATION)
def test_a_deprecated_quantization_is_allowed_where_the_model_has_it(method: str) -> None:
    """Meta's own Llama-3.1-405B-Instruct-FP8 is quantized with fbgemm_fp8, which vLLM 0.32 serves only when told to."""
    model = facts().model_copy(update={"quantization": method})
    kwargs = llm_config(config(**GPU), model=model, chat=ChatFacts(), path="/models/m")["engine_kwargs"]
    assert kwargs["allow_deprecated_quantization"]


@pytest.mark.parametrize("method", ["", "fp8", "compressed-tensors"])
def test_what_is_not_deprecated_needs_no_permission(method: str) -> None:
    model = facts().model_copy(update={"quantization": method})
    kwargs = llm_config(config(**GPU), model=model, chat=ChatFacts(), path="/models/m")["engine_kwargs"]
    assert "allow_deprecated_quantization" not in kwargs


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
    cell = config(engine_options=options)
    assert llm_config(cell, model=facts(), chat=ChatFacts(), path="/models/m")["engine_kwargs"][key] == value


LLAMA_31 = ChatFacts(
    template="tokenizer_config.json",
    takes_tools=True,
    tools="llama3_json",
    tools_reason="so",
    tokens=("<|python_tag|>",),
)


@pytest.mark.parametrize(
    ("cell", "chat", "expected"),
    [
        ({}, ChatFacts(), {}),
        ({}, LLAMA_31, {"enable_auto_tool_choice": True, "tool_call_parser": "llama3_json"}),
        ({"tools": "off"}, LLAMA_31, {}),
        ({"tools": "pythonic"}, LLAMA_31, {"enable_auto_tool_choice": True, "tool_call_parser": "pythonic"}),
        ({}, ChatFacts(reasoning="deepseek_r1"), {"reasoning_parser": "deepseek_r1"}),
        ({"reasoning": "off"}, ChatFacts(reasoning="deepseek_r1"), {}),
        ({"chat_template": "/etc/llama/chat/t"}, ChatFacts(), {"chat_template": "/etc/llama/chat/t"}),
    ],
)
def test_parsers_come_from_the_spec_or_from_the_model(
    cell: dict[str, Any], chat: ChatFacts, expected: dict[str, Any]
) -> None:
    assert chat_kwargs(config(**cell), chat) == expected


def test_a_parser_that_does_not_fit_does_not_start_an_engine() -> None:
    with pytest.raises(ValueError, match=r"spec\.model\.tools is llama3_json, which needs the token <\|python_tag"):
        chat_kwargs(config(tools="llama3_json"), ChatFacts(template="chat_template.jinja", takes_tools=True))
