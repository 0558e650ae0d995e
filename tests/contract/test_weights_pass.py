"""Whole passes of a LlamaWeights on the real API server with the rights that the chart gives, and shared ownership.

There is no controller here: the test plays the Job controller, the kubelet and the resolver.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web as web_server

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import API_VERSION, KIND, WEIGHTS_KIND, LlamaDeploymentSpec, ModelSpec, content_of
from llama_operator.manifests.common import Context
from llama_operator.manifests.weights import weights_object
from llama_operator.observe.weights import weights_views
from llama_operator.plan.groups.weights_lookup import weights_by_content
from llama_operator.plan.naming import weights_name
from llama_operator.ports import Key, Ref, Retry
from llama_serving.config.model import WeightsReport
from tests.contract.crd.bad_inputs import VALID, VALID_WEIGHTS, merged
from tests.contract.support.stand import ACCEPTED, MANIFEST, SETTINGS, Stand
from tests.fakes.weights import FACTS
from tests.weights.models import SERVED, make_model

pytestmark = pytest.mark.apiserver

NAME = VALID_WEIGHTS["metadata"]["name"]


async def test_from_the_object_to_ready_weights_and_then_no_write(stand: Stand) -> None:
    stand.create(VALID_WEIGHTS)
    status = await stand.one_pass(NAME)
    assert (status.ready, status.reason) == (False, "ResolvingWeights"), status.message
    account = f"{NAME}-resolver"
    assert stand.may(account, "patch", f"configmaps/{NAME}-manifest")
    assert not stand.may(account, "patch", "configmaps/another")
    assert not stand.may(account, "list", "configmaps")
    assert not stand.may(account, "get", "secrets")

    stand.run_job(ACCEPTED)
    status = await stand.one_pass(NAME)
    assert (status.ready, status.reason, status.digest) == (True, "Accepted", MANIFEST.digest)
    assert (status.size, status.files, status.license, status.resolved_revision) == ("269MB", 7, "llama3.1", "0e9e39f")
    conditions = {one.type: one.status for one in status.conditions}
    assert conditions == {"Ready": "True", "Reconciling": "False", "Stalled": "False"}

    await stand.one_pass(NAME)  # takes away what looked
    assert stand.items("jobs") == []
    assert [child["kind"] for child in stand.bodies(NAME).children if child["kind"] != "Pod"] == ["ConfigMap"]
    before = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in _all(stand)}
    for _ in range(3):
        await stand.one_pass(NAME, minutes=10)
    assert {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in _all(stand)} == before
    assert {event["reason"] for event in stand.items("events")} == {"ResolvingWeights", "Accepted"}

    view = weights_views(stand.items("llamaweights"), stand.items("configmaps"))[NAME]
    assert view.ready
    assert view.manifest == MANIFEST
    assert view.facts == FACTS


def _all(stand: Stand) -> list[dict[str, Any]]:
    return [*stand.bodies(NAME).children, stand.bodies(NAME).weights]  # type: ignore[list-item]


async def test_the_columns_show_bytes_digest_license_ready_reason_and_age(stand: Stand) -> None:
    stand.create(VALID_WEIGHTS)
    await stand.one_pass(NAME)
    stand.run_job(ACCEPTED)
    await stand.one_pass(NAME)
    header, row = stand.kubectl("get", "llw").splitlines()
    assert header.split() == ["NAME", "BYTES", "DIGEST", "LICENSE", "READY", "REASON", "AGE"]
    digest = MANIFEST.digest.removeprefix("sha256:")[:12]
    assert row.split()[:6] == [NAME, "269MB", digest, "llama3.1", "true", "Accepted"]
    wide = stand.kubectl("get", "llw", "-o", "wide")
    assert "pvc://models/llama-3.1-8b" in wide
    assert "0e9e39f" in wide


async def test_a_refusal_is_shown_and_its_job_gives_way_to_the_next(stand: Stand) -> None:
    stand.create(VALID_WEIGHTS)
    await stand.one_pass(NAME)
    stand.run_job(WeightsReport(outcome="refused", reason="WeightsGone", message="no folder llama-3.1-8b"))
    status = await stand.one_pass(NAME)
    assert (status.ready, status.reason, status.message) == (False, "WeightsGone", "no folder llama-3.1-8b")
    (first,) = stand.items("jobs")
    await stand.one_pass(NAME, seconds=40)
    await stand.one_pass(NAME, seconds=41)
    (second,) = stand.items("jobs")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["metadata"]["annotations"]["llama-operator.dev/attempt"] == "2"
    status = await stand.one_pass(NAME, seconds=42)
    assert (status.reason, status.message) == ("WeightsGone", "no folder llama-3.1-8b"), "it flickers"
    stand.run_job(ACCEPTED)
    assert (await stand.one_pass(NAME, seconds=45)).ready


async def test_a_lost_manifest_is_made_again_and_must_be_the_same(stand: Stand) -> None:
    stand.create(VALID_WEIGHTS)
    await stand.one_pass(NAME)
    stand.run_job(ACCEPTED)
    await stand.one_pass(NAME)
    await stand.one_pass(NAME)
    stand.kubectl("delete", "configmap", f"{NAME}-manifest")
    status = await stand.one_pass(NAME)
    assert (status.ready, status.digest) == (False, MANIFEST.digest)
    stand.run_job(ACCEPTED.model_copy(update={"digest": f"sha256:{'f' * 64}"}), stores=False)
    status = await stand.one_pass(NAME)
    assert status.reason == "DigestDiffers"
    assert f"had the digest {MANIFEST.digest}" in status.message
    assert status.digest == MANIFEST.digest


# -- with the real resolver --------------------------------------------------------------------------------------------


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[str]:
    """A folder with a small Llama on a web server; its URL."""
    app = web_server.Application()
    app.router.add_static("/models", make_model(tmp_path / "llama").parent)
    runner = web_server.AppRunner(app)
    await runner.setup()
    site = web_server.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/models/llama"
    await runner.cleanup()


async def resolve(stand: Stand, folder: Path) -> str:
    """Run what the Job says, as its account; returns the report."""
    pod = stand.start_pod()
    account, arguments = pod["spec"]["serviceAccountName"], pod["spec"]["containers"][0]["args"]
    report = folder / "report.json"
    kubeconfig = stand.kubeconfig_of(account, folder / "kubeconfig")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments[1:], "--report", str(report),
        env={**os.environ, "KUBECONFIG": str(kubeconfig)}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    said, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, f"{said.decode()}\n{errors.decode()}"
    stand.end_pod(pod, report.read_text())
    return report.read_text()


async def test_the_resolver_reads_a_source_and_stores_its_manifest(stand: Stand, web: str, tmp_path: Path) -> None:
    stand.create(merged(VALID_WEIGHTS, {"spec": {"source": web, "revision": "2026-01-01"}}))
    await stand.one_pass(NAME)
    await resolve(stand, tmp_path)
    status = await stand.one_pass(NAME)
    assert (status.ready, status.reason, status.files) == (True, "Accepted", len(SERVED)), status.message
    assert status.license == "llama3.1"
    view = weights_views(stand.items("llamaweights"), stand.items("configmaps"))[NAME]
    assert view.manifest is not None
    assert {file.path for file in view.manifest.files} == set(SERVED)
    assert view.digest == view.manifest.digest
    assert view.ready


async def test_the_resolver_refuses_another_license_than_the_accepted_one(
    stand: Stand, web: str, tmp_path: Path
) -> None:
    stand.create(merged(VALID_WEIGHTS, {"spec": {"source": web, "revision": "2026-01-01", "license": "mit"}}))
    await stand.one_pass(NAME)
    await resolve(stand, tmp_path)
    status = await stand.one_pass(NAME)
    assert (status.ready, status.reason) == (False, "LicenseRefused")
    assert "llama3.1" in status.message


# -- shared by deployments ---------------------------------------------------------------------------------------------


class Owner:
    """A LlamaDeployment that uses weights."""

    def __init__(self, stand: Stand, name: str, **model: Any) -> None:
        body = stand.create(merged(VALID, {"metadata": {"name": name}, "spec": {"model": model}}))
        self.uid = body["metadata"]["uid"]
        self.manager = f"llama-operator.{self.uid}"
        self.model = ModelSpec.model_validate(body["spec"]["model"])
        self.key = Key(stand.namespace, name)
        self._stand = stand

    async def take(self) -> None:
        spec = self._stand.get(KIND, self.key.name)["spec"]
        context = Context(self.key, self.uid, LlamaDeploymentSpec.model_validate(spec), SETTINGS)
        wanted = weights_object(context, self.model)
        await self._stand.cluster.apply(self.key, wanted, force=True, manager=self.manager)

    async def let_go(self, uid: str = "") -> None:
        ref = Ref(API_VERSION, WEIGHTS_KIND, weights_name(self.model), uid)
        await self._stand.cluster.release(self.key, ref, manager=self.manager)


def owners(stand: Stand) -> list[set[str]]:
    return [
        {owner["uid"] for owner in item["metadata"].get("ownerReferences", ())} for item in stand.items("llamaweights")
    ]


async def test_two_deployments_share_weights_and_the_last_takes_them_away(stand: Stand) -> None:
    one, two = Owner(stand, "one"), Owner(stand, "two")
    await one.take()
    await two.take()
    assert owners(stand) == [{one.uid, two.uid}]
    (item,) = stand.items("llamaweights")
    assert [owner.get("controller", False) for owner in item["metadata"]["ownerReferences"]] == [False, False]
    version = item["metadata"]["resourceVersion"]
    await one.take()  # the same again, as after a lost answer
    assert stand.items("llamaweights")[0]["metadata"]["resourceVersion"] == version

    await one.let_go()
    assert owners(stand) == [{two.uid}]
    assert stand.items("llamaweights")[0]["spec"] == item["spec"]
    await one.let_go()  # again: nothing is left to take back
    assert owners(stand) == [{two.uid}]
    await two.let_go(uid="another-uid")
    assert owners(stand) == [{two.uid}]
    await two.let_go()
    assert owners(stand) == []
    await two.let_go()  # what is gone is gone


async def test_the_first_owner_may_go_first_or_last(stand: Stand) -> None:
    one, two = Owner(stand, "one"), Owner(stand, "two")
    await one.take()
    await two.take()
    await two.let_go()
    assert owners(stand) == [{one.uid}]
    await two.take()
    assert owners(stand) == [{one.uid, two.uid}]


@pytest.mark.usefixtures("collector")
async def test_the_garbage_collector_takes_a_deleted_owner_off_and_the_last_takes_the_weights_along(
    stand: Stand,
) -> None:
    one, two = Owner(stand, "one"), Owner(stand, "two")
    await one.take()
    await two.take()
    stand.create(VALID_WEIGHTS)  # a user's own has no owner, and stays
    stand.kubectl("delete", KIND, "one")
    await until(lambda: owners(stand) in ([{two.uid}, set()], [set(), {two.uid}]), lambda: owners(stand))
    stand.kubectl("delete", KIND, "two")
    await until(lambda: owners(stand) == [set()], lambda: owners(stand))
    assert [item["metadata"]["name"] for item in stand.items("llamaweights")] == [NAME]


async def until(done: Callable[[], bool], seen: Callable[[], object], deadline_s: float = 60) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not done():
        assert loop.time() < end, f"not after {deadline_s} s; seen: {seen()}"
        await asyncio.sleep(0.2)


async def test_another_license_or_revision_is_another_object(stand: Stand) -> None:
    for owner in (Owner(stand, "one"), Owner(stand, "two", revision="v2"), Owner(stand, "three", license="mit")):
        await owner.take()
    assert len(owners(stand)) == 3


async def test_weights_that_a_user_made_are_found_by_their_content_and_never_deleted(stand: Stand) -> None:
    stand.create(VALID_WEIGHTS)
    owner = Owner(stand, "one")
    views = weights_views(stand.items("llamaweights"), ())
    view = weights_by_content(views)[content_of(owner.model)]
    assert (view.name, view.ours) == (NAME, False)
    ref = Ref(API_VERSION, WEIGHTS_KIND, NAME, view.uid)
    await stand.cluster.release(owner.key, ref, manager=owner.manager)
    assert [item["metadata"]["name"] for item in stand.items("llamaweights")] == [NAME]


async def test_a_release_that_crosses_a_change_is_tried_again(stand: Stand) -> None:
    one, two = Owner(stand, "one"), Owner(stand, "two")
    await one.take()
    crossing = CrossedCluster(stand, two)
    ref = Ref(API_VERSION, WEIGHTS_KIND, weights_name(one.model))
    with pytest.raises(Retry):
        await crossing.release(one.key, ref, manager=one.manager)
    assert owners(stand) == [{one.uid, two.uid}], "it was deleted under the second owner"
    await one.let_go()
    assert owners(stand) == [{two.uid}]


class CrossedCluster(KubeCluster):
    """Between the look and the write of a release another deployment takes the object."""

    def __init__(self, stand: Stand, other: Owner) -> None:
        super().__init__(stand.api)
        self._other = other

    async def _call(self, method: str, path: str, **rest: Any) -> Any:
        found = await super()._call(method, path, **rest)
        if method == "GET":
            await self._other.take()
        return found
