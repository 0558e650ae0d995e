"""A Secret is sent to a source only if its owner labelled it: the loop of a LlamaWeights against the fake cluster."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.api import WEIGHTS_KIND, LlamaWeightsStatus
from llama_operator.observe.weights import weights_views
from llama_operator.plan.settings import Settings
from llama_operator.ports import Forbidden
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_serving.config import names
from tests.fakes.cluster import FakeCluster, clone
from tests.fakes.weights import MANIFEST, NAME, REMOTE, manifest_body, weights_body

SETTINGS = Settings("serving:1", "gateway:1", "llama-system", label_required=True)


@dataclass
class World:
    """A LlamaWeights that names the Secret ``s3``, and its loop."""

    settings: Settings = SETTINGS
    cluster: FakeCluster = field(default_factory=FakeCluster)

    def __post_init__(self) -> None:
        self.cluster.objects[WEIGHTS_KIND, NAME] = weights_body(REMOTE)

    @property
    def status(self) -> LlamaWeightsStatus:
        return LlamaWeightsStatus.model_validate(self.cluster.objects[WEIGHTS_KIND, NAME].get("status") or {})

    @property
    def jobs(self) -> list[str]:
        return [name for kind, name in self.cluster.objects if kind == "Job"]

    async def one_pass(self) -> float:
        children = [body for (kind, _), body in self.cluster.objects.items() if kind != WEIGHTS_KIND]
        bodies = WeightsBodies(*clone((self.cluster.objects[WEIGHTS_KIND, NAME], children)))
        self.cluster.now += timedelta(seconds=1)
        return await reconcile_weights(bodies, cluster=self.cluster, settings=self.settings, now=self.cluster.now)

    def secret(self, name: str = "s3", **metadata: dict[str, str]) -> None:
        self.cluster.given["Secret", name] = {"kind": "Secret", "metadata": {"name": name, **metadata}}

    def allow(self, *, hosts: str | None = None) -> None:
        notes = {} if hosts is None else {names.ANNOTATION_SOURCE_HOSTS: hosts}
        self.secret(labels={names.LABEL_SOURCE: "enabled"}, annotations=notes)


async def test_without_the_label_no_job_is_made_and_the_remedy_is_said() -> None:
    world = World()
    world.secret()
    pause = await world.one_pass()
    assert world.jobs == []
    assert world.status.reason == "SecretNotAllowed"
    assert "kubectl label secret s3 llama-operator.dev/source=enabled" in world.status.message
    assert not world.status.ready
    assert pause <= 15
    world.allow()
    await world.one_pass()
    assert len(world.jobs) == 1
    assert world.status.permitted_secret == "s3"


async def test_a_secret_that_does_not_exist_yet_is_waited_for_without_a_job() -> None:
    """A Job would mount whatever comes under this name, with the label or without it."""
    world = World()
    await world.one_pass()
    assert world.jobs == []
    assert world.status.reason == "ReferenceMissing"
    assert world.status.permitted_secret is None


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        ("s3://models", True),
        ("s3://*", True),
        ("hf://meta-llama s3://models,", True),
        ("s3://other", False),
        ("", False),
    ],
)
async def test_the_annotation_says_where_to(hosts: str, *, allowed: bool) -> None:
    for settings in (SETTINGS, replace(SETTINGS, label_required=False)):
        world = World(settings)
        world.allow(hosts=hosts)
        await world.one_pass()
        assert bool(world.jobs) is allowed
        assert (world.status.reason == "SecretNotAllowed") is not allowed


async def test_secrets_of_the_operator_are_never_sent() -> None:
    world = World(replace(SETTINGS, label_required=False))
    world.allow()
    world.cluster.given["Secret", "s3"]["metadata"]["labels"] |= {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    await world.one_pass()
    assert (world.jobs, world.status.reason) == ([], "SecretNotAllowed")


async def test_with_the_rule_of_before_any_secret_is_sent() -> None:
    world = World(replace(SETTINGS, label_required=False))
    world.secret()
    await world.one_pass()
    assert len(world.jobs) == 1


async def test_what_was_resolved_before_the_rule_keeps_its_secret() -> None:
    world = World()
    world.secret()
    world.cluster.objects[WEIGHTS_KIND, NAME]["status"] = {"ready": True, "key": "of-an-older-version"}
    await world.one_pass()
    assert world.status.reason != "SecretNotAllowed"
    assert world.status.permitted_secret == "s3"


async def test_another_secret_of_resolved_weights_is_another_question() -> None:
    """A source that took nothing, resolved; then its spec names a Secret: neither a Job nor a pod may have it."""
    world = World()
    world.allow()
    await world.one_pass()
    body = world.cluster.objects[WEIGHTS_KIND, NAME]
    body["status"] = {**body["status"], "ready": True, "digest": MANIFEST.digest}
    assert view_is_ready(body)
    body["spec"] = {**body["spec"], "credentialsSecret": "victim"}
    assert not view_is_ready(body), "pods would mount it before the operator has looked"
    world.secret("victim")
    await world.one_pass()
    assert (world.jobs, world.status.reason, world.status.ready) == ([], "SecretNotAllowed", False)
    assert world.status.permitted_secret == "s3"


async def test_nothing_is_sent_while_the_secret_cannot_be_looked_at() -> None:
    world = World()
    world.allow()

    def refuse(call: str) -> None:
        if call.startswith("look up"):
            raise Forbidden("secrets is forbidden")

    world.cluster.intercept = refuse
    await world.one_pass()
    assert (world.jobs, world.status.reason) == ([], "SecretNotAllowed")
    assert "is not known: secrets is forbidden" in world.status.message


def view_is_ready(body: dict[str, Any]) -> bool:
    return weights_views([body], [manifest_body()])[NAME].ready
