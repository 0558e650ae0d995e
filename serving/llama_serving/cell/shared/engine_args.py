"""Arguments of the engine, computed from the cell's config: same config, same arguments.

Rule: bundle ``i`` of the placement group is device ``i`` of the model, and belongs to stage ``i // tensor``; Ray's
label ``stage`` pins each bundle to the pod of its stage. So layers, ranks and pods have one order, on GPU and on CPU.
"""

from typing import Any, Final

from llama_serving.cell.entrypoints import (
    CPU_ENGINE_CLASS,
    CPU_STAGE_MODULES,
    GPU_ENGINE_CLASS,
    GPU_STAGE_MODULES,
    WORKER_EXTENSION_CLASS,
)
from llama_serving.cell.shared.adapters.room import adapter_kwargs
from llama_serving.cell.shared.kv_cache import default_kv_cache_bytes
from llama_serving.config.cell import CellConfig
from llama_serving.config.chat.facts import ChatFacts, choose_reasoning, choose_tools
from llama_serving.config.model import DEPRECATED_QUANTIZATION, ModelFacts

STAGE_LABEL: Final = "stage"  # Ray node label: index of the stage that the node is
KV_CACHE_OPTION: Final = "kv_cache_memory_bytes"

_MOST_THREADS: Final = 8  # of a rank on a GPU: what it computes on CPU is bounded by memory
ENGINE_VARIABLE: Final = "RAYLLM_VLLM_ENGINE_CLS"  # where Ray Serve LLM looks for another engine than its own


def devices(config: CellConfig) -> int:
    """Return the number of devices of the whole group: the ranks of the engine."""
    return config.layout.pipeline * config.layout.tensor


def engine_kwargs(config: CellConfig, *, model: ModelFacts) -> dict[str, Any]:
    """Return the arguments of vLLM's engine; ``engine_options`` win over the defaults, never over the layout."""
    defaults: dict[str, Any] = {"enable_prefix_caching": True}
    if config.layout.device == "cpu":
        # No compilation: a warm-up of 30 s and more for little on CPU, and each stage would do it again at each start.
        defaults["enforce_eager"] = True
        defaults[KV_CACHE_OPTION] = default_kv_cache_bytes(
            model, pipeline=config.layout.pipeline, context_length=config.context_length, dtype=config.dtype
        )
    if model.quantization in DEPRECATED_QUANTIZATION:
        defaults["allow_deprecated_quantization"] = True
    return defaults | dict(config.engine_options) | _fixed(config)


def _fixed(config: CellConfig) -> dict[str, Any]:
    return {
        # A file named consolidated*.safetensors beside the weights would make the engine choose Mistral's formats.
        "config_format": "hf",
        "load_format": "safetensors",
        "dtype": config.dtype,
        "max_model_len": config.context_length,
        "max_num_seqs": config.max_num_seqs,
        "pipeline_parallel_size": config.layout.pipeline,
        "tensor_parallel_size": config.layout.tensor,
        "trust_remote_code": False,
        "worker_extension_cls": WORKER_EXTENSION_CLASS,
        **adapter_kwargs(config.adapters),
    }


def bundle(config: CellConfig) -> dict[str, float]:
    """Return what one rank reserves on its node. On CPU a slot, not a core: ``cpus_per_stage`` sets the threads."""
    return {"GPU": 1, "CPU": 1} if config.layout.device == "gpu" else {"CPU": 1}


def bundle_selectors(config: CellConfig) -> list[dict[str, str]]:
    """Return the label selector of each bundle, in the order of the ranks."""
    return [{STAGE_LABEL: str(rank // config.layout.tensor)} for rank in range(devices(config))]


def chat_kwargs(config: CellConfig, chat: ChatFacts) -> dict[str, Any]:
    """Return the arguments that say how tool calls and reasoning are read, and with which template prompts are made.

    Raises:
        ValueError: a parser that the spec names does not fit the model; the operator has refused it before.
    """
    tools, reasoning = choose_tools(config.tools, chat), choose_reasoning(config.reasoning, chat)
    if refused := tools.refused or reasoning.refused:
        raise ValueError(refused)
    found: dict[str, Any] = {"chat_template": config.chat_template} if config.chat_template else {}
    if tools.parser:
        found |= {"enable_auto_tool_choice": True, "tool_call_parser": tools.parser}
    return found | ({"reasoning_parser": reasoning.parser} if reasoning.parser else {})


def llm_config(config: CellConfig, *, model: ModelFacts, chat: ChatFacts, path: str) -> dict[str, Any]:
    """Return the arguments of ``ray.serve.llm.LLMConfig``; ``path`` is where each stage finds its weights."""
    return {
        "model_loading_config": {"model_id": config.weights.served_name, "model_source": path},
        "engine_kwargs": engine_kwargs(config, model=model) | chat_kwargs(config, chat),
        "accelerator_config": {"kind": config.layout.device},
        "placement_group_config": {"bundle_per_worker": bundle(config), "strategy": "PACK"},
        # vLLM's own metrics stay reachable; the Ray wrapper of them needs a metrics agent that a cell does not run.
        "log_engine_metrics": False,
    }


def engine_environment(config: CellConfig) -> dict[str, str]:
    """Return the environment of every process of a stage, set before Ray starts: no actor needs one of its own.

    (An actor with its own ``runtime_env`` cannot use a worker process that Ray started ahead.)
    """
    common = {
        # Rank i sits in bundle i. Without it vLLM orders the ranks by node id: stages would not be where they belong.
        "VLLM_RAY_BUNDLE_INDICES": ",".join(str(rank) for rank in range(devices(config))),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "LOGNAME": "llama",  # torch asks for the name of the user, which the uid of a pod need not have
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    return common | (_cpu_environment(config) if config.layout.device == "cpu" else _gpu_environment(config))


def stage_modules(config: CellConfig) -> tuple[str, ...]:
    """Return what the process of a stage imports, to be imported ahead."""
    return CPU_STAGE_MODULES if config.layout.device == "cpu" else GPU_STAGE_MODULES


def _cpu_environment(config: CellConfig) -> dict[str, str]:
    return {
        ENGINE_VARIABLE: CPU_ENGINE_CLASS,
        "OMP_NUM_THREADS": str(config.cpus_per_stage),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # vLLM has torch compile what ranks log-probabilities. The image has no C++ compiler: a request for them would
        # end the engine.
        "TORCHDYNAMO_DISABLE": "1",
        # The ring buffer between engine and first stage is 10 chunks of this in /dev/shm; stock (24 MB) needs 250 MB.
        "VLLM_MQ_MAX_CHUNK_BYTES_MB": "2",
    }


def _gpu_environment(config: CellConfig) -> dict[str, str]:
    """Share the cores out among the ranks, two left for what is beside them."""
    threads = (config.cpus_per_stage - 2) // config.layout.tensor
    return {
        ENGINE_VARIABLE: GPU_ENGINE_CLASS,
        # A rank sees all devices of its pod and takes its own by number. Stock, vLLM says so to Ray with each actor.
        "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
        # Unset, torch takes every core of the node in a process that has imported it before Ray gives it an actor.
        "OMP_NUM_THREADS": str(min(max(threads, 1), _MOST_THREADS)),
    }
