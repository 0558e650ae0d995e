"""The chart's admission policies on a real API server: what they refuse, in which words, and what they let pass."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.contract.crd.bad_inputs import VALID, VALID_WEIGHTS
from tests.contract.support.apiserver import ApiServer
from tests.unit.chart.helm import CHART, Helm, real_helm

pytestmark = pytest.mark.apiserver

ROLE = "secret-patcher"


@pytest.fixture
def helm(apiserver: ApiServer) -> Helm:
    return real_helm(apiserver.environment)


def install(helm: Helm, namespace: str, *settings: str) -> None:
    values = [part for setting in ("crds.install=false", *settings) for part in ("--set", setting)]
    helm.run("upgrade", "--install", "demo", str(CHART), "--namespace", namespace, *values)


def refusal(apiserver: ApiServer, body: dict[str, Any], namespace: str, *options: str) -> str:
    """What the API server says against an object; empty where it takes it."""
    done = apiserver.kubectl("apply", "-n", namespace, "-f", "-", *options, stdin=yaml.safe_dump(body))
    return done.stderr if done.returncode else ""


def eventually(ask: Callable[[], bool]) -> None:
    """Policies and roles reach the API server's own caches by a watch."""
    end = time.monotonic() + 30
    while not ask():
        assert time.monotonic() < end, "the policy does not hold after 30 s"
        time.sleep(0.2)


def model(**changes: str) -> dict[str, Any]:
    spec = VALID["spec"]
    return {**VALID, "spec": {**spec, "model": {**spec["model"], **changes}}}


def test_sources_and_images_come_from_allowed_places(apiserver: ApiServer, helm: Helm, namespace: str) -> None:
    kept = model(source="https://before.example.org/m")
    assert refusal(apiserver, kept, namespace) == ""
    install(
        helm,
        namespace,
        "sources.allowedHosts={hf://Meta-Llama,https://*.example.com}",
        "images.allowedRegistries={r.example.com/llama}",
    )
    evil = {**model(source="https://evil.test/m"), "metadata": {"name": "evil"}}
    eventually(lambda: refusal(apiserver, evil, namespace, "--dry-run=server") != "")
    said = refusal(apiserver, evil, namespace)
    assert "source https://evil.test/m is at https://evil.test" in said
    for source in ("hf://meta-llama/x", "https://models.example.com/m", "pvc://models/m"):
        assert refusal(apiserver, {**model(source=source), "metadata": {"name": "good"}}, namespace) == ""
        apiserver.run("delete", "lld", "good", "-n", namespace)
    for source in ("hf://meta-llama-evil/x", "https://example.com/m", "http://models.example.com/m", "s3://models/m"):
        assert "fetches nothing from" in refusal(
            apiserver, {**model(source=source), "metadata": {"name": "bad"}}, namespace
        )
    weights = {**VALID_WEIGHTS, "spec": {**VALID_WEIGHTS["spec"], "source": "s3://other/m"}}
    assert "fetches nothing from" in refusal(apiserver, weights, namespace)
    image = {**model(source="hf://meta-llama/x"), "metadata": {"name": "image"}}
    image["spec"] = {**image["spec"], "images": {"serving": "r.example.com/llama-evil:1"}}
    assert "images names r.example.com/llama-evil:1" in refusal(apiserver, image, namespace)
    image["spec"]["images"] = {"serving": "r.example.com/llama/serving:1"}
    assert refusal(apiserver, image, namespace) == ""
    kept["spec"] = {**kept["spec"], "replicas": 2}
    assert refusal(apiserver, kept, namespace) == "", "what was stored before may be edited"


def test_who_may_not_read_a_secret_may_not_make_it_a_source(apiserver: ApiServer, helm: Helm, namespace: str) -> None:
    install(helm, namespace)
    apiserver.run("create", "secret", "generic", "hub", "-n", namespace, "--from-literal=token=x")
    for user, verbs in (("patcher", "patch,update"), ("reader", "get,patch,update")):
        apiserver.run("create", "role", f"{ROLE}-{user}", f"--verb={verbs}", "--resource=secrets", "-n", namespace)
        apiserver.run("create", "rolebinding", user, f"--role={ROLE}-{user}", f"--user={user}", "-n", namespace)

    def patch(user: str, metadata: str, *, dry_run: bool = False) -> str:
        change = {"metadata": json.loads(metadata)}
        try:
            apiserver.rest.patch(namespace, "secret", "hub", change=change, user=user, dry_run=dry_run)
        except AssertionError as error:
            return str(error)
        return ""

    label = '{"labels": {"llama-operator.dev/source": "enabled"}}'
    eventually(lambda: "only who may get the Secret" in patch("patcher", label, dry_run=True))
    assert patch("patcher", '{"labels": {"other": "x"}}') == ""
    assert patch("reader", label) == ""
    assert patch("patcher", '{"labels": {"other": "y"}}') == "", "what is labelled may be changed otherwise"
    hosts = '{"annotations": {"llama-operator.dev/source-hosts": "https://evil.test"}}'
    assert "only who may get the Secret" in patch("patcher", hosts)
    assert patch("reader", hosts) == ""
    assert "only who may get" in patch("patcher", '{"annotations": {"llama-operator.dev/source-hosts": null}}')
    assert patch("patcher", '{"labels": {"llama-operator.dev/source": null}}') == "", "anybody may take it back"
