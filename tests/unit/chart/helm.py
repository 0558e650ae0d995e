"""The real helm, from the test bed's cache."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from testbed.cache import binaries
from testbed.errors import BedError

CHART: Final = Path(__file__).parents[3] / "charts" / "llama-operator"


@dataclass(frozen=True)
class Helm:
    """Runs helm."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, whatever that is."""
        return subprocess.run(
            [str(self.program), *arguments],
            env=self.environment or None, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        """Run and return what was printed; fail with what helm said when it fails."""
        done = self(*arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)} failed:\n{done.stderr}{done.stdout}"
        return done.stdout


def real_helm(environment: dict[str, str] | None = None) -> Helm:
    """Helm, built first where the cache has none (a few minutes). Skips the test where it cannot be built."""
    try:
        return Helm(binaries.ensure(("helm",))["helm"], environment or {})
    except BedError as error:
        pytest.skip(str(error))
