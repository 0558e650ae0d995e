"""Secrets with keys, and kinds of the cluster: one suite on the fake that component tests trust and on the real one."""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import LlamaDeploymentSpec
from llama_operator.edge.access_pass import AccessFaults, reconcile_access
from llama_operator.manifests.common import Context
from llama_operator.manifests.diff import with_digest
from llama_operator.manifests.edge.access import rules_object
from llama_operator.observe.access import content_hash
from llama_operator.ports import AccessSecrets, Manifest
from llama_serving.config import names
from llama_serving.config.access.rules import ACCESS_FILE, AccessKey, AccessRules
from tests.contract.support.apiserver import ApiServer, client_of
from tests.contract.support.benches import Bench, FakeBench, RealBench, seen
from tests.fakes.edge import GOOD_KEY, a_secret
from tests.fakes.samples import CPU_SPEC, SETTINGS

DEADLINE_S = 20.0
SPEC = {**CPU_SPEC, "access": {"mode": "keys"}}


def put_key(bench: Bench, name: str, **fields: str) -> None:
    body = a_secret(name, labels={names.LABEL_DEPLOYMENT: bench.key.name}, **{"key": GOOD_KEY + name, **fields})
    if isinstance(bench, FakeBench):
        bench.cluster.objects["Secret", name] = body
        return
    assert isinstance(bench, RealBench)
    meta = {"name": name, "labels": body["metadata"]["labels"]}
    bench.rest.create(bench.key.namespace, {**body, "metadata": meta})


async def shows(bench: Bench, condition: Callable[[AccessSecrets], bool]) -> AccessSecrets:
    """Until the watch shows it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = await bench.cluster.access_secrets(bench.key)
        if condition(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def a_rules_object(bench: Bench, *keys: AccessKey) -> Manifest:
    uid = seen(bench, "LlamaDeployment", bench.key.name)["metadata"]["uid"]
    context = Context(bench.key, uid, LlamaDeploymentSpec.model_validate(SPEC), SETTINGS)
    return with_digest(rules_object(context, AccessRules(mode="keys", keys=keys)))


async def test_labelled_secrets_are_shown_with_their_faults_and_no_other(bench: Bench) -> None:
    put_key(bench, "ann", tokensPerMinute="60")
    put_key(bench, "bad", weight="none")
    found = await shows(bench, lambda one: len(one.keys) == 2)
    ann, bad = found.keys
    assert ann.rule is not None
    assert (ann.name, ann.rule.tokens_per_minute, ann.labels[names.LABEL_DEPLOYMENT]) == ("ann", 60, bench.key.name)
    assert ann.created
    assert (bad.rule, "weight" in bad.fault, found.denied) == (None, True, "")


async def test_changes_and_deletions_show(bench: Bench) -> None:
    put_key(bench, "ann")
    await shows(bench, lambda one: [key.name for key in one.keys] == ["ann"])
    bench.change("Secret", "ann", {"data": {"weight": base64.b64encode(b"7").decode()}})
    await shows(bench, lambda one: one.keys[0].rule is not None and one.keys[0].rule.weight == 7)
    bench.change("Secret", "ann", {"metadata": {"labels": {names.LABEL_DEPLOYMENT: "other"}}})
    await shows(bench, lambda one: one.keys[0].labels[names.LABEL_DEPLOYMENT] == "other")
    bench.remove("Secret", "ann")
    await shows(bench, lambda one: not one.keys)


async def test_rules_are_shown_by_their_hash_and_apart_from_keys(bench: Bench) -> None:
    wanted = a_rules_object(bench)
    await bench.cluster.ensure(bench.key, wanted)
    found = await shows(bench, lambda one: bool(one.rules))
    (rules,) = found.rules.values()
    assert (rules.name, found.keys) == (wanted["metadata"]["name"], ())
    assert rules.owners == {wanted["metadata"]["ownerReferences"][0]["uid"]}
    assert rules.digest == wanted["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    assert rules.content == content_hash(wanted["data"][ACCESS_FILE])


async def test_an_apply_of_other_rules_shows_too(bench: Bench) -> None:
    await bench.cluster.ensure(bench.key, a_rules_object(bench))
    other = a_rules_object(bench, AccessKey(name="ann", sha256="0" * 64))
    await bench.cluster.apply(bench.key, other, force=True)
    content = content_hash(other["data"][ACCESS_FILE])
    await shows(bench, lambda one: [rule.content for rule in one.rules.values()] == [content])


async def test_kinds_that_the_cluster_has(bench: Bench) -> None:
    assert await bench.cluster.has_kind("networking.k8s.io/v1", "Ingress")
    assert not await bench.cluster.has_kind("nowhere.example.com/v1", "HTTPRoute")


@pytest.mark.apiserver
async def test_without_its_crd_there_is_no_route(real: RealBench) -> None:
    assert not await real.cluster.has_kind("gateway.networking.k8s.io/v1", "HTTPRoute")


@pytest.mark.apiserver
async def test_the_event_of_a_revoked_key_alone_takes_it_out_of_the_rules(apiserver: ApiServer, namespace: str) -> None:
    """From its deletion on a real API server to the rules that gateways watch, without a pass of the object."""
    async with await client_of(apiserver) as api:
        bench = RealBench(apiserver, namespace, api)
        woken = asyncio.Event()
        cluster = KubeCluster(api, keys_changed=lambda _: woken.set())
        body: dict[str, Any] = {**seen(bench, "LlamaDeployment", bench.key.name), "spec": SPEC}
        async with bench.cluster, cluster:
            for name in ("ann", "bob"):
                put_key(bench, name)

            async def one_pass() -> None:
                await reconcile_access(body, cluster=cluster, settings=SETTINGS, faults=AccessFaults())

            async def until(expect: list[str]) -> None:
                began = time.monotonic()
                while names_in(bench) != expect:
                    assert time.monotonic() - began < DEADLINE_S, names_in(bench)
                    async with asyncio.timeout(DEADLINE_S):
                        await woken.wait()
                    woken.clear()
                    await one_pass()

            await one_pass()
            await until(["ann", "bob"])
            bench.remove("Secret", "ann")
            await until(["bob"])


def names_in(bench: Bench) -> list[str]:
    found = bench.read("Secret", f"{bench.key.name}-access")
    text = base64.b64decode(found["data"][ACCESS_FILE]) if found else b"{}"
    return [key.name for key in AccessRules.model_validate_json(text).keys]
