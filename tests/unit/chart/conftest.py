"""The real helm, from the test bed's cache."""

import subprocess
from collections.abc import Callable

import pytest

from testbed import binaries
from testbed.errors import BedError

Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Runs helm to its end. Built on the first use, which takes a few minutes."""
    try:
        program = binaries.ensure(("helm",))["helm"]
    except BedError as error:
        pytest.skip(str(error))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, check=False)

    return run
