"""The loop of a LlamaWeights against the fake cluster: its life, a fault at every call, a crash at every write."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.api import WEIGHTS_KIND, LlamaWeightsStatus
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key, Rejected, Retry
from llama_operator.reconcile_weights import WeightsBodies, reconcile_weights
from llama_serving.config import names
from llama_serving.config.model import MANIFEST_KEY, WeightsReport
from tests.fakes.cluster import FakeCluster, clone
from tests.fakes.weights import ACCEPTED, MANIFEST, NAME, UID, ended, packed, pod_body, refusal, weights_body
from tests.fakes.world import Crash

KEY = Key("team", NAME)
SETTINGS = Settings("serving:1", "gateway:1", "llama-system")


@dataclass
class Weights:
    """A LlamaWeights, its loop, and who plays the Job controller, the kubelet and the resolver; a tick is a second."""

    report: WeightsReport = ACCEPTED
    seconds: int = 3  # that a look takes
    no_room: bool = False  # for the pod
    looks: int = 0  # that were made
    cluster: FakeCluster = field(default_factory=FakeCluster)

    def __post_init__(self) -> None:
        self.cluster.objects[WEIGHTS_KIND, NAME] = weights_body()

    @property
    def status(self) -> LlamaWeightsStatus:
        return LlamaWeightsStatus.model_validate(self.cluster.objects[WEIGHTS_KIND, NAME].get("status") or {})

    def fork(self) -> "Weights":
        twin: Weights = clone(self)
        return twin

    def kinds(self) -> list[str]:
        return sorted(kind for kind, _ in self.cluster.objects if kind != WEIGHTS_KIND)

    async def one_pass(self) -> None:
        children = [body for (kind, _), body in self.cluster.objects.items() if kind != WEIGHTS_KIND]
        bodies = WeightsBodies(*clone((self.cluster.objects[WEIGHTS_KIND, NAME], children)))
        try:
            await reconcile_weights(bodies, cluster=self.cluster, settings=SETTINGS, now=self.cluster.now)
        except (Retry, Rejected, Crash):
            return

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.one_pass()
            self.tick()

    async def settle(self, limit: int = 300) -> None:
        """Until nothing is written for ten seconds of the world."""
        quiet = 0
        for _ in range(limit):
            before = len(self.cluster.writes)
            await self.run(1)
            quiet = quiet + 1 if len(self.cluster.writes) == before else 0
            if quiet == 10:
                return
        raise AssertionError(f"not settled after {limit} s: {self.cluster.writes[-6:]}; {self.status.message}")

    def tick(self) -> None:
        self.cluster.now += timedelta(seconds=1)
        for (kind, name), body in list(self.cluster.objects.items()):
            if kind == "Job":
                self._work(body)
            if kind == "Pod" and ("Job", name.removesuffix("-x")) not in self.cluster.objects:
                self.cluster.vanish(kind, name)  # the garbage collector

    def _work(self, job: dict[str, Any]) -> None:
        key = ("Pod", f"{job['metadata']['name']}-x")
        pod = self.cluster.objects.get(key)
        if pod is None or pod["metadata"]["ownerReferences"][0]["uid"] != job["metadata"]["uid"]:
            self.looks += 1
            pod = self.cluster.objects[key] = pod_body(job, created=self.cluster.now)
            pod["left"] = self.seconds
        if self.no_room:
            pod["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]}
            return
        pod["status"].pop("conditions", None)
        pod["left"] -= 1
        if pod["left"] == 0:
            if self.report.outcome == "accepted":
                self._store(job)
            pod["status"] = ended(self.report.model_dump_json(), at=self.cluster.now)

    def _store(self, job: dict[str, Any]) -> None:
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        name = arguments[arguments.index("--config-map") + 1].partition("/")[2]
        if found := self.cluster.objects.get(("ConfigMap", name)):
            found["binaryData"] = {MANIFEST_KEY: packed(MANIFEST)}


async def ready() -> Weights:
    weights = Weights()
    await weights.settle()
    assert weights.status.ready, weights.status.message
    return weights


async def test_weights_become_ready_and_nothing_but_the_manifest_stays() -> None:
    weights = await ready()
    assert (weights.status.reason, weights.status.digest) == ("Accepted", MANIFEST.digest)
    assert weights.kinds() == ["ConfigMap"]
    assert weights.looks == 1
    writes = len(weights.cluster.writes)
    await weights.run(300)
    assert len(weights.cluster.writes) == writes
    assert [event.reason for event in weights.cluster.events] == ["ResolvingWeights", "Accepted"]


async def test_the_rights_of_the_resolver_are_there_before_its_job() -> None:
    weights = Weights()
    await weights.one_pass()
    kinds = [write.split()[1] for write in weights.cluster.writes if write.startswith("apply")]
    assert kinds == ["ConfigMap", "NetworkPolicy", "ServiceAccount", "Role", "RoleBinding", "Job"]


async def test_without_its_rights_no_job_is_started() -> None:
    weights = Weights()
    weights.cluster.faults[3] = Rejected("a policy forbids roles")
    await weights.one_pass()
    assert "Job" not in weights.kinds()
    assert (weights.status.reason, weights.status.message) == (
        "ApiRejected",
        f"Role {NAME}-resolver was refused: a policy forbids roles",
    )


async def test_a_refused_source_that_is_repaired_heals_by_itself() -> None:
    weights = Weights(report=refusal("WeightsGone", "no folder smollm2"))
    await weights.run(100)
    assert (weights.status.ready, weights.status.reason) == (False, "WeightsGone")
    assert weights.looks == 3  # at 0 s and after two pauses of 30 s
    assert [event.reason for event in weights.cluster.events] == ["ResolvingWeights", "WeightsGone"]
    weights.report = ACCEPTED
    await weights.settle()
    assert (weights.status.ready, weights.looks) == (True, 4)


async def test_what_is_far_away_is_asked_less_and_less_often() -> None:
    weights = Weights(report=refusal("WeightsDenied", "403"))
    weights.cluster.objects[WEIGHTS_KIND, NAME]["spec"] |= {"source": "s3://models/smollm2"}
    await weights.run(3600)
    # 30 + 60 + 120 + 240 + 480 s, then every 600 s, and some seconds for each look
    assert weights.looks == 10


async def test_other_credentials_are_tried_at_once() -> None:
    weights = Weights(report=refusal("WeightsDenied", "403"))
    spec = weights.cluster.objects[WEIGHTS_KIND, NAME]["spec"]
    spec |= {"source": "s3://models/smollm2", "credentialsSecret": "old"}
    await weights.run(600)
    weights.report = ACCEPTED
    weights.cluster.objects[WEIGHTS_KIND, NAME]["spec"] = {**spec, "credentialsSecret": "new"}
    await weights.run(10)
    assert weights.status.ready, weights.status.message
    assert weights.status.last_resolve is not None
    assert weights.status.last_resolve.number == 1


async def test_a_lost_manifest_is_made_again_and_the_rest_is_left_alone() -> None:
    weights = await ready()
    weights.cluster.vanish("ConfigMap", f"{NAME}-manifest")
    await weights.one_pass()
    assert (weights.status.ready, weights.status.digest) == (False, MANIFEST.digest)
    await weights.settle()
    assert (weights.status.ready, weights.looks) == (True, 2)
    assert weights.kinds() == ["ConfigMap"]


async def test_an_apply_of_the_config_map_leaves_the_manifest_in_it() -> None:
    weights = await ready()
    found = weights.cluster.objects["ConfigMap", f"{NAME}-manifest"]
    found["metadata"]["labels"].pop(names.LABEL_COMPONENT)  # somebody took it away
    await weights.settle()
    assert found["metadata"]["labels"][names.LABEL_COMPONENT] == names.COMPONENT_RESOLVER
    assert found["binaryData"] == {MANIFEST_KEY: packed(MANIFEST)}
    assert weights.looks == 1


async def test_a_job_that_somebody_deleted_is_made_again() -> None:
    weights = Weights(seconds=20)
    await weights.run(5)
    (job,) = [name for kind, name in weights.cluster.objects if kind == "Job"]
    weights.cluster.vanish("Job", job)
    await weights.settle()
    assert (weights.status.ready, weights.looks) == (True, 2)


async def test_a_pod_without_room_is_explained_and_waited_for() -> None:
    weights = Weights(no_room=True)
    await weights.run(30)
    assert (weights.status.reason, weights.looks) == ("Unschedulable", 1)
    assert "0/2 nodes" in weights.status.message
    weights.no_room = False
    await weights.settle()
    assert weights.status.ready


async def test_a_job_says_how_many_looks_it_makes() -> None:
    weights = Weights(report=refusal("WeightsGone"))
    await weights.run(50)
    (job,) = [body for (kind, _), body in weights.cluster.objects.items() if kind == "Job"]
    assert job["metadata"]["annotations"][names.ANNOTATION_ATTEMPT] == "2"
    assert job["metadata"]["ownerReferences"][0]["uid"] == UID


# -- a fault at every call ---------------------------------------------------------------------------------------------

Spoil = Callable[[Weights, int], None]


def fails(weights: Weights, number: int) -> None:
    weights.cluster.faults[number] = Retry("the API server did not answer")


def is_refused(weights: Weights, number: int) -> None:
    weights.cluster.faults[number] = Rejected("a policy says no, once")


def loses_its_answer(weights: Weights, number: int) -> None:
    weights.cluster.late_faults[number] = Retry("the connection was cut")


def kills_the_operator(weights: Weights, number: int) -> None:
    weights.cluster.faults[number] = Crash()


def kills_it_afterwards(weights: Weights, number: int) -> None:
    weights.cluster.late_faults[number] = Crash()


@pytest.mark.parametrize("spoil", [fails, is_refused, loses_its_answer, kills_the_operator, kills_it_afterwards])
@pytest.mark.parametrize("lost", [False, True], ids=["from nothing", "after a lost manifest"])
async def test_whatever_call_fails_the_end_is_the_same(spoil: Spoil, lost: bool) -> None:
    start = await ready() if lost else Weights()
    if lost:
        start.cluster.vanish("ConfigMap", f"{NAME}-manifest")
    calm = start.fork()
    await calm.settle()
    first, last = len(start.cluster.calls), len(calm.cluster.calls)
    assert last - first > 10
    for number in range(first, last):
        weights = start.fork()
        spoil(weights, number)
        await weights.settle()
        after = f"after call {number}, {calm.cluster.calls[number]}"
        assert (weights.status.ready, weights.status.digest) == (True, MANIFEST.digest), after
        assert weights.kinds() == ["ConfigMap"], after
        assert weights.looks - start.looks <= 2, after
