"""What was found about a pod: references that are missing, claims without a volume; how pods end and are refused."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.observe.causes.cause import CauseKind
from llama_operator.observe.causes.images import image_cause
from llama_operator.observe.causes.kubelet import claim_cause, ended_cause, event_cause, waiting_cause
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.observe.causes.scheduler import scheduler_causes
from llama_operator.observe.findings import PULL, Reference, UnboundClaim, references
from llama_operator.observe.pods import PodView
from llama_operator.plan.causes import ENDINGS, REFUSALS, SAYINGS, UNBOUND, explain_cause, refusal_words
from llama_operator.plan.explain import explain_gateway, explain_group, explain_start
from llama_operator.plan.groups.pods import OVERDUE, complete_group
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.scheduler_words import COUNTED, scheduler_words
from llama_operator.ports import Capacity, NodeCapacity, SeenEvent
from llama_serving.config.reason_catalogue import CATALOGUE, Severity
from llama_serving.config.reasons import Reason
from tests.unit.operator.waiting_pods import (
    IMAGE,
    NAME,
    OWN,
    SHARED,
    body,
    creating,
    mount,
    pull,
    said,
    unpack,
    unscheduled,
    waiting,
)
from tests.unit.operator.worlds import NEW, NOW, SPEC, ago, gateway_deployment, stage, state_of, worker, world

HUB = Reference("Secret", "hub", "credentials")
TOKEN = Reference("Secret", "chat-token", "token")
PULLS = Reference("Secret", "pull", PULL)
MISSES_HUB = (
    "the Secret hub does not exist in namespace team (model.credentialsSecret); create it, or correct the field"
)


def with_(pod: PodView, **found: Any) -> PodView:
    return replace(pod, findings=replace(pod.findings, **found))


# -- references --------------------------------------------------------------------------------------------------------


def test_a_secret_that_was_looked_up_in_vain_needs_no_event() -> None:
    assert said(with_(creating(), absent=frozenset({HUB}))) == ("ReferenceMissing", MISSES_HUB)


def test_of_weights_the_field_has_its_own_name() -> None:
    found = explain_start(with_(creating(), absent=frozenset({HUB})), None, NOW, prefix="")
    assert found is not None
    assert found.detail == MISSES_HUB.replace("model.", "")


def test_what_a_user_must_create_is_said_before_what_the_operator_makes_again() -> None:
    pod = with_(creating(), absent=frozenset({HUB, TOKEN}))
    found = explain_start(pod, None, NOW)
    assert found is not None
    assert (found.detail, found.passing) == (MISSES_HUB, False)
    found = explain_start(with_(creating(), absent=frozenset({TOKEN})), None, NOW)
    assert found is not None
    assert found.passing
    assert found.detail == "the Secret chat-token does not exist in namespace team; the operator makes it again"


def test_an_object_that_was_made_since_is_not_called_missing() -> None:
    pod = mount("credentials", 'secret "hub" not found')
    assert said(pod) == ("ReferenceMissing", MISSES_HUB)
    assert said(with_(pod, present=frozenset({HUB}))) == (
        "PodStarting", "pod NAME gets its containers on node node-1, 40 s so far"
    )  # fmt: skip


def test_a_pod_has_outlived_events_from_before_it_moved() -> None:
    pod = replace(mount("credentials", 'secret "hub" not found'), moved=ago(10))
    assert said(pod)[0] == "PodStarting"


def test_the_newest_event_that_says_something_counts() -> None:
    slow = "Unable to attach or mount volumes: unmounted volumes=[credentials], unattached volumes=[]: timed out"
    missing = 'MountVolume.SetUp failed for volume "credentials" : secret "hub" not found'
    assert said(creating(missing, slow)) == said(creating(slow, missing)) == ("ReferenceMissing", MISSES_HUB)
    assert said(creating(missing, f'Pulling image "{IMAGE}"'))[1].startswith("pod NAME pulls")
    assert said(creating("something new")) == (
        "PodStarting", "pod NAME gets its containers on node node-1, 40 s so far"
    )  # fmt: skip


def test_a_pull_secret_is_blamed_only_where_it_matters() -> None:
    denied = pull(unpack("401 Unauthorized"))
    assert said(with_(denied, absent=frozenset({PULLS}))) == (
        "ReferenceMissing",
        "the Secret pull does not exist in namespace team (images.pullSecrets); create it, or correct the field",
    )
    refused = pull(unpack("dial tcp 10.0.0.9:443: connect: connection refused"))
    assert said(with_(refused, absent=frozenset({PULLS})))[0] == "ImageUnavailable"
    assert said(with_(creating(), absent=frozenset({PULLS})))[0] == "PodStarting"


def test_older_kubelets_say_in_an_event_why_there_is_no_image() -> None:
    event = SeenEvent("Failed", f'Failed to pull image "{IMAGE}": {unpack(IMAGE + ": not found")}', ago(5))
    pod = with_(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'), events=(event,))
    assert said(pod)[1].endswith(f"the registry has no {IMAGE} (images.serving); push it, or correct the name")


def test_what_a_pod_names() -> None:
    found = references(body(volumes=[*OWN, {"name": "o", "secret": {"secretName": "x", "optional": True}}]))
    assert found == (Reference("PersistentVolumeClaim", f"{NAME}-weights", "weights"), PULLS)
    assert references({"metadata": {"name": "p"}}) == ()


# -- claims without a volume -------------------------------------------------------------------------------------------

NOT_BOUND = "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("", "no PersistentVolume matches it, and nothing makes one so far"),
        (
            'storageclass.storage.k8s.io "fast" not found',
            "the StorageClass fast does not exist; create it, or make the claim anew with another class",
        ),
        (
            "no persistent volumes available for this claim and no storage class is set",
            "it names no StorageClass, the cluster has no default, and no free PersistentVolume matches it",
        ),
        (
            'failed to provision volume with StorageClass "fast": rpc error: code = ResourceExhausted desc = no space',
            "the StorageClass fast could not make one: no space",
        ),
        (
            "Waiting for a volume to be created either by the external provisioner 'efs.csi.aws.com' or manually by the"
            " system administrator. If volume creation is delayed, please verify that the provisioner is running and"
            " correctly registered.",
            "the provisioner efs.csi.aws.com has not made one; see that its driver runs",
        ),
        (
            "waiting for first consumer to be created before binding",
            "its StorageClass makes the volume when the pod has a node",
        ),
    ],
)
def test_a_claim_that_does_not_bind(message: str, why: str) -> None:
    claim = UnboundClaim("fast", "fast", (SeenEvent("X", message, ago(5)),) if message else ())
    pod = with_(unscheduled(NOT_BOUND, volumes=SHARED), unbound=(claim,))
    assert said(pod) == (
        "VolumeUnavailable", f"claim fast in namespace team (staging.sharedClaimName) has no volume yet: {why}"
    )  # fmt: skip


# -- how pods end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. ",
         "node node-0 was low on memory and evicted it"),
        ("Evicted", "The node had condition: [DiskPressure]. ", "node node-0 was low on DiskPressure and evicted it"),
        ("Evicted", 'Usage of EmptyDir volume "weights" exceeds the limit "10Gi". ',
         "its volume weights grew over 10Gi; raise staging.sizeLimit"),
        ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
         "it used more of the node's disk than its limit of 1Gi"),
        ("UnexpectedAdmissionError", "Allocate failed due to requested number of devices unavailable for"
         " nvidia.com/gpu. Requested: 8, Available: 7, which is unexpected",
         "node node-0 did not let it in: 8 nvidia.com/gpu were asked for, 7 are left"),
        ("UnexpectedAdmissionError", "Allocate failed due to no healthy devices present; cannot allocate unhealthy"
         " devices nvidia.com/gpu, which is unexpected",
         "node node-0 did not let it in: no nvidia.com/gpu of it is healthy; see its device plugin"),
        ("UnexpectedAdmissionError", "Allocate failed due to cannot allocate unregistered device nvidia.com/gpu, which"
         " is unexpected",
         "node node-0 did not let it in: its device plugin for nvidia.com/gpu has not registered"),
        ("OutOfcpu", "Node didn't have enough resource: cpu, requested: 4000, used: 3000, capacity: 4000",
         "node node-0 did not let it in: too little cpu was free"),
        ("TopologyAffinityError", "Resources cannot be allocated with Topology locality", "node node-0 did not let it"
         " in: its cpus and devices cannot be given from as few NUMA nodes as its policy asks"),
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", "node node-0 shuts down"),
        ("NodeShutdown", "Pod was rejected as the node is shutting down.", "node node-0 shuts down"),
        ("NodeLost", "Node node-0 which was running pod x is unresponsive", "node node-0 does not answer"),
        ("NodeAffinity", "Predicate NodeAffinity failed",
         "node node-0 has no longer the labels that it asks for"),
        ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline",
         "it ran longer than its deadline"),
        ("Preempting", "Preempted in order to admit critical pod", "a pod of higher priority took its place"),
    ],
)  # fmt: skip
def test_how_a_pod_ended(reason: str, message: str, words: str) -> None:
    pod = stage(0, 0, phase="Failed", reason=reason, message=message.strip(" ."))
    assert rebuilt(pod) == f"group 0 is rebuilt: pod {pod.name} ended: {words}; 2 of its 2 pods are still to go"


def test_an_end_in_no_known_form_is_quoted() -> None:
    pod = stage(0, 0, phase="Failed", reason="Strange", message="something new")
    assert f"pod {pod.name} ended: Strange something new;" in rebuilt(pod)


def rebuilt(pod: PodView) -> str:
    other = worker(0)
    actions = complete_group((pod, other), GroupId("chat", 0, NEW), SPEC, state=state_of(world(pod, other)))
    return actions.explanations[0].detail


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
         "a pod of higher priority took its place"),
        (("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
         "node node-0 got a taint that it does not tolerate"),
        (("EvictionByEvictionAPI", "Eviction API: evicting"),
         "somebody evicted it from node node-0, as kubectl drain does"),
        (("DeletionByPodGC", "PodGC: node no longer exists"), "node node-0 is gone"),
    ],
)  # fmt: skip
def test_why_a_pod_is_to_go(target: tuple[str, str], words: str) -> None:
    pod = stage(0, 0, gone_by=NOW, target=target)
    assert f"pod {pod.name} is being deleted: {words};" in rebuilt(pod)


def test_a_pod_that_a_finalizer_keeps() -> None:
    pod = stage(0, 0, gone_by=NOW - OVERDUE, finalizers=("example.com/keep",))
    assert "is being deleted;" in rebuilt(pod)
    pod = replace(pod, gone_by=NOW - timedelta(seconds=90))
    assert (
        f"pod {pod.name} is deleted, and the finalizer of somebody else keeps it (example.com/keep), 90 s so far"
        in rebuilt(pod)
    )


def test_a_pod_on_a_lost_node() -> None:
    pod = stage(0, 0, created=ago(300))
    lost = NodeCapacity("node-0", {}, ready=False, schedulable=True, allocatable={}, requested={})
    seen = world(pod, worker(0), capacity=Capacity((lost,)))
    found = explain_group(0, 2, state_of(seen))
    assert found is not None
    assert (found.reason, found.detail) == (
        Reason.POD_LOST,
        f"pod {pod.name} is on node node-0, which is not ready: its kubelet does not answer, 5 min after the pod was"
        " made",
    )


# -- refusals ----------------------------------------------------------------------------------------------------------

FORBIDDEN = 'pods "chat-abc-0-0" is forbidden: '


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FORBIDDEN + "exceeded quota: compute, requested: requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu=4,"
         " limited: requests.nvidia.com/gpu=8",
         "the ResourceQuota compute allows no more: requested requests.nvidia.com/gpu=8, used:"
         " requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=8; raise it, or free what is used"),
        (FORBIDDEN + "failed quota: compute: must specify limits.cpu for: stage",
         "the ResourceQuota compute asks for limits.cpu for: stage on every container, such as from a LimitRange with"
         " defaults"),
        (FORBIDDEN + "maximum memory usage per Container is 1Gi, but limit is 8Gi",
         "a LimitRange of the namespace forbids it: maximum memory usage per Container is 1Gi, but limit is 8Gi"),
        (FORBIDDEN + "[maximum cpu usage per Pod is 1, but request is 4, maximum memory usage per Pod is 1Gi, but"
         " request is 8Gi]",
         "a LimitRange of the namespace forbids it: maximum cpu usage per Pod is 1, but request is 4, maximum memory"
         " usage per Pod is 1Gi, but request is 8Gi"),
        (FORBIDDEN + 'violates PodSecurity "restricted:latest": hostPath volumes (volume "x")',
         'Pod Security restricted of the namespace forbids it: hostPath volumes (volume "x")'),
        (FORBIDDEN + 'violates PodSecurity "baseline:latest": non-default capabilities (container "stage" must not'
         ' include "IPC_LOCK" in securityContext.capabilities.add)',
         'Pod Security baseline of the namespace forbids it: non-default capabilities (container "stage" must not'
         ' include "IPC_LOCK" in securityContext.capabilities.add); device.ipcLock asks for IPC_LOCK, which only the'
         " level privileged allows: set it to false, or the level"),
        (FORBIDDEN + 'error looking up service account team/reader: serviceaccount "reader" not found',
         "the ServiceAccount reader does not exist (model.serviceAccountName); create it, or correct the field"),
        (FORBIDDEN + "no PriorityClass with name nope was found",
         "the PriorityClass nope does not exist (placement.priorityClassName); create it, or correct the field"),
        (FORBIDDEN + 'pod rejected: RuntimeClass "nvidia" not found',
         "the RuntimeClass nvidia does not exist (placement.runtimeClassName); create it, or correct the field"),
        (FORBIDDEN + 'error looking up service account team/chat-stages: serviceaccount "chat-stages" not found',
         "the ServiceAccount chat-stages does not exist; create it"),
        ('admission webhook "validate.kyverno.svc-fail" denied the request: policy Pod/x fails: no latest tag',
         "the admission webhook validate.kyverno.svc-fail denies it: policy Pod/x fails: no latest tag"),
        ('Internal error occurred: failed calling webhook "gate.example.com": Post "https://x": context deadline'
         " exceeded", "the admission webhook gate.example.com could not be asked; see that it runs"),
        ("ValidatingAdmissionPolicy 'images' with binding 'all' denied request: only our registry",
         "the ValidatingAdmissionPolicy images denies it: only our registry"),
        (FORBIDDEN + "unable to create new content in namespace team because it is being terminated",
         "the namespace is being deleted"),
        ('networkpolicies.networking.k8s.io is forbidden: User "system:serviceaccount:o:o" cannot create resource'
         ' "networkpolicies" in API group "networking.k8s.io" in the namespace "team"',
         "the operator may not create networkpolicies; install the chart's roles for this namespace"),
        ("something new", "something new"),
    ],
)  # fmt: skip
def test_why_an_object_was_refused(text: str, words: str) -> None:
    assert refusal_words(text) == words


def test_gateways_that_are_refused_say_why() -> None:
    deployment = gateway_deployment(0)
    message = FORBIDDEN + "exceeded quota: pods, requested: pods=1, used: pods=9, limited: pods=9"
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    deployment["status"]["conditions"] = [failed]
    (found,) = explain_gateway(world(children=(deployment,)), NOW)
    assert found.detail == (
        "0 of 2 gateways are ready, so no request is answered; the gateway's pods cannot be made: the ResourceQuota"
        " pods allows no more: requested pods=1, used: pods=9, limited: pods=9; raise it, or free what is used"
    )


# -- all of them -------------------------------------------------------------------------------------------------------

READERS = (
    scheduler_causes,
    image_cause,
    waiting_cause,
    refusal_cause,
    lambda text: ended_cause("Evicted", text),
    lambda text: event_cause((SeenEvent("x", text, NOW),), moved=None),
    lambda text: claim_cause((SeenEvent("x", text, NOW),)),
)
PIECES = st.sampled_from([
    "0/3 nodes are available: ", "1 Insufficient ", "preemption:", 'persistentvolumeclaim "', '" not found', "secret ",
    " failed for volume ", 'exec: "', "\n", " : ", ", 2 ", "exceeded quota: ", "Output: ",
    "]", "(", "rpc error: code =",
])  # fmt: skip


@given(text=st.lists(st.one_of(PIECES, st.text(max_size=12))).map("".join))
def test_any_text_is_read_and_said_on_one_line(text: str) -> None:
    for read in READERS:
        read(text)
    for pod in (unscheduled(text), creating(text), waiting("ErrImagePull", text), waiting("RunContainerError", text)):
        found = explain_start(pod, None, NOW)
        assert found is not None
        assert "\n" not in found.detail
        assert len(found.detail) < 2000 + len(text)
    refusal_words(text)
    scheduler_words(text)
    ended = stage(0, 0, phase="Failed", reason="Evicted", message=text)
    assert rebuilt(ended).startswith("group 0 is rebuilt: ")


@pytest.mark.parametrize(
    "piece", [":", "a", "a:", "lookup x: ", " : ", '"', "network ", 'volume "x" : ', "repository "]
)
def test_a_text_of_a_stranger_is_read_at_once(piece: str) -> None:
    for read in READERS:  # patterns that try every way to match would not come back
        read(piece * (200_000 // len(piece)))
        read(f"0/2 nodes are available: 1 {piece * 5000}")


def test_every_cause_is_said_somewhere() -> None:
    assert {*SAYINGS, *COUNTED, *UNBOUND, *ENDINGS, *REFUSALS} == set(CauseKind)


def test_a_cause_that_makes_nobody_act_may_end_by_itself() -> None:
    for kind, saying in SAYINGS.items():
        assert CATALOGUE[saying.reason].severity in (Severity.NEEDS_SOMEBODY, Severity.WAITS), kind
        assert saying.passing or saying.reason is not Reason.POD_STARTING, kind


def test_how_a_pod_ended_is_not_said_of_one_that_waits() -> None:
    ended = ended_cause("Evicted", "The node was low on resource: memory")
    assert ended is not None
    assert explain_cause(ended, creating(), NOW) is None
