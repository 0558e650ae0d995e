"""The proxies that are compared, each started on loopback as processes of its own and stopped again."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._load import KEY
from llama_serving.config.access.rules import AccessRules
from testbed.ports import free_port

SERVING_PYTHON = Path(
    os.environ.get(
        "SERVING_PYTHON",
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "llama-operator/serving-venv/bin/python"),
    )
)

_HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 300s
    timeout server 300s
    http-reuse always
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    server only 127.0.0.1:{upstream}
"""


class MissingError(Exception):
    """A proxy cannot be started here; the message says how to get it."""


@dataclass(frozen=True)
class Endpoint:
    """Where to send load, and which process to charge for it; pid 0 where there is no proxy."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Return the CPU seconds that all threads of the process have used so far."""
        if not self.pid:
            return 0.0
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        # Nanoseconds on a CPU: the clock ticks of /proc/PID/stat are too coarse for a run of a second.
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def upstream() -> Iterator[Endpoint]:
    """Start what stands behind every proxy."""
    port = free_port()
    with _process([sys.executable, "-m", "benchmarks._upstream", str(port)]) as process:
        _wait_for(port, process)
        yield Endpoint(port, 0)


def access_rules() -> AccessRules:
    """Return rules with the key of the load among others, and limits that it does not reach."""
    limits = {"tokens_per_minute": 10**12, "requests_per_minute": 10**9, "concurrent_requests": 10**4}
    secrets = [KEY, *(b"sk-%d" % number for number in range(100))]
    named = [(f"key-{number}", hashlib.sha256(secret).hexdigest()) for number, secret in enumerate(secrets)]
    given = [{"name": name, "sha256": digest, **limits} for name, digest in named]
    return AccessRules.model_validate({"mode": "keys", "keys": given})


@contextmanager
def gateway_with_keys(behind: int) -> Iterator[Endpoint]:
    """Start our gateway with keys, limits and the ledger on disk."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.json")
        rules.write_text(json.dumps(access_rules().to_file()), encoding="utf-8")
        with gateway(behind, "--access", str(rules), "--ledger", folder) as endpoint:
            yield endpoint


@contextmanager
def gateway(behind: int, *options: str) -> Iterator[Endpoint]:
    """Start our gateway; ``options`` of its command line."""
    port = free_port()
    command = [sys.executable, "-m", "llama_serving.gateway", "--static", f"only=http://127.0.0.1:{behind}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--admin-port", "0", *options]
    with _process(command) as process:
        _wait_for(port, process)
        yield Endpoint(port, process.pid)


@contextmanager
def haproxy(behind: int) -> Iterator[Endpoint]:
    """Start HAProxy with one thread."""
    port = free_port()
    binary = _haproxy_binary()
    with ExitStack() as stack:
        config = os.memfd_create("haproxy.cfg")
        stack.callback(os.close, config)
        os.write(config, _HAPROXY.format(port=port, upstream=behind).encode())
        command = [binary, "-db", "-q", "-f", f"/proc/{os.getpid()}/fd/{config}"]
        process = stack.enter_context(_process(command))
        _wait_for(port, process)
        yield Endpoint(port, process.pid)


@contextmanager
def ray_serve() -> Iterator[Endpoint]:
    """Start Ray Serve with the same answers as its app; only its HTTP proxy's process is charged."""
    port = free_port()
    with serving_program("benchmarks._serve_app", str(port), within=60, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and not line.strip().isdigit():
            line = process.stdout.readline()
        if not line:
            raise MissingError(f"Ray Serve did not start: try {SERVING_PYTHON} -m benchmarks._serve_app {port}")
        yield Endpoint(port, int(line))


@contextmanager
def serving_program(
    module: str, *arguments: str, within: float, stderr: int | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Start a program of the serving environment; its input ends it, or a kill ``within`` seconds later.

    Raises:
        MissingError: there is no such environment.
    """
    if not SERVING_PYTHON.exists():
        raise MissingError("needs the serving environment: make serving-setup, or set SERVING_PYTHON")
    command = [str(SERVING_PYTHON), "-m", module, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
    finally:
        _close_input(process, within)


@contextmanager
def _process(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _close_input(process: "subprocess.Popen[str]", within: float) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise MissingError(f"{process.args!r} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise MissingError(f"{process.args!r} did not listen within 30 s")


def _haproxy_binary() -> str:
    # Debian puts it where a user's PATH does not look.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if shutil.which("haproxy", path=path) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing haproxy with apt-get", file=sys.stderr)
        subprocess.run(["apt-get", "install", "-y", "-q", "haproxy"], check=False, stdout=subprocess.DEVNULL)
    binary = shutil.which("haproxy", path=path)
    if binary is None:
        raise MissingError("needs HAProxy: apt-get install haproxy")
    return binary
