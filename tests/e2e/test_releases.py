"""Releases beside and after each other: no new version restarts a model, and a namespace ends with its operator."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from examples.cluster import (
    CHART,
    RELEASE,
    SETTINGS,
    api_server_port,
    folder_claim,
    install_chart,
    restricted_namespace,
)
from examples.kubectl import Kubectl
from tests.e2e.support.bed import NAMESPACE, Bed, Object, lives, manifest, tiny_models
from tests.e2e.support.faults import until
from tests.e2e.support.load import OpenLoad, check_answers, references
from tests.soak import soak

AWAY = "llama-away"


def stages(bed: Bed, names: Iterable[str]) -> dict[str, Object]:
    """Uid and restarts of every stage."""
    return {name: lives(bed.pods(name)) for name in names}


@contextmanager
def two_deployments(bed: Bed, pair: str) -> Iterator[tuple[str, str]]:
    """The pair with one group, and another deployment with one group."""
    second = "second"
    bed.edit(pair, {"replicas": 1})
    bed.wait_serving(pair, 1)
    bed.kubectl.apply(manifest(second, replicas=1))
    bed.wait_serving(second, 1)
    try:
        yield pair, second
    finally:
        bed.kubectl("delete", "llamadeployment", second, "--timeout=180s")
        bed.edit(pair, {"replicas": 2})
        bed.wait_serving(pair, 2)


def helm(bed: Bed, *arguments: str) -> None:
    done = subprocess.run(["helm", *arguments], env=bed.environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def seen_by_operator(bed: Bed, names: Iterable[str]) -> None:
    """Until the operator that runs now has looked at an edit of each that changes no pod."""
    for name in names:
        seconds = bed.deployment(name)["spec"].get("rollout", {}).get("minReadySeconds", 0)
        generation = bed.edit(name, {"rollout": {"minReadySeconds": 1 - min(seconds, 1)}})
        bed.settled(name, generation, within=120)


@soak
async def test_a_new_version_and_a_second_release_restart_no_model(bed: Bed, pair: str) -> None:
    """Their default images differ; two deployments of one group each serve under load meanwhile."""
    with two_deployments(bed, pair) as names:
        before, url = stages(bed, names), bed.service_url(pair)
        known = {bed.weights(pair): await references(url, pair)}
        async with OpenLoad(url, pair, rate=1.0) as load:
            await load.finished(5, within=120)
            for release in (RELEASE, "other"):
                print(f"release {release} with another default image", flush=True)
                await asyncio.to_thread(install, bed, release, NAMESPACE, serving=f"localhost/llama-serving:{release}")
                await asyncio.to_thread(seen_by_operator, bed, names)
                await load.finished(20, within=180)
                assert stages(bed, names) == before
            await asyncio.to_thread(helm, bed, "uninstall", "other", "--namespace", NAMESPACE, "--wait")
            await asyncio.to_thread(install_chart, bed.environment, NAMESPACE)
            await asyncio.to_thread(seen_by_operator, bed, names)
            await load.finished(20, within=180)
            assert stages(bed, names) == before
        check_answers(load.answers, known)


def install(bed: Bed, release: str, namespace: str, *, serving: str) -> None:
    settings = SETTINGS | api_server_port(bed.environment) | {"images.serving": serving}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    helm(
        bed, "upgrade", "--install", release, str(CHART), "--namespace", namespace, "--take-ownership", "--wait",
        "--timeout=180s", *sets,
    )  # fmt: skip


@soak
def test_a_namespace_with_the_operator_and_a_model_that_serves_ends(bed: Bed, pair: str) -> None:
    bed.edit(pair, {"replicas": 1})
    bed.wait_serving(pair, 1)
    there = Kubectl(bed.environment, AWAY)
    there.apply(restricted_namespace(AWAY), *folder_claim(AWAY, "models", tiny_models()))
    try:
        install(bed, "away", AWAY, serving=SETTINGS["images.serving"])
        wanted = manifest("chat", replicas=1)
        wanted["metadata"]["namespace"] = AWAY
        there.apply(wanted)
        until("chat serves", lambda: said(there), 600)
    finally:
        started = time.monotonic()
        there("delete", "namespace", AWAY, "--wait=true", "--timeout=300s")
        print(f"the namespace was gone after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        bed.kubectl("delete", "persistentvolume", f"{AWAY}-models")
    assert f"namespace/{AWAY}" not in bed.kubectl("get", "namespaces", "-o", "name").split()
    bed.edit(pair, {"replicas": 2})
    bed.wait_serving(pair, 2)


def said(there: Kubectl) -> str:
    status = there.json("get", "llamadeployment", "chat").get("status", {})
    return "" if status.get("reason") == "Serving" else str(status.get("message"))
