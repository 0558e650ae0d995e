"""Each fix of ``llama_serving.cpu`` against the real vLLM and Ray: what stock does, and what the fix makes of it.

A test that fails in its "stock" half after an upgrade says that the fix is no longer needed.
"""

import asyncio
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

# Ray, vLLM and torch warn of one another at import; their warnings are not ours to mend.
pytestmark = [pytest.mark.serving, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("vllm", reason="needs the serving environment")


@pytest.fixture(autouse=True)
def stock_vllm() -> Iterator[None]:
    """Put back what the fixes replace, so that each test begins with vLLM as it was installed."""
    import vllm.v1.executor.ray_executor_v2 as v2
    from vllm.distributed.device_communicators import cpu_communicator, shm_broadcast
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform
    from vllm.v1.engine import utils

    shm, platform = cpu_communicator._CPUSHMDistributed, type(current_platform)
    kept: list[tuple[Any, str, Any]] = [
        (v2, "RayWorkerProc", v2.RayWorkerProc),
        (shm, "make_group_name", staticmethod(shm.make_group_name)),
        (registry, "_run_in_subprocess", registry._run_in_subprocess),
        (shm_broadcast, "SpinCondition", shm_broadcast.SpinCondition),
        (utils, "get_mp_context", utils.get_mp_context),
        (platform, "ray_device_key", platform.ray_device_key),
    ]
    yield
    for owner, name, value in kept:
        setattr(owner, name, value)


# 1. Pipeline stages on CPU bundles


def test_stock_vllm_refuses_ray_on_cpu() -> None:
    from vllm.platforms import current_platform
    from vllm.v1.executor.ray_executor_v2 import RayExecutorV2

    assert current_platform.ray_device_key == ""
    assert RayExecutorV2._get_actor_resource_kwargs() == {"num_gpus": 0, "resources": {"": 1}}


def test_our_executor_asks_for_nothing_beside_its_bundle_of_cpus() -> None:
    import vllm.v1.executor.ray_executor_v2 as v2
    from vllm.platforms import current_platform

    from llama_serving.cpu.executor import CpuStagesExecutor, StageProc, use_cpu_bundles

    use_cpu_bundles()
    assert current_platform.ray_device_key == "CPU"
    assert v2.RayWorkerProc is StageProc
    assert CpuStagesExecutor._get_actor_resource_kwargs() == {}
    assert CpuStagesExecutor.supports_pp
    assert CpuStagesExecutor.uses_ray


def test_ray_serve_llm_would_put_all_stages_into_one_pod() -> None:
    from ray.llm._internal.serve.engines.vllm.vllm_models import VLLMEngineConfig
    from ray.serve.llm import LLMConfig

    from llama_serving.cell.entrypoints import CPU_WORKER_CLASS
    from llama_serving.cpu.engine import use_stage_actors
    from llama_serving.cpu.executor import CpuStagesExecutor

    config = LLMConfig(
        model_loading_config={"model_id": "m", "model_source": "/m"},
        accelerator_config={"kind": "cpu"},
        engine_kwargs={"pipeline_parallel_size": 2},
        placement_group_config={"bundle_per_worker": {"CPU": 1}},
    )
    stock = VLLMEngineConfig.from_llm_config(config).get_initialization_kwargs()
    assert stock["distributed_executor_backend"] == "mp"
    parallel = SimpleNamespace(distributed_executor_backend="mp", worker_cls="stock")
    use_stage_actors(parallel)
    assert (parallel.distributed_executor_backend, parallel.worker_cls) == (CpuStagesExecutor, CPU_WORKER_CLASS)


def test_the_executor_uses_what_the_fix_replaces() -> None:
    """The two names are looked up as globals in ``_init_executor``; otherwise replacing them would do nothing."""
    import vllm.v1.executor.ray_executor_v2 as v2

    used = v2.RayExecutorV2._init_executor.__code__.co_names
    assert {"RayWorkerProc", "initialize_ray_cluster"} <= set(used)
    assert "ray_device_key" in inspect.getsource(v2.initialize_ray_cluster)


# 2. The buffer of a later stage


def test_stock_makes_no_buffer_for_an_eager_stage_with_a_given_cache() -> None:
    from vllm.config import CompilationMode
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    worker = SimpleNamespace(
        compilation_config=SimpleNamespace(mode=CompilationMode.NONE),
        cache_config=SimpleNamespace(kv_cache_memory_bytes=1 << 26),
    )
    assert CPUWorker._should_warm_up_model(worker) is False
    runner = SimpleNamespace(intermediate_tensors=None)
    with pytest.raises(AssertionError):
        GPUModelRunner.sync_and_gather_intermediate_tensors(runner, 1, None, True)


def test_our_worker_makes_the_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from vllm.v1.worker.cpu_worker import CPUWorker

    from llama_serving.cpu import worker as ours

    def empty(*, batch_size: int, dtype: torch.dtype, device: str) -> dict[str, torch.Tensor]:
        return {"hidden_states": torch.zeros((batch_size, 8), dtype=dtype, device=device)}

    runner = SimpleNamespace(
        intermediate_tensors=None,
        model=SimpleNamespace(make_empty_intermediate_tensors=empty),
        max_num_tokens=16,
        model_config=SimpleNamespace(dtype=torch.bfloat16),
        device="cpu",
    )
    stage = ours.StageWorker.__new__(ours.StageWorker)
    stage.model_runner = runner
    monkeypatch.setattr(CPUWorker, "compile_or_warm_up_model", lambda _: "times")
    monkeypatch.setattr(ours, "get_pp_group", lambda: SimpleNamespace(is_first_rank=False))
    assert stage.compile_or_warm_up_model() == "times"
    assert runner.intermediate_tensors["hidden_states"].shape == (16, 8)


# 3. Shared memory of two pods


def communicator() -> Any:
    return SimpleNamespace(unique_name="pp:0", ranks=[0, 1])


def test_stock_gives_two_pods_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.distributed.device_communicators.cpu_communicator import _CPUSHMDistributed

    monkeypatch.setenv("VLLM_DIST_IDENT", "29500")
    assert "/dev/shm" not in _CPUSHMDistributed.make_group_name(communicator())
    assert _CPUSHMDistributed.make_group_name(communicator()) == "29500-pp:0-[0-1]-cpushm"


def test_the_fix_names_regions_by_the_memory_that_they_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.distributed.device_communicators.cpu_communicator import _CPUSHMDistributed

    from llama_serving.cpu import shm_name

    monkeypatch.setenv("VLLM_DIST_IDENT", "29500")
    for _ in range(2):
        shm_name.name_regions_by_memory()
    here = _CPUSHMDistributed.make_group_name(communicator())
    assert here == f"29500-pp:0-[0-1]-cpushm-{shm_name.shared_memory_identity()}"
    monkeypatch.setattr(shm_name, "shared_memory_identity", lambda: "of another pod")
    assert _CPUSHMDistributed.make_group_name(communicator()) != here


def test_another_mount_is_another_memory(tmp_path: Any) -> None:
    from llama_serving.cpu.shm_name import shared_memory_identity

    mount = tmp_path / "shm"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], check=True)
    try:
        assert shared_memory_identity(mount) != shared_memory_identity()
        assert shared_memory_identity() == shared_memory_identity()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# 4. The engine core's cluster and node


def test_stock_leaves_the_engine_core_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform has set "spawn" already, so vLLM's own export of RAY_ADDRESS is skipped."""
    from vllm.utils.system_utils import _maybe_force_spawn

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    _maybe_force_spawn()
    assert "RAY_ADDRESS" not in os.environ


def test_the_fix_hands_address_and_node_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_serving.engine import driver_address

    calls: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(driver_address.NODE_IP_VARIABLE, raising=False)
    fake = SimpleNamespace(
        get_runtime_context=lambda: SimpleNamespace(gcs_address="10.0.0.1:6379"),
        util=SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1"),
        is_initialized=lambda: False,
        init=lambda **options: calls.append(options),
    )
    monkeypatch.setattr(driver_address, "ray", fake)
    with pytest.raises(KeyError):
        driver_address.connect_driver()
    driver_address.export_driver_address()
    driver_address.connect_driver()
    assert calls == [{"address": "10.0.0.1:6379", "_node_ip_address": "10.0.0.1", "log_to_driver": False}]


# 5. Ranks, bundles and the message queue


def test_ranks_follow_the_bundles_and_stage_0_is_the_queues_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock orders by node id: of three pods the last two may change places. The queue needs local ranks first."""
    from vllm.v1.executor import ray_utils

    nodes = {0: "c-leader", 1: "b", 2: "a"}
    table = {"bundles_to_node_id": nodes}
    fake = SimpleNamespace(
        nodes=lambda: [{"NodeID": node, "NodeManagerAddress": node, "Alive": True} for node in nodes.values()],
        get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "c-leader"),
    )
    monkeypatch.setattr(ray_utils, "placement_group_table", lambda _: table)
    monkeypatch.setattr(ray_utils, "ray", fake)
    monkeypatch.setattr(type(ray_utils.current_platform), "ray_device_key", "CPU")
    group = SimpleNamespace(bundle_specs=[{"CPU": 1}] * 3)
    stock = ray_utils.get_bundles_sorted_by_node(group)
    assert [bundle for bundle, _, _ in stock] == [0, 2, 1]
    ours = ray_utils.get_bundles_for_indices(group, [0, 1, 2], 3)
    assert [(rank, node) for rank, (_, node, _) in enumerate(ours)] == list(nodes.items())


# 6. Needless waiting at the start


def test_models_are_looked_at_in_this_process() -> None:
    from vllm.model_executor.models import registry

    from llama_serving.cpu.model_inspection import inspect_in_this_process

    inspect_in_this_process()
    assert registry._run_in_subprocess(os.getpid) == os.getpid()
    used = registry._LazyRegisteredModel.inspect_model_cls
    assert "_run_in_subprocess" in inspect.getsource(inspect.unwrap(used))


def test_the_engine_core_is_forked_with_the_environment_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.v1.engine import utils

    from llama_serving.cpu import engine_process

    engine_process.start_importing(modules=())
    monkeypatch.setenv("SET_AFTER_THE_SERVER_STARTED", "yes")
    engine_process.use_for_engine_cores()
    assert "get_mp_context" in utils.CoreEngineProcManager.__init__.__code__.co_names
    process = utils.get_mp_context().Process(target=_ends_with_7, name="EngineCore", kwargs={"name": "SET_AFTER"})
    process.start()
    process.join(60)
    assert process.exitcode == 7


def _ends_with_7(*, name: str) -> None:
    os._exit(7 if any(key.startswith(name) for key in os.environ) else 1)


# 7. Waiting for the next step


def polls_right_after_a_message(condition: type) -> list[int]:
    """How often a reader asks the kernel to sleep when it waits three times at once."""
    import zmq
    from vllm.distributed.device_communicators import shm_broadcast

    polls: list[int] = []
    waiting = condition(is_reader=True, context=zmq.Context(), notify_address=shm_broadcast.get_open_zmq_ipc_path())

    def poll(timeout: int) -> list[object]:
        polls.append(timeout)
        return []

    waiting.poller = SimpleNamespace(poll=poll)
    waiting.record_read()
    for _ in range(3):
        waiting.wait(timeout_ms=1)
    return polls


def test_stock_spins_after_a_message() -> None:
    from vllm.distributed.device_communicators import shm_broadcast

    assert polls_right_after_a_message(shm_broadcast.SpinCondition) == []


def test_the_fix_naps_and_loses_no_message() -> None:
    from vllm.distributed.device_communicators import shm_broadcast

    from llama_serving.cpu.waiting import NAP_MS, NappingCondition, nap_while_waiting

    assert polls_right_after_a_message(NappingCondition) == [NAP_MS] * 3
    for _ in range(2):
        nap_while_waiting()
    writer = shm_broadcast.MessageQueue(n_reader=1, n_local_reader=1)
    reader = shm_broadcast.MessageQueue.create_from_handle(writer.export_handle(), rank=0)
    assert isinstance(reader._spin_condition, NappingCondition)
    with ThreadPoolExecutor(1) as thread:
        ready = thread.submit(reader.wait_until_ready)
        writer.wait_until_ready()
        ready.result(timeout=60)
        told = thread.submit(lambda: [reader.dequeue(timeout=60) for _ in range(2000)])
        for number in range(2000):
            writer.enqueue(number, timeout=60)
        assert told.result(timeout=100) == list(range(2000))


# 8. Serve's side


def test_the_app_is_built_without_importing_vllm() -> None:
    code = """
import sys
from llama_serving.cell.replica import app
from tests.serving.cells import cell_config
built = app.build({"config": cell_config(model="m").model_dump_json()})
heavy = [name for name in ("vllm", "torch", "transformers") if name in sys.modules]
print(heavy, built._bound_deployment.name)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert done.stdout == "[] cell\n", done.stderr[-2000:]


async def test_the_engines_port_waits_for_a_predecessor() -> None:
    from llama_serving.cell.replica.http_server import bind

    first = await bind("127.0.0.1", port=0)
    first.listen()
    port = first.getsockname()[1]
    second = asyncio.create_task(bind("127.0.0.1", port=port))
    await asyncio.sleep(0)
    assert not second.done()
    first.close()
    (await second).close()
    with pytest.raises(OSError, match="Cannot assign requested address"):
        await bind("192.0.2.1", port=port)
