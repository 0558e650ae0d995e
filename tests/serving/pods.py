"""Pods without Kubernetes: network namespaces on a bridge, each running one container that is restarted when it ends.

A pod keeps its address, ``/tmp`` and ``/dev/shm`` over the restarts of its container; a container has processes of its
own that all end with it. That is what a kubelet gives, and all that the cell relies on.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE = "llcell0"
NETWORK = "10.91.7"
SANDBOX = Path(__file__).with_name("pod_sandbox.py")


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, text=True)


@dataclass
class Pod:
    """One pod; ``command`` is what its container runs."""

    name: str
    index: int
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    sandbox: subprocess.Popen[str] | None = None
    container: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    exits: list[int] = field(default_factory=list)
    stopping: bool = False
    _kubelet: threading.Thread | None = None

    @property
    def ip(self) -> str:
        return f"{NETWORK}.{self.index + 1}"

    def make(self, *, binds: dict[str, str], code: Sequence[Path], hosts: str, shm_bytes: int) -> None:
        folders = [str(folder) for folder in code]
        plan = json.dumps({"binds": binds, "code": folders, "hosts": hosts, "shm_bytes": shm_bytes})
        unshare = ["unshare", "--net", "--mount", "--uts", "--propagation", "private"]
        self.sandbox = subprocess.Popen(
            [*unshare, sys.executable, str(SANDBOX), plan], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.sandbox.stdout is not None
        assert self.sandbox.stdout.readline() == "ready\n", "the sandbox did not come up"
        self._connect()

    def _connect(self) -> None:
        assert self.sandbox is not None
        link = f"{BRIDGE}v{self.index}"
        holder = str(self.sandbox.pid)
        subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)  # of an earlier, killed run
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", holder)
        run("ip", "link", "set", link, "master", BRIDGE, "up")
        enter = ("nsenter", "--target", holder, "--net", "--uts", "--")
        run(*enter, "ip", "address", "add", f"{self.ip}/24", "dev", "eth0")
        run(*enter, "ip", "link", "set", "eth0", "up")
        run(*enter, "ip", "route", "add", "default", "via", f"{NETWORK}.254")
        run(*enter, "hostname", self.name)

    def start(self) -> None:
        self._kubelet = threading.Thread(target=self._keep_running, daemon=True)
        self._kubelet.start()

    def _keep_running(self) -> None:
        assert self.sandbox is not None
        # A killed test run takes its containers with it.
        bound = ["setpriv", "--pdeathsig", "KILL", "--"]
        enter = [*bound, "nsenter", "--target", str(self.sandbox.pid), "--net", "--mount", "--uts", "--"]
        isolate = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        with self.log.open("ab") as log:
            while not self.stopping:
                self.container = subprocess.Popen(
                    [*enter, *isolate, *self.command], env=self.environment, stdout=log, stderr=log
                )
                self.exits.append(self.container.wait())
                self.restarts += 1
                time.sleep(0.5)  # a kubelet's first restart is not faster either

    def supervisor_pid(self) -> int:
        """Process id, on this machine, of the container's first process."""
        assert self.container is not None
        children = Path(f"/proc/{self.container.pid}/task/{self.container.pid}/children").read_text().split()
        return int(children[0])

    def processes(self, needle: str) -> list[int]:
        """Process ids of this container whose command line holds ``needle``."""
        return [pid for pid in descendants(self.supervisor_pid()) if needle in command_line(pid)]

    def engine_logs(self) -> str:
        """What Ray's worker processes of this pod have written: replica, engine core and ranks."""
        assert self.sandbox is not None
        root = Path(f"/proc/{self.sandbox.pid}/root")
        logs = root.glob("tmp/ray/session_2*/logs/worker-*")  # session_latest is a link that would lead out of the pod
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in sorted(logs))

    def kill_container(self) -> None:
        """SIGKILL to everything in the container."""
        os.kill(self.supervisor_pid(), signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM to the container's first process; it is not started again."""
        self.stopping = True
        os.kill(self.supervisor_pid(), signal.SIGTERM)

    def destroy(self) -> None:
        self.stopping = True
        with contextlib.suppress(ProcessLookupError, IndexError, FileNotFoundError, AssertionError):
            self.kill_container()
        if self._kubelet is not None:
            self._kubelet.join(timeout=10)
        if self.sandbox is not None and self.sandbox.stdin is not None:
            self.sandbox.stdin.close()
            self.sandbox.wait(timeout=10)


def descendants(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


@contextlib.contextmanager
def network() -> Iterator[None]:
    """The bridge between the pods; what an earlier, killed run left of it is removed first. A second cell waits."""
    with (Path(tempfile.gettempdir()) / f"{BRIDGE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        try:
            run("ip", "address", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
            run("ip", "link", "set", BRIDGE, "up")
            yield
        finally:
            run("ip", "link", "delete", BRIDGE)


def eventually(seen: Callable[[], object], *, within: float, what: str, tail: Callable[[], str] = str) -> object:
    """Wait until ``seen()`` is true and return it; after ``within`` seconds fail with what was seen last."""
    deadline = time.monotonic() + within
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = seen()
        except Exception as error:  # whatever is not there yet is "not yet"; it is shown when time is over
            last = repr(error)
        else:
            if last:
                return last
        time.sleep(0.25)
    raise AssertionError(f"not within {within:.0f} s: {what}; last seen: {last!r}\n{tail()}")
