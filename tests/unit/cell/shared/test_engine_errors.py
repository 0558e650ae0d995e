"""Engines' failures in one sentence: texts as Serve and vLLM write them."""

import os
from pathlib import Path

import pytest

from llama_serving.cell.shared.engine_errors import last_error
from llama_serving.cell.supervisor.engine_log import EngineLog

SERVE = """Deploying app 'llama' failed with exception:
Traceback (most recent call last):
  File "ray/serve/_private/application_state.py", line 926, in _reconcile_build_app_task
ray.exceptions.RayTaskError(RuntimeError): \x1b[36mray::build_serve_application()\x1b[39m (pid=401, ip=10.91.7.1)
AttributeError: 'function' object has no attribute 'bind'
"""
WRAPPED = """ValueError: To serve at least one request, 0.5 GiB KV cache is needed.
ray.exceptions.RayTaskError: it failed
RuntimeError: Engine core initialization failed. See root cause above.
"""
CORE = "(EngineCore pid=7) ERROR 11-24 11:00:00 [core.py:9] ValueError: No available memory for the cache blocks.\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("all is well", ""),
        ("it said: no Error here", ""),
        (SERVE, "AttributeError: 'function' object has no attribute 'bind'"),
        (WRAPPED, "ValueError: To serve at least one request, 0.5 GiB KV cache is needed."),
        ("RuntimeError: Engine core initialization failed.", "RuntimeError: Engine core initialization failed."),
        ("vllm.exceptions.VLLMError: bad", "VLLMError: bad"),
        (CORE, "ValueError: No available memory for the cache blocks."),
    ],
)
def test_the_last_line_that_names_an_error(text: str, expected: str) -> None:
    assert last_error(text) == expected


def test_a_long_error_is_cut() -> None:
    assert len(last_error("ValueError: " + "x" * 5000)) == 600


def write(folder: Path, name: str, text: str, *, time: int) -> None:
    path = folder / "session_latest" / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (time, time))


def test_the_newest_log_of_an_engine_core_has_the_cause(tmp_path: Path) -> None:
    write(tmp_path, "worker-a.out", CORE, time=1)
    write(tmp_path, "worker-b.out", CORE.replace("ValueError", "KeyError"), time=2)
    write(tmp_path, "worker-c.out", "ValueError: of another process\n", time=3)
    write(tmp_path, "worker-d.err", CORE, time=4)
    assert EngineLog(tmp_path).root_cause() == "KeyError: No available memory for the cache blocks."


def test_no_logs_no_cause(tmp_path: Path) -> None:
    assert EngineLog(tmp_path).root_cause() == ""


def test_what_pydantic_found_wrong_is_told() -> None:
    text = (
        "RuntimeError: Failed to create vLLM engine config: 1 validation error for ModelConfig\n"
        "  Value error, User-specified max_model_len (100000) is greater than the derived one. "
        "[type=value_error, input_value=ArgsKwargs((), {}), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev\n"
    )
    assert last_error(text) == (
        "RuntimeError: Failed to create vLLM engine config: ModelConfig: "
        "User-specified max_model_len (100000) is greater than the derived one."
    )
    assert last_error("ValueError: 2 validation errors for Args") == "ValueError: Args: not valid"
