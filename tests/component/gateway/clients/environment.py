"""Where the clients come from: environments made once from pinned requirements, and programs of the machine.

What cannot be had makes a test skip with a sentence that says what is missing, and never fail: a machine may have no
package index.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from testbed.cache.folder import cache, lock
from testbed.cache.packages import ensure
from testbed.errors import BedError

HERE: Final = Path(__file__).parent
#: Which file has which client; what is not named is in the first.
_REQUIREMENTS: Final = {"instructor": HERE / "instructor.txt"}
_COMMON: Final = HERE / "requirements.txt"
_SECONDS: Final = 240.0  # litellm alone takes a minute to import on a busy machine


@dataclass(frozen=True)
class Ended:
    """What a client left: its exit code, and what it wrote."""

    code: int
    output: str
    errors: str


async def run(*command: str | Path, **environment: str) -> Ended:
    """Run a client to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*", **environment},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(), errors.decode())


def python(client: str = "openai") -> Path:
    """Return the interpreter that has the client; skip the test where it cannot be made."""
    uv = _uv()
    requirements = _REQUIREMENTS.get(client, _COMMON)
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache() / "gateway-clients" / digest
    with lock(folder.with_suffix(".lock")):
        done = folder / "done"
        if not done.exists():
            _make(uv, folder, requirements)
            done.touch()
    return folder / "bin" / "python"


def _make(uv: str, folder: Path, requirements: Path) -> None:
    made = folder / "bin" / "python"
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", str(made)]
    install.append(str(requirements))
    for command in ([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the clients cannot be installed: `{' '.join(command)}` failed: {done.stderr[-500:]}")


def _uv() -> str:
    made = sorted(cache().glob("uv-*/bin/uv"))  # `make setup` makes it
    found = str(made[-1]) if made else shutil.which("uv")
    if found is None:
        pytest.skip("the clients cannot be installed: uv is missing, which `make setup` brings")
    return found


def program(name: str, package: str) -> str:
    """Return a program of Debian, installed where we may; skip the test where it cannot be had."""
    try:
        with lock(cache() / "gateway-clients" / "packages.lock"):
            ensure({name: package})
    except BedError as error:
        pytest.skip(f"{name} is missing: {error}")
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: Debian's package {package} did not bring it")
    return found
