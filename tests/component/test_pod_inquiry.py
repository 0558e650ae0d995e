"""What is asked about pods that wait: little, seldom, and nothing is lost by a question that fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from llama_operator.inquiry.pod_inquiry import (
    AFTER,
    AT_A_TIME,
    DENIED,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PodInquiry,
    job_question,
    pod_question,
)
from llama_operator.observe.findings import Reference, UnboundClaim
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.explain import explain_start
from llama_operator.ports import Key, Rejected, Retry
from tests.fakes.cluster import FakeCluster
from tests.unit.operator.waiting_pods import NAME, SHARED, body, creating, pull, unpack, unscheduled, waiting
from tests.unit.operator.worlds import NOW, ago

KEY = Key("team", "chat")
MOUNT = 'MountVolume.SetUp failed for volume "credentials" : secret "hub" not found'
HUB = Reference("Secret", "hub", "credentials")
MISSES_HUB = (
    "the Secret hub does not exist in namespace team (model.credentialsSecret); create it, or correct the field"
)


class Asked:
    """A cluster in which everything that the pod names exists, but the Secret hub."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.cluster.now = NOW
        self.inquiry = PodInquiry()
        self.pod = body(containerStatuses=[{"name": "stage", "state": {"waiting": {"reason": "ContainerCreating"}}}])
        for kind, name in (("ConfigMap", "chat-abc-0"), ("Secret", "chat-token"), ("Secret", "pull")):
            self.add(kind, name)
        self.add("PersistentVolumeClaim", "llama", status={"phase": "Bound"})

    def add(self, kind: str, name: str, **fields: Any) -> None:
        self.cluster.give(kind, name, **{"data": {"token": "secret"}} | fields)

    async def ask(self, *pods: PodView, now: datetime = NOW) -> tuple[PodView, ...]:
        asked = pods or (pod_view(self.pod),)
        return await self.inquiry.of_pods(asked, key=KEY, cluster=self.cluster, now=now)

    async def said(self, now: datetime = NOW) -> str:
        (pod,) = await self.ask(now=now)
        found = explain_start(pod, None, now)
        assert found is not None
        return found.detail


# -- whom is asked, and when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "asks"),
    [
        (creating(), True),
        (creating(phase="Running"), False),
        (replace(creating(), created=NOW), False),  # it has just been made
        (replace(creating(), bound=NOW - AFTER + timedelta(seconds=1)), False),
        (replace(creating(), gated=True, node=""), False),
        (replace(creating(), gone_by=NOW), False),
        (replace(creating(), node=""), False),
        (waiting("CrashLoopBackOff"), False),  # the status says enough
        (waiting("CreateContainerConfigError", 'secret "x" not found'), False),
        (unscheduled("0/2 nodes are available: 2 Insufficient cpu."), False),
    ],
)
def test_only_a_pod_that_waits_unexplained_is_asked_about(pod: PodView, asks: bool) -> None:
    question = pod_question(pod, NOW)
    assert (question is not None) is asks
    assert question is None or question.about is not None


def test_of_an_image_the_pull_secrets_are_asked_and_events_where_the_status_has_none() -> None:
    question = pod_question(pull(unpack("401 Unauthorized")), NOW)
    assert question is not None
    assert (question.about, [one.name for one in question.references]) == (None, ["pull"])
    question = pod_question(waiting("ImagePullBackOff", "Back-off pulling image x"), NOW)
    assert question is not None
    assert question.about is not None


def test_of_an_unbound_claim_the_claims_are_asked() -> None:
    pod = unscheduled("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", volumes=SHARED)
    question = pod_question(pod, NOW)
    assert question is not None
    assert (question.about, [one.name for one in question.references]) == (None, ["fast"])


def test_a_job_is_asked_about_when_it_has_had_time_to_make_its_pod() -> None:
    assert job_question("j", "u", created=ago(1), now=NOW) is None
    assert job_question("j", "u", created=ago(10), now=NOW) is not None


async def test_an_object_is_asked_about_at_growing_pauses() -> None:
    asked, moments = Asked(), []
    for second in range(300):
        before = len(asked.cluster.calls)
        await asked.ask(now=NOW + timedelta(seconds=second))
        if len(asked.cluster.calls) > before:
            moments.append(second)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


async def test_a_thousand_pods_are_asked_about_a_few_at_a_time_and_each_in_its_turn() -> None:
    asked = Asked()
    pods = tuple(replace(pod_view(asked.pod), name=f"p-{number:04}", uid=f"u-{number:04}") for number in range(1000))
    await asked.ask(*pods)
    events = [call for call in asked.cluster.calls if call.startswith("events")]
    looked = [call for call in asked.cluster.calls if call.startswith("look up")]
    assert (len(events), len(looked)) == (AT_A_TIME, 5), "what two pods name is looked up once"
    await asked.ask(*pods)
    events = [call for call in asked.cluster.calls if call.startswith("events")]
    assert len(set(events)) == 2 * AT_A_TIME


async def test_pods_that_do_not_wait_any_more_are_forgotten() -> None:
    asked = Asked()
    await asked.ask()
    assert list(asked.inquiry.answers) == ["u"]
    await asked.ask(creating(phase="Running"))
    assert asked.inquiry.answers == {}


# -- what is found -----------------------------------------------------------------------------------------------------


async def test_a_missing_secret_is_found_without_any_event() -> None:
    asked = Asked()
    assert await asked.said() == MISSES_HUB
    asked.add("Secret", "hub")
    assert await asked.said(NOW + timedelta(seconds=FIRST_PAUSE)) == (
        f"pod {NAME} gets its containers on node node-1, 40 s so far"
    )


async def test_a_cause_outlives_its_event() -> None:
    asked = Asked()
    asked.add("Secret", "hub")
    text = 'MountVolume.SetUp failed for volume "credentials" : references non-existent secret key: token'
    asked.cluster.record({"kind": "Pod", **asked.pod}, "FailedMount", text)
    asked.cluster.record({"kind": "Pod", "metadata": {"name": NAME, "uid": "other"}}, "FailedMount", MOUNT)
    expected = "the Secret hub in namespace team has no key token (model.credentialsSecret); add the key"
    assert await asked.said() == expected
    asked.cluster.recorded.clear()  # an hour later
    assert await asked.said(NOW + timedelta(hours=2)) == expected


async def test_a_claim_without_a_volume_says_what_its_controllers_say() -> None:
    asked = Asked()
    asked.add("PersistentVolumeClaim", "fast", status={"phase": "Pending"}, spec={"storageClassName": "quick"})
    claim = asked.cluster.given["PersistentVolumeClaim", "fast"]
    asked.cluster.record(claim, "ProvisioningFailed", 'storageclass.storage.k8s.io "quick" not found')
    message = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    (pod,) = await asked.ask(unscheduled(message, volumes=SHARED))
    (found,) = pod.findings.unbound
    assert isinstance(found, UnboundClaim)
    assert (found.name, found.storage_class) == ("fast", "quick")
    said = explain_start(pod, None, NOW)
    assert said is not None
    assert said.detail == (
        "claim fast in namespace team (staging.sharedClaimName) has no volume yet: the StorageClass quick does not"
        " exist; create it, or make the claim anew with another class"
    )


# -- faults ------------------------------------------------------------------------------------------------------------

FAULTS = [Rejected("events is forbidden"), Retry("no answer within 10 s"), Retry("it answers HTTP 500")]


def failing(part: str, error: Exception) -> Callable[[str], None]:
    def intercept(what: str) -> None:
        if what.startswith(part):
            raise error

    return intercept


@pytest.mark.parametrize("error", FAULTS, ids=str)
@pytest.mark.parametrize("part", ["events", "look up", ""])
async def test_a_question_that_fails_leaves_the_sentence_that_is_known_without_it(part: str, error: Exception) -> None:
    asked = Asked()
    asked.cluster.record({"kind": "Pod", **asked.pod}, "FailedMount", MOUNT)
    asked.cluster.intercept = failing(part, error)
    plain = f"pod {NAME} gets its containers on node node-1, 40 s so far"
    assert await asked.said() == (MISSES_HUB if part else plain), "the other question is answered"


@pytest.mark.parametrize("error", FAULTS, ids=str)
async def test_what_was_found_stays_while_questions_fail(error: Exception) -> None:
    asked = Asked()
    assert await asked.said() == MISSES_HUB
    asked.cluster.intercept = failing("", error)
    for minutes in (1, 10, 100):
        assert await asked.said(NOW + timedelta(minutes=minutes)) == MISSES_HUB


async def test_a_right_that_is_missing_is_not_asked_for_in_every_pass() -> None:
    asked, tried = Asked(), []

    def intercept(what: str) -> None:
        if what.startswith("events"):
            tried.append(what)
            raise Rejected("events is forbidden")

    asked.cluster.intercept = intercept
    for second in range(int(DENIED.total_seconds()) + int(LONGEST_PAUSE) + 1):
        await asked.ask(now=NOW + timedelta(seconds=second))
    assert len(tried) == 2


async def test_no_content_of_a_secret_comes_to_the_operator() -> None:
    asked = Asked()
    asked.add("Secret", "hub")
    (pod,) = await asked.ask()
    assert HUB in pod.findings.present
    assert "data" not in str(pod)
