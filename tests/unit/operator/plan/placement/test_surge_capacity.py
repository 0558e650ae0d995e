"""``auto`` chooses surge when, and only when, the rule that admits groups would admit one more."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_operator.adapters.node_capacity import capacity_of, pod_request
from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import Context
from llama_operator.manifests.stage import stage_pod
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.template import GroupTemplate, desired_template
from llama_operator.plan.naming import GroupId
from llama_operator.plan.placement.admit import WaitingGroup, admit
from llama_operator.plan.placement.group_request import group_request
from llama_operator.plan.rollout.strategy import Choice, choose
from llama_operator.ports import Capacity, NodeCapacity, PodRequest
from tests.fakes.world import SETTINGS, spec_of
from tests.unit.operator.worlds import KEY, group, heard, state_of, world

GPU = "nvidia.com/gpu"
NEW_HASH = "11111111"
DEVICE = {"resource": GPU, "count": 1}
OTHERS = PodRequest("batch", "job", "uid-job", requests={GPU: 2.0})


def node(name: str, *pods: PodRequest, gpus: float = 2, **fields: Any) -> NodeCapacity:
    """A node with much of everything but devices."""
    has: dict[str, float] = {GPU: gpus, "cpu": 64.0, "memory": 1e13, "pods": 20.0}
    taken = {kind: sum(pod.requests.get(kind, 0) for pod in pods) for kind in has}
    found = NodeCapacity(name, {}, True, True, has, taken, pods=tuple(replace(pod, node=name) for pod in pods))
    return replace(found, **fields)


def template(**changes: Any) -> GroupTemplate:
    spec = LlamaDeploymentSpec.model_validate(spec_of(**{"device": DEVICE} | changes))
    found = desired_template(state_of(replace(world(), spec=spec)))
    assert found is not None
    return found


def choice(capacity: Capacity | None, target: GroupTemplate) -> Choice:
    """What ``auto`` does with new pods, two groups serving."""
    pods = (*group(0), *group(1))
    seen = world(*pods, cells=heard(*pods), capacity=capacity)
    return choose(state_of(seen), "another", target)


def stage_pods(target: GroupTemplate, *, priority: int = 0, preempts: bool = True) -> tuple[PodRequest, ...]:
    """The pods of one more group, as the API server has them once they are made."""
    context = Context(KEY, "uid-1", target.spec, SETTINGS)
    pods = []
    for stage in range(target.spec.sharding.pipeline):
        body = stage_pod(context, CreateStage(GroupId(KEY.name, 0, NEW_HASH), stage))
        body["metadata"] |= {"uid": f"uid-new-{stage}", "namespace": KEY.namespace}
        body["spec"] |= {"priority": priority, "preemptionPolicy": "PreemptLowerPriority" if preempts else "Never"}
        pods.append(pod_request(body))
    return tuple(pods)


# -- cases ------------------------------------------------------------------------------------------------------------


TAINT = {"key": "maintenance", "effect": "NoSchedule"}
LOW, HIGH = (
    replace(OTHERS, priority=-5, priority_class="low"),
    replace(OTHERS, priority=1000, priority_class="high", name="other"),
)


@pytest.mark.parametrize(
    ("capacity", "changes", "way", "words"),
    [
        (Capacity((node("a"),)), {}, "surge", "hold one more group"),
        (
            Capacity((node("a", taints=(TAINT,)),)), {}, "drain",
            "and no node may run it: of 1 node 1 with the taint maintenance, which it does not tolerate",
        ),
        (
            Capacity((node("a", taints=(TAINT,)),)),
            {"placement": {"tolerations": [{"key": "maintenance", "operator": "Exists"}]}}, "surge", "",
        ),
        (
            Capacity((node("a"),), (replace(OTHERS, requests={GPU: 1.0}),)), {}, "drain",
            f"one more group needs 2 x 1 {GPU}, 1 are free; of 1 node a comes closest: 0 {GPU} free of 2, 1 short",
        ),
        (Capacity((node("a"),), (replace(OTHERS, gated=True),)), {}, "surge", ""),
        (Capacity((node("a"),), (replace(OTHERS, refused=True),)), {}, "surge", ""),
        (Capacity((node("a"),), (replace(OTHERS, refused=True, ours=True),)), {}, "drain", "0 are free"),
        (Capacity((node("a", allocatable={GPU: 2, "cpu": 64, "memory": 1e13, "pods": 1}),)), {}, "drain", "1 pods"),
        (Capacity((node("a", gpus=4),)), {"placement": {"spreadStages": True}}, "drain", "1 of them fit"),
        (Capacity((node("a"), node("b"))), {"placement": {"spreadStages": True}}, "surge", ""),
        (Capacity((node("a"),)), {"placement": {"nodeSelector": {"pool": "x"}}}, "drain", "(pool=x)"),
        (Capacity((node("a", labels={"pool": "x"}),)), {"placement": {"nodeSelector": {"pool": "x"}}}, "surge", ""),
        (Capacity((node("a", ready=False), node("b", schedulable=False))), {}, "drain", "1 cordoned, 1 not ready"),
        (Capacity(()), {}, "drain", "there are no nodes"),
        (None, {}, "drain", "the capacity of the nodes is not known"),
        (Capacity((node("a", LOW), node("b", replace(OTHERS, name="other")))), {}, "surge", ""),
        (Capacity((node("a", LOW),)), {}, "drain", f"0 {GPU} free of 2"),
        (Capacity((node("a", OTHERS), node("b", HIGH))), {"placement": {"priorityClassName": "high"}}, "surge", ""),
        (Capacity((node("a", OTHERS),)), {"placement": {"priorityClassName": "high"}}, "drain", "in use by batch/job"),
        (
            Capacity((node("a", replace(OTHERS, uid=group(0)[0].uid)), node("b", HIGH))),
            {"placement": {"priorityClassName": "high"}}, "drain", "in use by",
        ),
    ],
    ids=[
        "free", "tainted", "tolerated", "a waiting pod takes the room", "a gated pod", "a refused pod", "reserved",
        "number of pods", "spread on one node", "spread", "selector", "selected", "not usable", "no nodes",
        "not known", "lower priority", "a class that no pod has", "higher class", "a class that is not known",
        "our own pods are not preempted",
    ],
)  # fmt: skip
def test_surge_means_that_the_group_will_be_admitted(
    *, capacity: Capacity | None, changes: dict[str, Any], way: str, words: str
) -> None:
    found = choice(capacity, template(**changes))
    assert found.strategy == way
    assert words in found.why


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"device": {"resource": "cpu", "count": 1}},
        {"sharding": {"tensor": 2, "pipeline": 3}, "device": {"resource": GPU, "count": 2}},
        {"placement": {"spreadStages": True, "nodeSelector": {"pool": "x"}}},
        {"placement": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
    ],
)
def test_the_pods_that_are_asked_for_are_those_that_are_made(changes: dict[str, Any]) -> None:
    target = template(**changes)
    asked = group_request(target.spec, Capacity(()), own_uids=())
    made = tuple(replace(pod, namespace="", name="", uid="", preempts=False) for pod in stage_pods(target))
    assert asked == made


# -- for all worlds ---------------------------------------------------------------------------------------------------

CLASSES = {"": 0, "low": -10, "high": 10}
SOMETIMES = st.integers(0, 3).map(lambda one: one == 0)


@st.composite
def other_pods(draw: st.DrawFn, number: int) -> PodRequest:
    name = draw(st.sampled_from(sorted(CLASSES)))
    return PodRequest(
        "batch", f"job-{number}", f"uid-job-{number}",
        requests={GPU: float(draw(st.integers(0, 3))), "cpu": draw(st.sampled_from([0.0, 2.0]))},
        priority=CLASSES[name], priority_class=name,
        gated=draw(SOMETIMES), refused=draw(SOMETIMES), ours=draw(SOMETIMES), one_per_node=draw(SOMETIMES),
        tolerations=({"operator": "Exists"},) if draw(SOMETIMES) else (),
    )  # fmt: skip


@st.composite
def capacities(draw: st.DrawFn) -> Capacity:
    """Nodes with pods of others and of the deployment's own groups on them, and pods that wait."""
    own = [
        PodRequest(KEY.namespace, pod.name, pod.uid, requests={GPU: 1.0, "cpu": 4.05}, ours=True)
        for pod in (*group(0), *group(1))
    ]
    nodes = []
    for number in range(draw(st.integers(0, 4))):
        users = [draw(other_pods(10 * number + k)) for k in range(draw(st.integers(0, 2)))]
        users += [own.pop() for _ in range(min(draw(st.integers(0, 2)), len(own)))]
        fields: dict[str, Any] = {"ready": not draw(SOMETIMES), "schedulable": not draw(SOMETIMES)}
        fields["taints"] = (TAINT,) if draw(SOMETIMES) else ()
        fields["labels"] = {"pool": "x"} if draw(st.booleans()) else {}
        nodes.append(node(f"n{number}", *users, gpus=draw(st.integers(0, 8)), **fields))
    waiting = tuple(draw(other_pods(100 + k)) for k in range(draw(st.integers(0, 3))))
    return Capacity(tuple(nodes), waiting)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    placement: dict[str, Any] = {
        "spreadStages": draw(st.booleans()), "priorityClassName": draw(st.sampled_from(sorted(CLASSES))),
    }  # fmt: skip
    if draw(SOMETIMES):
        placement["nodeSelector"] = {"pool": "x"}
    if draw(SOMETIMES):
        placement["tolerations"] = [{"key": "maintenance", "operator": "Exists"}]
    sharding = {"tensor": 1, "pipeline": draw(st.integers(1, 3))}
    return {"placement": placement, "sharding": sharding, "device": {"resource": GPU, "count": 1}}


@settings(deadline=None, max_examples=150)
@given(capacities(), specs())
def test_what_auto_surges_is_admitted(capacity: Capacity, changes: dict[str, Any]) -> None:
    target = template(**changes)
    pods = stage_pods(target, priority=CLASSES[target.spec.placement.priority_class_name])
    made = WaitingGroup("group 0", pods, 0)
    admitted = admit(Capacity(capacity.nodes, (*capacity.waiting, *pods)), [made]).admitted
    if choice(capacity, target).strategy == "surge":
        assert admitted == (made,)


@settings(deadline=None, max_examples=150)
@given(capacities(), specs())
def test_what_is_admitted_without_preemption_is_surged(capacity: Capacity, changes: dict[str, Any]) -> None:
    target = template(**changes)
    pods = stage_pods(target, preempts=False)
    seen = Capacity(capacity.nodes, (*capacity.waiting, *pods))
    if admit(seen, [WaitingGroup("group 0", pods, 0)]).admitted:
        found = choice(capacity, target)
        others_do_not_fit = "would find room" in found.why  # the first one does: see turns.py
        assert found.strategy == "surge" or others_do_not_fit, found.why


def test_the_capacity_of_bodies_has_the_class_of_pods() -> None:
    body = {"metadata": {"uid": "u"}, "spec": {"priorityClassName": "high", "priority": 10}}
    (pod,) = capacity_of([], [body]).waiting
    assert (pod.priority_class, pod.priority) == ("high", 10)
