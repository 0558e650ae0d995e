"""Containers of the image as a pod has them: uid 10001, a read-only root, no privileges, and a driver that is paper.

The environment is the image's own, which is what a container starts with, and ``HOME`` as the operator sets it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from testbed.images.gpu import Built
from tests.paper.nvml import PaperNvml

UID: Final = "10001"
SHM_BYTES: Final = 1 << 30
POD: Final = "/mnt/pod"  # of the container: a folder of the test
_SANDBOX: Final = Path(__file__).with_name("sandbox.py")
_PROBES: Final = Path(__file__).with_name("probes")
_CUDA: Final = Path(__file__).with_name("cuda.c")
DRIVER_FOLDER: Final = "usr/local/nvidia/lib64"


def node_layer(folder: Path, *, hosts: str = "") -> Path:
    """Make what a node adds to the image: the driver's libraries, of paper; names of hosts; the probes of the test."""
    driver = folder / DRIVER_FOLDER
    PaperNvml.build(driver)
    argv = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*argv, "-o", str(driver / "libcuda.so.1"), str(_CUDA)], check=True, capture_output=True, text=True)
    (folder / "etc").mkdir()
    (folder / "etc/hosts").write_text(f"127.0.0.1 localhost\n{hosts}", encoding="ascii")
    # Nobody listens there: a question to the resolver fails at once, as in a cluster with a working DNS.
    (folder / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    (folder / POD.removeprefix("/")).mkdir(parents=True)
    probes = folder / "opt/probes"
    probes.mkdir(parents=True)
    for path in _PROBES.glob("*.py"):
        (probes / path.name).write_bytes(path.read_bytes())
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder


@dataclass
class Container:
    """A container of the image that runs one command after the other, or one for long."""

    image: Built
    node: Path  # the node's layer
    pod: Path  # the folder that it may write to beside /tmp
    environment: Mapping[str, str] = field(default_factory=dict)
    _sandbox: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Container":
        """Set up its namespaces."""
        layers = [str(self.node), *(str(layer.folder) for layer in reversed(self.image.image.layers))]
        plan = json.dumps({"layers": layers, "binds": {str(self.pod): POD}, "shm_bytes": SHM_BYTES})
        unshare = ["unshare", "--net", "--mount", "--uts", "--propagation", "private"]
        self._sandbox = subprocess.Popen(
            [*unshare, sys.executable, str(_SANDBOX), plan], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._sandbox.stdout is not None
        assert self._sandbox.stdout.readline() == "ready\n", "the sandbox did not come up"
        return self

    def __exit__(self, *_: object) -> None:
        """Let everything of it go."""
        assert self._sandbox is not None
        assert self._sandbox.stdin is not None
        assert self._sandbox.stdout is not None
        self._sandbox.stdin.close()
        self._sandbox.wait(timeout=30)
        self._sandbox.stdout.close()

    @property
    def pid(self) -> str:
        """Process that holds the namespaces."""
        assert self._sandbox is not None
        return str(self._sandbox.pid)

    def enter(self, *argv: str) -> list[str]:
        """Return the command that runs this one in the container's namespaces as root, for the network."""
        return ["nsenter", "--target", self.pid, "--net", "--uts", "--", *argv]

    def start(self, *argv: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of its own; it ends with the test."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self._command(*argv), env=self._environment(environment), stdout=output, stderr=subprocess.STDOUT
            )

    def run(self, *argv: str, within: float, **environment: str) -> str:
        """Run to the end and return what was printed; fail with it where the exit code is not 0."""
        done = subprocess.run(
            self._command(*argv),
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, (
            f"{argv} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        )
        return done.stdout

    def _command(self, *argv: str) -> list[str]:
        bound = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs", "--"]
        enter = ["nsenter", "--target", self.pid, "--net", "--mount", "--uts", "--"]
        isolate = ["unshare", "--pid", "--fork", "--kill-child", "--root=/mnt/root", "--mount-proc"]
        return [*bound, *enter, *isolate, f"--setgid={UID}", f"--setuid={UID}", "--", *argv]

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**image_environment(self.image), "HOME": "/tmp", **self.environment, **more}


def image_config(image: Built) -> dict[str, Any]:
    """Return the configuration of the image: user, environment, entry point."""
    found: dict[str, Any] = json.loads(image.image.config.data)["config"]
    return found


def image_environment(image: Built) -> dict[str, str]:
    """Return the environment that the image gives each of its processes."""
    return dict(one.split("=", 1) for one in image_config(image)["Env"])
