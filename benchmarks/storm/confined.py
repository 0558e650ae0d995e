"""A gateway of the default size: a real process in a memory cgroup of its own, where one can be made.

Where none can be made (no root, a read-only file system) the gateway gets the same limit by its config, and only what
it has resident is measured.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llama_serving.config.gateway import GatewayConfig

#: ``spec.gateway.resources.memory`` where it is absent.
DEFAULT_MEMORY: Final = 256 << 20
_ROOT: Final = Path("/sys/fs/cgroup")
_V1: Final = ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
_V2: Final = ("memory.max", "memory.peak")
_START: Final = 120.0


@dataclass(frozen=True)
class Cgroup:
    """A memory cgroup with a limit; ``folder`` is None where none could be made."""

    folder: Path | None
    peak_file: str = ""

    def peak(self) -> int | None:
        """Return the most bytes that it ever had, buffers of sockets and files included; None: not known."""
        if self.folder is None or not (self.folder / self.peak_file).exists():
            return None
        return int((self.folder / self.peak_file).read_text())


@dataclass
class Confined:
    """A gateway in its bounds."""

    process: subprocess.Popen[bytes]
    cgroup: Cgroup
    port: int
    admin_port: int

    def is_alive(self) -> bool:
        """Return whether it was not killed."""
        return self.process.poll() is None

    def resident(self, *, peak: bool = False) -> int:
        """Return the bytes resident now, or the most so far."""
        name = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
        return 0

    def descriptors(self) -> int:
        """Return how many descriptors it has."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[Cgroup]:
    """Make a cgroup with this limit below that of this process."""
    for root, (limit_file, peak_file) in ((_ROOT / "memory", _V1), (_ROOT, _V2)):
        folder = root / _own(root) / f"storm-{time.monotonic_ns()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            try:
                (folder / limit_file).write_text(str(limit))
            except OSError:
                continue
            yield Cgroup(folder, peak_file)
            return
        finally:
            _remove(folder)
    yield Cgroup(None)


def _own(root: Path) -> str:
    """Return the path of this process in a hierarchy."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == ("memory" if root != _ROOT else ""):
            return path.lstrip("/")
    return ""


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


@contextlib.contextmanager
def confined(
    engine_port: int, *, memory: int = DEFAULT_MEMORY, descriptors: int | None = None, **config: object
) -> Iterator[Confined]:
    """Run a gateway in front of one engine, in a cgroup of ``memory`` bytes and with so many descriptors."""
    given = {"deployment": "d", "namespace": "n", "memory_limit": memory, "lame_duck": 0, "drain": 1, **config}
    with tempfile.TemporaryDirectory() as name, memory_cgroup(memory) as cgroup:
        path = Path(name) / "gateway.json"
        path.write_text(json.dumps(GatewayConfig.model_validate(given).to_file()))
        log = Path(name) / "log"
        command = [sys.executable, "-m", "llama_serving.gateway", "--config", str(path), "--host", "127.0.0.1"]
        command += ["--port", "0", "--admin-port", "0", "--static", f"a=http://127.0.0.1:{engine_port}"]
        before = [f"ulimit -n {descriptors}"] if descriptors else []
        if cgroup.folder is not None:  # joined before it has any memory
            before.append(f"echo $$ > {cgroup.folder / 'cgroup.procs'}")
        command = ["sh", "-c", " && ".join([*before, 'exec "$@"']), "sh", *command]
        with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
            try:
                port, admin_port = _ports(process, log)
                yield Confined(process, cgroup, port, admin_port)
            finally:
                process.kill()
                process.wait()


def _ports(process: "subprocess.Popen[bytes]", log: Path) -> tuple[int, int]:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "gateway started" in line:
                started = json.loads(line)
                return started["port"], started["admin_port"]
        time.sleep(0.05)
    raise RuntimeError(f"the gateway did not start: {log.read_text()[-2000:]}")
