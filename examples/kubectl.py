"""kubectl as a user has it: the binary of the cluster's environment."""

import json
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from examples.steps import run


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl in a namespace."""

    environment: dict[str, str]
    namespace: str

    def __call__(self, *arguments: str) -> str:
        """Output of a call. Raises SystemExit with kubectl's message."""
        return run(self._command(*arguments), environment=self.environment, capture=True)

    def json(self, *arguments: str) -> dict[str, Any]:
        """Return an object."""
        found: dict[str, Any] = json.loads(self(*arguments, "-o", "json"))
        return found

    def watch(self, *arguments: str, within: float) -> Iterator[dict[str, Any]]:
        """Events, ``{"type": ..., "object": ...}``, of a ``kubectl get``: what is there, then its changes.

        Ends after ``within`` seconds. Raises SystemExit with kubectl's message. One process that listens, where asking
        again and again would cost a tenth of a core.
        """
        end = time.monotonic() + within
        while (left := math.ceil(end - time.monotonic())) > 0:
            command, said = self.watch_command(*arguments, f"--request-timeout={left}s"), subprocess.PIPE
            with subprocess.Popen(command, env=self.environment, stdout=said, stderr=said, text=True) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                try:
                    yield from map(json.loads, process.stdout)  # one on each line
                    error = process.stderr.read()
                    process.wait()
                finally:
                    process.terminate()
            if process.returncode > 0 and time.monotonic() < end - 1:
                raise SystemExit(f"{' '.join(command)}: {error.strip()}")

    def watch_command(self, *arguments: str) -> list[str]:
        """Return the command that prints such events, one a line, until it or the watch is ended."""
        return self._command("get", *arguments, "--watch", "--output-watch-events", "-o", "json")

    def apply(self, *manifests: dict[str, object]) -> None:
        """Server-side apply of objects."""
        if said := self._applied(manifests):
            raise SystemExit(f"kubectl apply: {said}")

    def refusal(self, manifest: dict[str, object]) -> str:
        """Say why the API server would not take an object, sent on trial; empty when it would."""
        return self._applied((manifest,), "--dry-run=server")

    def _applied(self, manifests: tuple[dict[str, object], ...], *options: str) -> str:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        done = subprocess.run(
            self._command("apply", "--server-side", "--force-conflicts", *options, "-f", "-"),
            env=self.environment, input=text, text=True, capture_output=True, check=False,
        )  # fmt: skip
        return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""

    def patch(self, kind: str, name: str, change: dict[str, object]) -> dict[str, Any]:
        """Merge ``change`` into an object; returns what it became."""
        return self.json("patch", kind, name, "--type=merge", "-p", json.dumps(change))

    def _command(self, *arguments: str) -> list[str]:
        return ["kubectl", "--namespace", self.namespace, *arguments]


@contextmanager
def port_forward(kubectl: Kubectl, target: str, port: int) -> Iterator[int]:
    """Forward a local port to ``target``, and yield it; works with every cluster that kubectl reaches."""
    command = ["kubectl", "--namespace", kubectl.namespace, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, env=kubectl.environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:41234 -> 8000
            if "127.0.0.1:" not in line:
                raise SystemExit(f"kubectl port-forward {target} said {line!r}")
            yield int(line.split("127.0.0.1:")[1].split(" ")[0])
        finally:
            process.terminate()
