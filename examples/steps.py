"""Numbered steps with their seconds, and commands that say what failed."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Steps:
    """Prints ``[2/6] the images ...`` and, at the end, what each step took."""

    total: int
    taken: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show a step; yield a function that prints a line of progress with the seconds so far."""
        start = time.monotonic()
        print(f"[{len(self.taken) + 1}/{self.total}] {what}", flush=True)

        def say(line: str) -> None:
            print(f"      {time.monotonic() - start:4.0f} s  {line}", flush=True)

        yield say
        self.taken.append((what, time.monotonic() - start))

    def summary(self) -> None:
        """Seconds of every step and of all together."""
        for what, seconds in self.taken:
            print(f"{seconds:7.1f} s  {what}")
        print(f"{sum(seconds for _, seconds in self.taken):7.1f} s  together")


def run(command: Sequence[str], *, environment: dict[str, str] | None = None, capture: bool = False) -> str:
    """Run a command; its output is shown, or returned with ``capture``. Raises SystemExit with its last words."""
    done = subprocess.run(
        list(command), env=environment, check=False, text=True, stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.PIPE if capture else None,
    )  # fmt: skip
    if done.returncode != 0:
        said = f": {(done.stderr or done.stdout or '').strip()[-2000:]}" if capture else ""
        raise SystemExit(f"`{' '.join(command)}` ended with {done.returncode}{said}")
    return done.stdout or ""
