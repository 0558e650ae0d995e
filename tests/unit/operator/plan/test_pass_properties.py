"""Properties of the plan on generated worlds: any mix of pods comes to rest, and the invariants hold on the way."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_operator.api import KIND, LlamaDeploymentSpec
from llama_operator.manifests.changes import changes
from llama_operator.manifests.common import Context
from llama_operator.manifests.group import group_objects
from llama_operator.manifests.stage import stage_pod
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.groups.group import observed_groups
from llama_operator.plan.groups.ordinals import wanted_ordinals
from llama_operator.plan.groups.state import plan_state
from llama_operator.plan.groups.template_hash import template_hash
from llama_operator.plan.naming import GroupId
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.ports import Capacity, NodeCapacity
from llama_operator.reconcile import Bodies, snapshot
from llama_operator.status.deployment import deployment_status
from llama_operator.status.events import deployment_events
from llama_serving.config import names
from tests.fakes.cluster import FakeCluster, set_condition, stamp
from tests.fakes.models import FACTS
from tests.fakes.samples import weights_in
from tests.fakes.world import KEY, SETTINGS, World, spec_of

FAST = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FAST, max_examples=150)

OLD = "0ld00000"
STATES = ("pending", "running", "in rotation", "out of rotation", "dying", "failed")


@dataclass(frozen=True)
class SomePod:
    """A pod that is there when the operator starts."""

    group: int
    stage: int
    old: bool
    state: str


@dataclass(frozen=True)
class Start:
    """A generated world."""

    replicas: int
    stages: int
    known_model: bool
    pods: tuple[SomePod, ...]


some_pods = st.builds(
    SomePod,
    group=st.integers(0, 3),
    stage=st.integers(0, 2),
    old=st.booleans(),
    state=st.sampled_from(STATES),
)
mixes = st.lists(some_pods, max_size=8, unique_by=lambda pod: (pod.group, pod.stage, pod.old)).map(tuple)


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[SomePod, ...]:
    """Groups that serve, some of them with a flaw: worlds in which something can be taken away."""
    pods = []
    for ordinal in range(4):
        old, there = draw(st.booleans()), draw(st.integers(0, 3))
        flaw = draw(st.sampled_from([None, None, None, *STATES]))
        for stage in range(2 if there else 0):
            pods.append(SomePod(ordinal, stage, old, flaw if flaw and stage else "in rotation"))
    return tuple(pods)


starts = st.builds(
    Start,
    replicas=st.integers(1, 3),
    stages=st.integers(1, 2),
    known_model=st.booleans(),
    pods=mixes | rollouts(),
)


def world_of(start: Start) -> World:
    world = World(spec_of(replicas=start.replicas, sharding={"pipeline": start.stages, "tensor": 1}))
    world.nodes.start_seconds = 1
    for pod in start.pods:
        add_pod(world, pod)
    if start.known_model:
        asyncio.run(world.one_pass())
        world.nodes.tick()
    return world


def add_pod(world: World, item: SomePod) -> None:
    spec = LlamaDeploymentSpec.model_validate(world.spec)
    uid = world.cluster.objects[KIND, KEY.name]["metadata"]["uid"]
    pod_hash = (
        OLD if item.old else template_hash(spec, FACTS, serving_image=spec.images.serving or SETTINGS.serving_image)
    )
    context, group = Context(KEY, uid, spec, SETTINGS), GroupId(KEY.name, item.group, pod_hash)
    made = stage_pod(context, CreateStage(group, item.stage))
    for manifest in (*group_objects(context, group, weights_in(context)), made):
        asyncio.run(world.cluster.apply(KEY, manifest, force=True))
    pod = world.cluster.objects["Pod", made["metadata"]["name"]]
    dress(pod, item.state, world.cluster)


def dress(pod: dict[str, Any], state: str, cluster: FakeCluster) -> None:
    if state == "pending":
        return
    pod["spec"]["nodeName"] = "node-0"
    pod["status"] = {"phase": "Failed" if state == "failed" else "Running", "podIP": f"ip-of-{pod['metadata']['name']}"}
    rotation = {"in rotation": True, "out of rotation": False}.get(state)
    if rotation is not None and "readinessGates" in pod["spec"]:
        set_condition(pod, names.GATE_IN_ROTATION, rotation)
        set_condition(pod, "Ready", rotation)
    if state == "dying":
        pod["metadata"]["deletionTimestamp"] = stamp(cluster.now + timedelta(seconds=3))


async def seen(world: World, bodies: Bodies | None = None) -> Snapshot:
    """What the next pass will know."""
    first = snapshot(bodies or world.cluster.bodies(KEY))
    heard = {pod.name: await world.nodes.state(pod.ip) for pod in first.stages if pod.ip and pod.alive}
    return Snapshot(**{**vars(first), "cells": heard})


def is_serving(pod: PodView) -> bool:
    """A leader that gets requests, as anybody sees it."""
    return pod.stage == 0 and pod.alive and pod.ready


def serving_units(known: Snapshot) -> set[tuple[int, str]]:
    """Groups, with their pod hash, whose leader serves and that lose nothing by themselves."""
    torn = {(pod.group, pod.pod_hash) for pod in known.stages if not pod.alive}
    return {(pod.group, pod.pod_hash) for pod in known.stages if is_serving(pod)} - torn


def check_creates(known: Snapshot, decided: Plan) -> None:
    for create in decided.actions.creates:
        there = [pod for pod in known.stages if pod.group == create.group.ordinal]
        # A unit that is there already, as after a surge that was cut off, is made whole beside the older one.
        others = [pod for pod in there if pod.pod_hash == create.group.pod_hash] or there
        assert all(pod.pod_hash == create.group.pod_hash for pod in others), f"{create} beside an older template"
        assert all(pod.alive for pod in others), f"{create} beside a pod on its way out"
        assert all(pod.stage != create.stage for pod in others), f"{create} exists"


def wanted_revision(known: Snapshot) -> str:
    assert known.spec is not None
    return template_hash(known.spec, FACTS, serving_image=known.spec.images.serving or SETTINGS.serving_image)


def check_replacement(known: Snapshot, decided: Plan, ordinals: set[int]) -> None:
    by_name = {pod.name: pod for pod in known.stages}
    serving = serving_units(known)
    wanted = wanted_revision(known)
    going = [pod for delete in decided.actions.deletes if (pod := by_name.get(delete.name)) and pod.pod_hash != wanted]
    taken = {pod.group for pod in going if (pod.group, pod.pod_hash) in serving and (pod.group, wanted) not in serving}
    wanted_taken = {group for group in taken if group in ordinals}
    assert len(wanted_taken) <= 1, f"{sorted(wanted_taken)} are replaced at a time"
    if wanted_taken:
        missing = ordinals - {ordinal for ordinal, _ in serving}
        assert not missing, f"{wanted_taken} is replaced while {missing} do not serve"


def check_last(known: Snapshot, decided: Plan, ordinals: set[int]) -> None:
    """Scaling down never takes the last group that serves."""
    leaving = {delete.name for delete in decided.actions.deletes}
    surplus = {pod.group for pod in known.stages if pod.group not in ordinals and pod.name in leaving}
    serving = {pod.group for pod in known.stages if is_serving(pod)}
    assert not surplus or not serving or serving - surplus


@FAST
@given(starts)
def test_any_mix_of_pods_comes_to_rest_without_breaking_a_rule(start: Start) -> None:
    world = world_of(start)

    async def run() -> None:
        quiet = 0
        for _ in range(150):
            known = await seen(world)
            decided = plan(plan_state(known, SETTINGS, world.cluster.now))
            check_creates(known, decided)
            ordinals = set(wanted_ordinals(observed_groups(known, {}), start.replicas, world.cluster.now))
            check_replacement(known, decided, ordinals)
            check_last(known, decided, ordinals)
            before = len(world.cluster.writes)
            await world.one_pass()
            world.nodes.tick()
            quiet = quiet + 1 if len(world.cluster.writes) == before else 0
            if quiet == 5:
                return
        raise AssertionError(f"not at rest: {world.cluster.writes[-6:]}; {world.status.message}")

    asyncio.run(run())
    assert world.status.groups_ready == f"{start.replicas}/{start.replicas}"
    assert world.status.reason == "Serving"
    labels = [world.cluster.objects["Pod", name]["metadata"]["labels"] for name in world.stage_names()]
    ordinals = {int(one[names.LABEL_GROUP]) for one in labels}
    first = set(range(start.replicas))
    assert len(ordinals) == start.replicas
    assert ordinals - first <= {pod.group for pod in start.pods}, "only groups that were there have higher numbers"
    expected = {(ordinal, stage) for ordinal in ordinals for stage in range(start.stages)}
    assert {(int(one[names.LABEL_GROUP]), int(one[names.LABEL_STAGE])) for one in labels} == expected
    assert len(labels) == len(expected)
    assert len({one[names.LABEL_POD_HASH] for one in labels}) == 1


# -- any shape of a pod -----------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "0", "1", "7", "-1", "x", "٣"])
moments = st.sampled_from([None, "2025-12-31T23:59:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00.123456Z"])
optional = st.booleans()
conditions = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "ContainersReady", "PodScheduled", names.GATE_IN_ROTATION, "Other"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"message": st.text(max_size=20)},
    ),
    max_size=4,
)
container_states = st.sampled_from(
    [
        {},
        {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        {"waiting": {}},
        {"waiting": {"reason": "ContainerCreating"}},
        {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        {"waiting": {"reason": "CrashLoopBackOff"}},
        {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        {"terminated": {"exitCode": 0, "message": "{}", "finishedAt": "2026-01-01T00:00:00Z"}},
    ]
)
containers = st.lists(
    st.fixed_dictionaries(
        {}, optional={"name": st.just("c"), "state": container_states, "lastState": container_states,
                      "restartCount": st.integers(0, 9)}
    ),
    max_size=2,
)  # fmt: skip


@st.composite
def pod_bodies(draw: st.DrawFn, number: int) -> dict[str, Any]:
    component = draw(st.sampled_from([names.COMPONENT_STAGE, names.COMPONENT_GATEWAY, ""]))
    labels = {names.LABEL_COMPONENT: component}
    for label in (names.LABEL_GROUP, names.LABEL_STAGE, names.LABEL_POD_HASH):
        if draw(optional):
            labels[label] = draw(texts)
    meta: dict[str, Any] = {"name": f"pod-{number}", "labels": labels}
    if draw(optional):
        meta["uid"] = f"uid-{number}"
    owner = draw(st.sampled_from([None, [], [{"uid": "uid-1"}], [{"uid": "uid-1"}], [{"uid": "other"}]]))
    if owner is not None:
        meta["ownerReferences"] = owner
    for field, values in (("creationTimestamp", moments), ("deletionTimestamp", moments)):
        if value := draw(values):
            meta[field] = value
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, **draw(pod_parts())}


@st.composite
def pod_parts(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if draw(optional):
        body["spec"] = {"nodeName": draw(st.sampled_from(["", "node-0"]))}
    if draw(optional):
        body["status"] = {
            "phase": draw(st.sampled_from(["Pending", "Running", "Failed", "Succeeded", "Unknown"])),
            "conditions": draw(conditions),
            "containerStatuses": draw(containers),
            "initContainerStatuses": draw(st.none() | containers),
        }
    return body


@st.composite
def pod_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [draw(pod_bodies(number)) for number in range(draw(st.integers(0, 5)))]


CAPACITIES = st.sampled_from(
    [
        None,
        Capacity(()),
        Capacity((NodeCapacity("node-0", {}, False, True, {}, {}),)),
        Capacity((NodeCapacity("", {}, True, True, {"cpu": 2.0}, {}),)),
    ]
)


@MANY
@given(
    pods=pod_lists(),
    capacity=CAPACITIES,
    known_model=st.booleans(),
    shuffler=st.randoms(use_true_random=False),
)
def test_no_shape_or_order_of_pods_upsets_a_pass(
    *, pods: list[dict[str, Any]], capacity: Capacity | None, known_model: bool, shuffler: Any
) -> None:
    world = world_of(Start(2, 2, known_model, ()))
    deployment = world.cluster.bodies(KEY).deployment
    shuffled = list(pods)
    shuffler.shuffle(shuffled)
    results = []
    for order in (pods, pods, shuffled):
        known = Snapshot(**{**vars(snapshot(Bodies(deployment, order))), "capacity": capacity})
        state = plan_state(known, SETTINGS, world.cluster.now)
        decided = plan(state)
        status = deployment_status(state, decided, ())
        assert known.spec is not None
        due = changes(decided, state, Context(KEY, known.uid, known.spec, SETTINGS))
        results.append((decided, due, status, deployment_events(known.status, status)))
        check_creates(known, decided)
        status.to_api()
    assert results[0] == results[1] == results[2]


# -- names ------------------------------------------------------------------------------------------------------------


@MANY
@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?", fullmatch=True),
            st.integers(0, 999),
            st.integers(0, 127),
        ),
        min_size=2, max_size=2, unique=True,
    )
)  # fmt: skip
def test_names_are_unique_within_a_deployment_and_fit_into_dns(parts: list[tuple[str, int, int]]) -> None:
    (name, group, stage), (_, other_group, other_stage) = parts
    one, other = GroupId(name, group, "0123abcd"), GroupId(name, other_group, "0123abcd")
    assert (one.pod(stage) == other.pod(other_stage)) == ((group, stage) == (other_group, other_stage))
    assert len(one.pod(stage)) <= 63
    assert one.pod(stage) == GroupId(name, group, "0123abcd").pod(stage)
