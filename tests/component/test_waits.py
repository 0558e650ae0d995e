"""A reference that is missing is named within 10 s, by deployment and weights, and nothing is said of it afterwards."""

from datetime import timedelta
from typing import Any

import pytest

from llama_operator.api import WEIGHTS_KIND, LlamaDeploymentSpec, LlamaWeightsStatus
from llama_operator.inquiry.pod_inquiry import Inquiries
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.ports import Key
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from tests.fakes.cluster import FakeCluster, clone
from tests.fakes.models import FACTS
from tests.fakes.weights import NAME, REMOTE, pod_body, weights_body
from tests.fakes.world import SETTINGS, World

KEY = Key("team", NAME)
HANGS = {"phase": "Pending", "containerStatuses": [{"name": "resolver", "state": {"waiting": {
    "reason": "ContainerCreating"}}}]}  # fmt: skip


class HangingWeights:
    """A LlamaWeights with credentials, whose Job's pod hangs on its node."""

    def __init__(self, **meta: Any) -> None:
        self.cluster = FakeCluster()
        self.cluster.objects[WEIGHTS_KIND, NAME] = weights_body(REMOTE, **meta)
        self.inquiries: Inquiries = {}

    @property
    def status(self) -> LlamaWeightsStatus:
        return LlamaWeightsStatus.model_validate(self.cluster.objects[WEIGHTS_KIND, NAME].get("status") or {})

    def job(self) -> dict[str, Any] | None:
        return next((body for (kind, _), body in self.cluster.objects.items() if kind == "Job"), None)

    async def run(self, seconds: int, *, with_pod: bool = True) -> None:
        for _ in range(seconds):
            self.cluster.now += timedelta(seconds=1)
            job = self.job()
            if job and with_pod and ("Pod", f"{job['metadata']['name']}-x") not in self.cluster.objects:
                pod = pod_body(job, created=self.cluster.now, **HANGS)
                pod["metadata"]["uid"] = "uid-pod"
                pod["spec"] |= job["spec"]["template"]["spec"]
                self.cluster.objects["Pod", pod["metadata"]["name"]] = pod
            children = [
                body for (kind, _), body in self.cluster.objects.items() if kind not in (WEIGHTS_KIND, "Secret")
            ]
            bodies = WeightsBodies(*clone((self.cluster.objects[WEIGHTS_KIND, NAME], children)))
            await reconcile_weights(
                bodies, cluster=self.cluster, settings=SETTINGS, now=self.cluster.now, inquiries=self.inquiries
            )


async def test_a_group_whose_claim_is_missing_says_so_within_10_s_and_serves_when_it_is_there() -> None:
    world = World()
    claims, world.cluster.given = world.cluster.given, {}
    spec = LlamaDeploymentSpec.model_validate(world.spec)
    pod_hash = template_hash(spec, FACTS, serving_image=SETTINGS.serving_image)
    world.nodes.unmounted.add(f"chat-{pod_hash}-0-1")
    await world.seconds(12)
    sentence = (
        "claim models does not exist in namespace team (model.source pvc://models/...); create it, or correct the field"
    )
    (group,) = [group for group in world.status.groups if group.ordinal == 0]
    assert (group.reason, group.message) == ("VolumeUnavailable", sentence)
    assert (world.status.reason, world.status.message) == ("VolumeUnavailable", sentence)
    world.cluster.given = claims
    world.nodes.unmounted.clear()
    await world.settle()
    assert world.status.groups_ready == "2/2"


OWNED = {"ownerReferences": [{"kind": "LlamaDeployment", "name": "chat", "uid": "d"}]}


@pytest.mark.parametrize(("meta", "field"), [({}, "credentialsSecret"), (OWNED, "model.credentialsSecret")])
async def test_weights_whose_secret_is_missing_say_so_within_10_s(meta: dict[str, Any], field: str) -> None:
    weights = HangingWeights(**meta)
    await weights.run(10)
    assert (weights.status.reason, weights.status.message) == (
        "ReferenceMissing",
        f"the Secret s3 does not exist in namespace team ({field}); create it, or correct the field",
    )
    weights.cluster.give("Secret", "s3")
    await weights.run(40)
    assert "gets its containers on node" in weights.status.message


async def test_a_job_whose_pods_are_refused_says_why_within_10_s() -> None:
    weights = HangingWeights()
    await weights.run(2, with_pod=False)
    job = weights.job()
    assert job is not None
    weights.cluster.record(
        job,
        "FailedCreate",
        'Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2',
    )
    await weights.run(8, with_pod=False)
    assert (weights.status.reason, weights.status.message) == (
        "ApiRejected",
        f"Job {job['metadata']['name']} can make no pod: the ResourceQuota q allows no more: requested pods=1,"
        " used: pods=2, limited: pods=2; raise it, or free what is used",
    )
