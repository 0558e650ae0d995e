"""The parts that stand alone: weights, logs, networks, processes."""

import asyncio
import logging
import logging.config
import signal
import subprocess
import sys
import threading
from logging.handlers import MemoryHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from llama_serving.cell.ray.network import interface_of
from llama_serving.cell.ray.start import dashboard_command, die_with_parent, patient
from llama_serving.cell.replica.critical_task import EXIT_CODE as VITAL_EXIT_CODE
from llama_serving.cell.replica.critical_task import vital
from llama_serving.cell.replica.serve_logging import kept_buffers
from llama_serving.cell.supervisor.weights_check import ACCEPTED_SECONDS, REFUSED_SECONDS, WeightsCheck
from llama_serving.config.state import CellReason
from llama_serving.cpu.intermediate import ensure_intermediate_tensors
from llama_serving.cpu.stage_death import EXIT_CODE, ending_the_process
from tests.unit.cell.fakes import FakeClock
from tests.unit.weights.model.folders import make_model


async def test_weights_at_fault_are_named_with_their_reason(tmp_path: Path) -> None:
    fault = await WeightsCheck(lambda: tmp_path / "none", clock=FakeClock()).fault()
    assert fault is not None
    assert fault.reason is CellReason.WEIGHTS_MISSING
    assert "none" in fault.message


async def test_a_repair_is_seen_after_a_few_seconds_and_not_looked_for_all_the_time(tmp_path: Path) -> None:
    clock = FakeClock()
    check = WeightsCheck(lambda: tmp_path / "model", clock=clock)
    assert await check.fault()
    make_model(tmp_path / "model")
    assert await check.fault(), "an answer is good for a while"
    clock.now += REFUSED_SECONDS
    assert await check.fault() is None
    (tmp_path / "model" / "config.json").unlink()
    assert await check.fault() is None
    clock.now += ACCEPTED_SECONDS
    assert await check.fault()


def test_a_written_file_changes_the_fingerprint(tmp_path: Path) -> None:
    check = WeightsCheck(lambda: tmp_path, clock=FakeClock())
    empty = check.fingerprint()
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    first = check.fingerprint()
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    assert len({repr(print_) for print_ in (empty, first, check.fingerprint())}) == 3
    assert WeightsCheck(lambda: tmp_path / "none", clock=FakeClock()).fingerprint() is not None


def test_buffers_survive_anothers_set_up_of_logging(tmp_path: Path) -> None:
    logger = logging.Logger("serve")
    buffer_target = logging.FileHandler(tmp_path / "log")
    buffer = MemoryHandler(100, target=buffer_target)
    logger.addHandler(buffer)
    with kept_buffers(logger):
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        assert buffer.target is None, "what vLLM's set-up does; when this fails, kept_buffers is needless"
    logger.error("a line")
    assert buffer.target is not None
    buffer.close()
    buffer_target.close()
    assert "a line" in (tmp_path / "log").read_text(encoding="utf-8")


def test_the_interface_with_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(OSError, match=r"no network interface has the address 192\.0\.2\.1"):
        interface_of("192.0.2.1")


def test_the_dashboard_gets_two_modules() -> None:
    assert dashboard_command(["dashboard.py", "--port=8265"])[-1] == "--modules-to-load=ServeHead,StateHead"


def test_a_child_ends_with_its_parent() -> None:
    """The parent is killed while the child sleeps; the child's end closes the pipe."""
    child = "import os,time; from llama_serving.cell.ray.start import die_with_parent; "
    child += "die_with_parent(os.getppid()); print('up', flush=True); time.sleep(60)"
    parent = f"import subprocess,sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGKILL)
    with process.stdout:
        assert process.stdout.read() == "", "read to the end: nobody holds the pipe any more"
    process.wait()


def test_a_child_whose_parent_has_ended_already_ends_too() -> None:
    code = "from llama_serving.cell.ray.start import die_with_parent; die_with_parent(1 << 30)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1
    assert callable(die_with_parent)


def test_a_raylet_that_is_listed_late_is_waited_for() -> None:
    answers = iter([RuntimeError("not listed"), RuntimeError("not listed"), {"node_id": "a"}])

    def get_node(node: str) -> object:
        assert node == "a"
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    assert patient(get_node, deadline=60, pause=0)("a") == {"node_id": "a"}


def test_a_raylet_that_is_never_listed_fails_with_rays_own_words() -> None:
    def get_node() -> object:
        raise RuntimeError("not listed")

    with pytest.raises(RuntimeError, match="not listed"):
        patient(get_node, deadline=0, pause=0)()


class Runner:
    """The part of vLLM's model runner that the buffer needs."""

    max_num_tokens = 256
    device = "cpu"
    model_config = SimpleNamespace(dtype="bfloat16")

    def __init__(self, tensors: object = None) -> None:
        self.intermediate_tensors = tensors
        self.model = SimpleNamespace(make_empty_intermediate_tensors=lambda **options: options)


@pytest.mark.parametrize(
    ("first", "tensors", "expected"),
    [
        (False, None, {"batch_size": 256, "dtype": "bfloat16", "device": "cpu"}),
        (True, None, None),
        (False, "made by a dummy run", "made by a dummy run"),
    ],
)
def test_later_stages_get_a_buffer_where_no_dummy_run_made_one(first: bool, tensors: object, expected: object) -> None:
    runner = Runner(tensors)
    ensure_intermediate_tensors(runner, first_stage=first)
    assert runner.intermediate_tensors == expected


def test_large_blocks_come_from_the_heap_that_a_process_keeps() -> None:
    """Stock, a block of 64 MiB is mapped from the kernel, and given back when it is freed."""
    code = """
import ctypes
from llama_serving.cpu.heap import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def in_heap():
    block = libc.malloc(64 << 20)
    [heap] = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")][:1]
    begin, end = (int(part, 16) for part in heap.split("-"))
    libc.free(block)
    return begin <= block < end
print(in_heap(), keep_freed_memory(), in_heap())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True True\n"


def test_a_dead_stage_tells_the_engine_and_ends_its_process() -> None:
    told, ended = threading.Event(), threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    ending_the_process(told.set, grace=0.01, end=end)()
    assert told.is_set()
    assert ended.wait(10)
    assert codes == [EXIT_CODE]


def test_the_process_ends_even_when_the_engine_cannot_be_told() -> None:
    ended = threading.Event()

    def callback() -> None:
        raise OSError("the socket is gone")

    with pytest.raises(OSError, match="the socket is gone"):
        ending_the_process(callback, grace=0.01, end=lambda _: ended.set())()
    assert ended.wait(10)


def test_a_process_ends_with_its_vital_work() -> None:
    code = """
import asyncio
from llama_serving.cell.replica.critical_task import vital
async def fails(): raise OSError("the engine is gone")
async def main():
    task = vital(fails())
    await asyncio.sleep(60)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "the engine is gone" in done.stderr) == (VITAL_EXIT_CODE, True)


async def test_cancelled_work_is_not_vital_any_more() -> None:
    task = vital(asyncio.sleep(60))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
