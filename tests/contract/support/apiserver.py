"""A real API server for the contract tests: the test bed's control plane without nodes, and kubectl against it."""

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes.aio import client, config

from tests.contract.support.rest import Rest

ROOT: Final = Path(__file__).parents[3]
CRDS: Final = ROOT / "crds"

# Two test runs at once on one machine need two names, and so do the two processes of one run.
_INSTANCE: Final = "-".join(
    (os.environ.get("LLAMA_CONTRACT_INSTANCE", "contract"), *os.environ.get("PYTEST_XDIST_WORKER", "").split())
)


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is, and how to talk to it."""

    kubeconfig: Path
    environment: dict[str, str]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end, whatever that is."""
        return subprocess.run(
            ["kubectl", *arguments],
            input=stdin, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed; fail with what it said when it fails."""
        done = self.kubectl(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {shlex.join(arguments)} failed:\n{done.stderr}"
        return done.stdout

    def apply(self, document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """``kubectl apply`` of one object, as a user does it."""
        return self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(document))

    @cached_property
    def rest(self) -> Rest:
        """Objects as JSON, without a kubectl for each."""
        return Rest(self.kubeconfig)

    def fresh_namespace(self) -> str:
        """The name of a new namespace. It goes with the API server: nothing here could delete it."""
        name = f"test-{secrets.token_hex(4)}"
        self.rest.create("", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def install_crds(self) -> None:
        """Install or update the CRDs and wait until the API server serves them."""
        self.run("apply", "-f", str(CRDS))
        self.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))
        # Established says that the storage is there; the route and its discovery follow a moment later.
        for resource in ("llamadeployments", "llamaweights", "llamaadapters"):
            self._until_served(resource, deadline_s=30)

    def _until_served(self, resource: str, *, deadline_s: float) -> None:
        deadline = time.monotonic() + deadline_s
        while (seen := self.kubectl("get", resource)).returncode != 0:
            assert time.monotonic() < deadline, f"{resource} is not served after {deadline_s} s:\n{seen.stderr}"
            time.sleep(0.1)


async def client_of(apiserver: ApiServer) -> client.ApiClient:
    """The operator's own client, as the administrator."""
    configuration = client.Configuration()
    load: Callable[..., Awaitable[None]] = config.load_kube_config
    await load(config_file=str(apiserver.kubeconfig), client_configuration=configuration)
    return client.ApiClient(configuration)


@contextlib.contextmanager
def control_plane(instance: str = _INSTANCE) -> Iterator[ApiServer]:
    """The API server with our CRDs; gone at the end."""
    try:
        _testbed(instance, "up", "--nodes", "0")
        environment = {**os.environ, **_exports(_testbed(instance, "env"))}
        server = ApiServer(Path(environment["KUBECONFIG"]), environment)
        server.install_crds()
        with contextlib.closing(server.rest):
            yield server
    finally:
        _testbed(instance, "down")


def _testbed(instance: str, command: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "testbed", command, "--name", instance, *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"testbed {command} failed:\n{done.stderr}"
    return done.stdout


def _exports(text: str) -> dict[str, str]:
    """Variables of lines such as ``export KEY='value'``."""
    words = shlex.split(text)
    return dict(word.split("=", 1) for word in words if "=" in word)
