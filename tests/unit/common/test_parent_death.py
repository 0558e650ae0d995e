"""A child ends with its parent, however that ended."""

import signal
import subprocess
import sys

import pytest

IMPORT = "from llama_serving.common.parent_death import die_with_parent; "


@pytest.mark.parametrize("call", ["die_with_parent(os.getppid())", "die_with_parent()"])
def test_a_child_ends_with_its_parent(call: str) -> None:
    """The parent is killed while the child sleeps; the child's end closes the pipe."""
    child = f"import os,time; {IMPORT}{call}; print('up', flush=True); time.sleep(60)"
    parent = f"import subprocess,sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGKILL)
    with process.stdout:
        assert process.stdout.read() == "", "read to the end: nobody holds the pipe any more"
    process.wait()


def test_a_child_whose_parent_has_ended_already_ends_too() -> None:
    assert subprocess.run([sys.executable, "-c", f"{IMPORT}die_with_parent(1 << 30)"], check=False).returncode == 1
