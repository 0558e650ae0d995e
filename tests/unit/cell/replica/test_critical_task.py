"""A process ends with its critical task."""

import asyncio
import subprocess
import sys

import pytest

from llama_serving.cell.replica.critical_task import EXIT_CODE, run_critical


def test_a_process_ends_with_its_critical_task() -> None:
    code = """
import asyncio
from llama_serving.cell.replica.critical_task import run_critical
async def fails(): raise OSError("the engine is gone")
async def main():
    task = run_critical(fails())
    await asyncio.sleep(60)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "the engine is gone" in done.stderr) == (EXIT_CODE, True)


async def test_a_cancelled_task_is_not_critical_any_more() -> None:
    task = run_critical(asyncio.sleep(60))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
