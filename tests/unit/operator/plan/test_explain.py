"""Sentences: each wait has a word and numbers, and a long wait does not change its sentence at every second."""

from datetime import timedelta
from typing import Any

import pytest

from llama_operator.observe.pods import Ended, PodView, Waiting
from llama_operator.plan.explain import explain_gateway, explain_group, explain_pod
from llama_operator.plan.placement.shortage import pod_shortage, show_quantity
from llama_operator.plan.reasons import Explanation, most_severe
from llama_operator.ports import Capacity, NodeCapacity, SupervisorAnswer
from llama_serving.config.reason_catalogue import FAILURES, PRIORITY
from llama_serving.config.reasons import CellReason, Reason
from llama_serving.config.state import Hang, Phase
from llama_serving.config.wording import rough_seconds
from tests.unit.operator.worlds import NOW, ago, cell, gateway_deployment, group, leader, stage, state_of, world

GI = 2**30
CRASHED = "pod POD on node node-0: CrashLoopBackOff"


def said(pod: PodView, answer: SupervisorAnswer | None = None) -> tuple[str, str]:
    cells = {pod.name: answer} if answer else {}
    hold = explain_pod(pod, world(pod, cells=cells), NOW)
    assert hold is not None
    return hold.reason.value, hold.detail.replace(pod.name, "POD")


@pytest.mark.parametrize(
    ("fields", "reason", "sentence"),
    [
        (
            {"unscheduled": "0/2 nodes are available", "requests": {"cpu": 4, "memory": 32 * GI}, "node": ""},
            "Unschedulable",
            "pod POD needs 4 cpu, 32Gi memory; scheduler: 0/2 nodes are available",
        ),
        (
            {"waiting": Waiting("c", "ImagePullBackOff", "Back-off pulling image x"), "phase": "Pending"},
            "ImageUnavailable",
            "pod POD on node node-0 has no image: ImagePullBackOff: Back-off pulling image x",
        ),
        (
            {"waiting": Waiting("c", "CreateContainerConfigError", 'secret "t" not found'), "phase": "Pending"},
            "ReferenceMissing",
            "the Secret t does not exist; create it",
        ),
        (
            {
                "waiting": Waiting("c", "CrashLoopBackOff", "back-off 5m0s restarting"),
                "ended": Ended("Error", 1, "no such file\n", None),
                "restarts": 3,
            },
            "ContainerFailing",
            "pod POD on node node-0: CrashLoopBackOff, 3 restarts, it last ended with code 1: no such file",
        ),
        ({"waiting": Waiting("c", "CrashLoopBackOff", "")}, "ContainerFailing", CRASHED),
        (
            {"phase": "Pending", "created": ago(44)},
            "PodStarting",
            "pod POD gets its containers on node node-0, 40 s so far",
        ),
        ({"phase": "Pending", "node": "", "created": ago(7)}, "PodStarting", "pod POD has no node yet, 0 s so far"),
        ({"created": ago(300)}, "PodStarting", "pod POD on node node-0 does not answer, 5 min after it was made"),
        (
            {"created": ago(300), "ended": Ended("OOMKilled", 137, "", None), "restarts": 1},
            "PodStarting",
            "pod POD on node node-0 does not answer, 5 min after it was made, 1 restart, it last ended with code 137"
            " since it used more memory than resources.memory",
        ),
    ],
)  # fmt: skip
def test_what_scheduler_and_kubelet_say(fields: dict[str, Any], reason: str, sentence: str) -> None:
    assert said(stage(0, 0, **fields)) == (reason, sentence)


def test_an_unheard_supervisor_is_quoted() -> None:
    assert said(stage(0, 0, created=ago(30)), SupervisorAnswer(None, "connection refused")) == (
        "PodStarting", "pod POD on node node-0 does not answer, 30 s after it was made (connection refused)"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "reason", "message", "shown"),
    [
        (CellReason.STAGES_NOT_JOINED, "StageNotJoined", "1 of 2 stages, 10 s so far", "1 of 2 stages, 10 s so far"),
        (CellReason.ENGINE_STARTING, "EngineStarting", "starting, 59 min so far", "starting, 59 min so far"),
        (CellReason.ENGINE_FAILED, "EngineFailed", "CUDA out of memory", "CUDA out of memory"),
        (CellReason.WEIGHTS_UNREADABLE, "WeightsUnreadable", "mode 0600", "mode 0600"),
        (CellReason.SERVING, "EngineStarting", "it serves", "it serves"),
        (CellReason.DRAINING, "Replacing", "Stopping", "Stopping"),
    ],
)
def test_what_a_cell_says(*, state: CellReason, reason: str, message: str, shown: str) -> None:
    answer = cell(reason=state, message=message, phase=Phase.LOADING, ready=False)
    assert said(stage(0, 0), answer) == (reason, f"group 0 stage 0 on node-0: {shown}")
    assert said(stage(0, 0, restarts=2), answer)[1].endswith(f"{shown}, 2 restarts")


def test_the_node_is_that_of_the_stage_that_hangs() -> None:
    hang = Hang(stage=1, process="rank 1", pid=7, message="rank 1 is stopped")
    answer = cell(reason=CellReason.ENGINE_HUNG, message="rank 1 is stopped; it starts", ready=False, hang=hang)
    first, second = stage(0, 0), stage(0, 1, node="node-b", restarts=1)
    found = explain_pod(first, world(first, second, cells={first.name: answer}), NOW)
    assert found is not None
    assert found.reason is Reason.ENGINE_HUNG
    assert found.detail == "group 0 stage 1 on node-b: rank 1 is stopped; it starts, 1 restart"


def test_every_reason_of_a_cell_has_a_word() -> None:
    for reason in CellReason:
        assert said(stage(0, 0), cell(reason=reason, phase=Phase.FAILED))[0] in set(Reason)


def test_a_sentence_changes_seldom_while_it_waits() -> None:
    sentences = {said(stage(0, 0, created=NOW - timedelta(seconds=age)))[1] for age in range(3600)}
    assert len(sentences) <= 12 + 60
    assert [rough_seconds(value) for value in (-5, 0, 9.9, 10, 119, 120, 3600)] == [
        "0 s", "0 s", "0 s", "10 s", "110 s", "2 min", "60 min"
    ]  # fmt: skip


def test_a_serving_stage_needs_no_words() -> None:
    pod = leader(0)
    assert explain_pod(pod, world(pod, cells={pod.name: cell()}), NOW) is None
    other = stage(0, 1)
    assert explain_pod(other, world(other, cells={other.name: cell(stage=1)}), NOW) is None


def test_a_group_is_explained_by_its_worst_pod() -> None:
    first, second = stage(0, 0, phase="Pending"), stage(0, 1, waiting=Waiting("c", "ErrImagePull", "x"))
    hold = explain_group(0, 2, state_of(world(first, second)))
    assert hold is not None
    assert hold.reason is Reason.IMAGE_UNAVAILABLE
    assert explain_group(0, 2, state_of(world(*group(0)))) is None
    hold = explain_group(0, 2, state_of(world()))
    assert hold == Explanation(Reason.POD_STARTING, "group 0 has 0 of its 2 pods", 0)
    assert explain_group(0, 0, state_of(world())) is None


def test_gateways() -> None:
    assert explain_gateway(world(), NOW) == ()
    (hold,) = explain_gateway(world(children=(gateway_deployment(0),)), NOW)
    assert hold.detail == "0 of 2 gateways are ready, so no request is answered"
    (hold,) = explain_gateway(world(children=()), NOW)
    assert hold.detail == "the gateway's Deployment is not there yet"


def test_the_order_of_reasons() -> None:
    holds = (
        Explanation(Reason.ENGINE_STARTING, "a", 1),
        Explanation(Reason.UNSCHEDULABLE, "b", 2),
        Explanation(Reason.UNSCHEDULABLE, "c", 0),
    )
    assert most_severe(holds) == holds[2]
    assert most_severe(()) is None
    assert Reason.UNSCHEDULABLE in FAILURES
    assert Reason.API_RETRY not in FAILURES
    assert Reason.SERVING not in FAILURES
    assert len(PRIORITY) == len(Reason)


# -- what a pod lacks --------------------------------------------------------------------------------------------------


def node(name: str, free: float, taken: float = 0, **fields: bool) -> NodeCapacity:
    state: dict[str, Any] = {"ready": True, "schedulable": True} | fields
    return NodeCapacity(name, {}, allocatable={"nvidia.com/gpu": free + taken, "memory": 64 * GI},
                    requested={"nvidia.com/gpu": taken}, **state)  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (None, "needs 32Gi memory, 8 nvidia.com/gpu; scheduler: no"),
        ((), "needs 32Gi memory, 8 nvidia.com/gpu; scheduler: no"),
        (
            (node("a", 2, 6), node("b", 5, 3)),
            "of 2 nodes b comes closest: 5 nvidia.com/gpu free of 8, 3 short; scheduler: no",
        ),
        ((node("a", 8),), "(node a has enough free, so another rule keeps it away); scheduler: no"),
        (
            (node("a", 8, ready=False), node("b", 0, 8)),
            "of 1 node b comes closest: 0 nvidia.com/gpu free of 8, 8 short",
        ),
        (
            (node("a", 8, schedulable=False),),
            "needs 32Gi memory, 8 nvidia.com/gpu; of 1 node 1 cordoned; scheduler: no",
        ),
        ((node("a", -2, 10),), "of 1 node a comes closest: 0 nvidia.com/gpu free of 8, 8 short"),
    ],
)
def test_which_resource_is_short_and_by_how_much(nodes: tuple[NodeCapacity, ...] | None, words: str) -> None:
    pod = stage(0, 0, unscheduled="no", requests={"nvidia.com/gpu": 8, "memory": 32 * GI})
    assert words in pod_shortage(pod, None if nodes is None else Capacity(nodes))


def test_a_pod_that_asks_for_nothing() -> None:
    assert pod_shortage(stage(0, 0, unscheduled="no"), None) == "needs a node; scheduler: no"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (2, "2"), (0.5, "500m"), (1.5, "1500m"), (1.5 * GI, "1.5Gi"), (3 * 2**20, "3Mi"), (1000, "1000")],
)
def test_quantities_in_sentences(value: float, shown: str) -> None:
    assert show_quantity(value) == shown
