"""The test bed as the end-to-end tests use it: kubectl, helm, models in volumes, waits that print what they saw."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from examples import models
from examples.cluster import bed_environment, folder_claim, install_chart, restricted_namespace
from examples.kubectl import Kubectl
from examples.steps import run
from testbed import audit
from tests.impossible_edits import SMALL

NAMESPACE = "llama-e2e"
PAIR = "pair"
"""The deployment that most tests share."""
EXPLAINED_WITHIN = 10.0
"""Seconds from a cause that a pod shows to its sentence in ``kubectl get``."""

PAUSE_S = 1.0
"""Between two looks: each kubectl takes a tenth of a second of the cores that groups need to start."""

Object = dict[str, Any]

RANDOM_MODELS: Object = {"maxLogprobDrop": 2}
"""Two random models differ by up to 0.7 nats per token in one language; real ones that are alike do not."""


@dataclass(frozen=True)
class Bed:
    """A running test bed."""

    environment: dict[str, str]
    audit_log: Path

    @property
    def kubectl(self) -> Kubectl:
        """kubectl in the tests' namespace."""
        return Kubectl(self.environment, NAMESPACE)

    def helm(self, *arguments: str) -> str:
        """Output of helm. Raises CalledProcessError."""
        done = subprocess.run(
            ["helm", "--namespace", NAMESPACE, *arguments],
            env=self.environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def deployment(self, name: str) -> Object:
        """The LlamaDeployment; its status is empty before the operator saw it."""
        found = self.kubectl.json("get", "llamadeployment", name)
        found.setdefault("status", {})
        return found

    def pods(self, name: str, component: str = "stage") -> list[Object]:
        """Pods of a deployment."""
        pods: list[Object] = self.kubectl.json("get", "pods", "-l", selector(name, component))["items"]
        return pods

    def wait_for(self, name: str, check: Callable[[Object], bool], *, within: float, what: str) -> Object:
        """Wait for a deployment's status; the messages on the way are printed, and shown when it fails."""
        seen: list[str] = []
        for event in self.kubectl.watch("llamadeployment", name, within=within):
            found: Object = event["object"]
            status = found.setdefault("status", {})
            line = f"{status.get('groupsReady')} {status.get('reason')}: {status.get('message')}"
            if line not in seen[-1:]:
                seen.append(line)
                print(f"{name}: {line}", flush=True)
            if check(found):
                return found
        raise AssertionError(f"{name} is not {what} within {within} s; seen:\n" + "\n".join(seen[-15:]))

    def wait_explained(self, name: str, reason: str, *words: str, cause: Callable[[Object], bool]) -> float:
        """Wait until ``kubectl get -o wide`` shows the reason and the words; seconds since a pod showed the cause.

        Raises AssertionError when no pod shows the cause within a minute, or the sentence comes more than
        ``EXPLAINED_WITHIN`` seconds after it.
        """
        started, caused, row = time.monotonic(), None, ""
        while time.monotonic() - started < 60:
            row = self.kubectl("get", "llamadeployment", name, "-o", "wide").splitlines()[-1]
            now = time.monotonic()
            if reason in row.split() and all(word in row for word in words):
                late = now - (caused or now)
                print(f"{name}: explained {late:.1f} s after its cause: {row}", flush=True)
                assert late <= EXPLAINED_WITHIN, f"{name} is explained {late:.1f} s after its cause: {row}"
                return late
            selector = f"llama-operator.dev/deployment={name}"
            if caused is None and any(cause(p) for p in self.kubectl.json("get", "pods", "-l", selector)["items"]):
                caused = time.monotonic()
        raise AssertionError(
            f"{name} is not explained by {reason} with {words}; cause seen: {caused is not None}; last row: {row}"
        )

    def settled(self, name: str, generation: int, *, within: float) -> Object:
        """Wait until a change of the spec has reached all groups."""

        def done(found: Object) -> bool:
            status = found["status"]
            return (status["observedGeneration"], status["reason"]) == (generation, "Serving")

        return self.wait_for(name, done, within=within, what=f"done with generation {generation}")

    def wait_pod(self, name: str, check: Callable[[Object], bool], *, within: float, what: str) -> Object:
        """Wait for a pod by watching it: asking again and again would cost a tenth of the machine."""
        found: Object = {}
        for event in self.kubectl.watch("pod", name, within=within):
            found = event["object"]
            if check(found):
                return found
        raise AssertionError(f"pod {name} is not {what} within {within} s; its status: {found.get('status')}")

    def wait_serving(self, name: str, groups: int, *, within: float = 600) -> Object:
        """All groups serve and the operator has nothing left to do."""
        wanted = (f"{groups}/{groups}", "Serving")

        def serving(found: Object) -> bool:
            status = found["status"]
            return (status.get("groupsReady"), status.get("reason")) == wanted

        return self.wait_for(name, serving, within=within, what=" ".join(wanted))

    def edit(self, name: str, spec: Object) -> int:
        """A user's edit of a deployment's spec; returns the generation that it made."""
        generation: int = self.kubectl.patch("llamadeployment", name, {"spec": spec})["metadata"]["generation"]
        return generation

    def upgrade(self, name: str, revision: str, *, within: float = 180) -> float:
        """Edit ``spec.model.revision`` and wait until every group answers with it; seconds that it took.

        Raises AssertionError when more than one group is out of rotation at a time.
        """
        started = time.monotonic()
        wanted = (self.edit(name, {"model": {"revision": revision}}), revision, "Serving")

        def done(found: Object) -> bool:
            status, least = found["status"], found["spec"]["replicas"] - 1
            assert status["readyReplicas"] >= least, f"fewer than {least} group(s) in rotation: {status['message']}"
            weights = status.get("weights", "").partition("@")[0]
            return (status.get("observedGeneration"), weights, status.get("reason")) == wanted

        self.wait_for(name, done, within=within, what=f"on weights {revision}")
        return time.monotonic() - started

    def read_weights(self, name: str, model: Object) -> None:
        """A user's own LlamaWeights of a deployment's ``spec.model``; returns when they are read and found good."""
        spec = {key: model[key] for key in ("source", "revision", "license", "acceptLicense")}
        self.kubectl.apply(
            {
                "apiVersion": "llama-operator.dev/v1alpha1", "kind": "LlamaWeights",
                "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
            }
        )  # fmt: skip
        self.kubectl("wait", f"llamaweights/{name}", "--for=condition=Ready", "--timeout=120s")

    def weights(self, name: str) -> str:
        """Id of the weights that a deployment answers with, as in the header x-llama-weights."""
        found: str = self.deployment(name)["status"]["weights"]
        return found

    def service_url(self, name: str) -> str:
        """URL of the deployment's Service; the machine of the test bed reaches cluster IPs."""
        return f"http://{self.kubectl.json('get', 'service', name)['spec']['clusterIP']}"

    def audit(self, since: datetime) -> Iterator[Object]:
        """Audit events from a moment on."""
        return audit.events(self.audit_log, since)


def running_bed() -> Bed:
    """The test bed with our images and the chart installed; it stays up for the next run."""
    for command in ("up", "images"):
        run([sys.executable, "-m", "testbed", command])
    environment = bed_environment()
    bed = Bed(environment, Path(environment["KUBECONFIG"]).parent / "audit.log")
    bed.kubectl.apply(restricted_namespace(NAMESPACE), *folder_claim(NAMESPACE, "models", tiny_models()))
    install_chart(environment, NAMESPACE)
    return bed


def selector(name: str, component: str) -> str:
    """Labels of a deployment's pods."""
    return f"llama-operator.dev/deployment={name},app.kubernetes.io/component={component}"


def lives(pods: Iterable[Object]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Uid and restarts of each pod: equal as long as nothing was started again."""
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            tuple(container["restartCount"] for container in pod["status"]["containerStatuses"]),
        )
        for pod in pods
    }


@contextlib.asynccontextmanager
async def most_pods(bed: Bed, name: str) -> AsyncIterator[list[int]]:
    """Counts the stage pods whenever one comes or goes: what holds devices."""
    counts = [0]
    command = bed.kubectl.watch_command("pods", "-l", selector(name, "stage"))

    async def count() -> None:
        while True:  # the API server ends every watch after half an hour or more
            there: set[str] = set()
            process = await asyncio.create_subprocess_exec(
                *command, env=bed.kubectl.environment, stdout=subprocess.PIPE, limit=2**20
            )
            try:
                assert process.stdout is not None
                async for line in process.stdout:
                    event = json.loads(line)
                    change = there.discard if event["type"] == "DELETED" else there.add
                    change(event["object"]["metadata"]["uid"])
                    counts.append(len(there))
                assert await process.wait() == 0, f"{command} ended with {process.returncode}"
            finally:
                if process.returncode is None:
                    process.terminate()
                    await process.wait()

    task = asyncio.create_task(count())
    try:
        yield counts
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def unscheduled(pod: Object) -> bool:
    """The scheduler found no node."""
    return any(
        condition["type"] == "PodScheduled" and condition["status"] == "False"
        for condition in pod.get("status", {}).get("conditions", ())
    )


def waits_for_image(pod: Object) -> bool:
    """The kubelet cannot get an image."""
    waiting = (one.get("state", {}).get("waiting", {}) for one in pod.get("status", {}).get("containerStatuses", ()))
    return any("Image" in one.get("reason", "") for one in waiting)


def ended(pod: Object) -> bool:
    """Its container ended, or ended before."""
    return any(
        "terminated" in one.get("state", {}) or "terminated" in one.get("lastState", {})
        for one in pod.get("status", {}).get("containerStatuses", ())
    )


def tiny_models() -> Path:
    """The folder of the claim ``models``: two tiny models of one shape and with different weights."""
    return {models.tiny(seed).parent for seed in (1, 2)}.pop()


def manifest(name: str, **changes: Any) -> Object:
    """A LlamaDeployment of two small CPU stages on two nodes; ``changes`` replace parts of the spec."""
    spec: Object = {
        "model": {
            "source": "pvc://models/{revision}",
            "revision": "tiny-1",
            "license": "none",
            "acceptLicense": True,
        },
        **SMALL,
        "drainTimeoutSeconds": 30,
        "gateway": {"resources": {"cpu": "50m"}},
        "verify": RANDOM_MODELS,
    }
    return {
        "apiVersion": "llama-operator.dev/v1alpha1", "kind": "LlamaDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec | changes,
    }  # fmt: skip
