"""The port ``Cluster``: one suite on the fake that the component tests trust and on the real API server."""

import asyncio
import socket
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio import client

from llama_operator.adapters.api_calls import ApiCalls
from llama_operator.adapters.kube import KubeCluster
from llama_operator.api import (
    API_VERSION,
    KIND,
    WEIGHTS_KIND,
    WEIGHTS_PLURAL,
    LlamaDeploymentStatus,
    LlamaWeightsStatus,
)
from llama_operator.api.v1alpha1.staging import ClaimTemplate
from llama_operator.manifests.changes import Write, manager_of
from llama_operator.manifests.claims import stage_claim
from llama_operator.manifests.deployment import token_secret
from llama_operator.manifests.weights import weights_object
from llama_operator.observe.pods import pod_requests, pod_view
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.naming import GroupId
from llama_operator.ports import (
    EVENTS,
    Key,
    KubeEvent,
    Manifest,
    NodeCapacity,
    Owner,
    PodRequest,
    Quota,
    QuotaScope,
    Ref,
    Rejected,
    Retry,
    SeenEvent,
)
from llama_operator.reconcile import Bodies, snapshot
from llama_operator.wiring import CHILDREN, OWNED
from llama_serving.config import names
from tests.contract.support.benches import NAME, Bench, FakeBench, RealBench, seen
from tests.contract.support.stand import RESTRICTED
from tests.fakes.samples import CPU_SPEC, SAMPLES, all_changes, context_of
from tests.fakes.weights import REMOTE

DEADLINE_S = 20.0  # for what a watch shows; the machine may be busy


def config_map(bench: Bench, **data: str) -> Manifest:
    meta = {"name": "notes", "namespace": bench.key.namespace, "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


# -- apply -----------------------------------------------------------------------------------------------------------


async def test_apply_creates_updates_and_removes_what_is_no_longer_set(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1", y="1"), force=False)
    uid = seen(bench, "ConfigMap", "notes")["metadata"]["uid"]
    await bench.cluster.apply(bench.key, config_map(bench, x="2"), force=False)
    found = seen(bench, "ConfigMap", "notes")
    assert found["data"] == {"x": "2"}
    assert found["metadata"]["uid"] == uid


async def test_apply_with_force_takes_over_a_field_that_somebody_changed_and_leaves_others(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    bench.change("ConfigMap", "notes", {"data": {"x": "theirs", "z": "theirs"}})
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    assert seen(bench, "ConfigMap", "notes")["data"] == {"x": "1", "z": "theirs"}


async def test_apply_without_force_does_not_touch_an_object_of_somebody_else(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    bench.change("ConfigMap", "notes", {"data": {"x": "theirs"}})
    with pytest.raises(Rejected, match="conflict"):
        await bench.cluster.apply(bench.key, config_map(bench, x="1", y="1"), force=False)
    assert seen(bench, "ConfigMap", "notes")["data"] == {"x": "theirs"}


async def test_apply_of_the_same_again_changes_nothing(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    before = seen(bench, "ConfigMap", "notes")["metadata"].get("resourceVersion")
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=True)
    assert seen(bench, "ConfigMap", "notes")["metadata"].get("resourceVersion") == before


@pytest.mark.apiserver
async def test_what_validation_refuses_is_rejected_with_its_sentence(real: RealBench) -> None:
    bad = config_map(real) | {"data": {"bad key": "x"}}
    with pytest.raises(Rejected, match="bad key"):
        await real.cluster.apply(real.key, bad, force=False)
    meta = {"name": "other", "namespace": real.key.namespace}
    spec = {**CPU_SPEC, "replicas": -1}
    with pytest.raises(Rejected, match="replicas must be at least 0"):
        await real.cluster.apply(
            real.key, {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": spec}, force=False
        )


# -- delete ----------------------------------------------------------------------------------------------------------


async def test_delete(bench: Bench) -> None:
    await bench.cluster.apply(bench.key, config_map(bench, x="1"), force=False)
    uid = seen(bench, "ConfigMap", "notes")["metadata"]["uid"]
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", "another-uid"))
    assert bench.read("ConfigMap", "notes") is not None
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", uid))
    assert bench.read("ConfigMap", "notes") is None
    await bench.cluster.delete(bench.key, Ref("v1", "ConfigMap", "notes", uid))  # what is gone is gone


async def a_pod(bench: Bench) -> Manifest:
    context = context_of(CPU_SPEC, key=bench.key)
    world = snapshot(Bodies({"metadata": {"namespace": bench.key.namespace, "name": NAME}, "spec": CPU_SPEC}, ()))
    pod = next(write.manifest for write in all_changes(context, world).applies if write.manifest["kind"] == "Pod")
    await bench.cluster.apply(bench.key, pod, force=False)
    return seen(bench, "Pod", pod["metadata"]["name"])


async def test_delete_of_a_pod_that_runs_on_a_node_gives_it_its_grace(bench: Bench) -> None:
    pod = await a_pod(bench)
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    await bench.cluster.admit(bench.key, Ref("v1", "Pod", name, uid), at=datetime.now(UTC))
    bind(bench, name)
    await bench.cluster.delete(bench.key, Ref("v1", "Pod", name, uid), grace=7)
    meta = seen(bench, "Pod", name)["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 7
    assert "deletionTimestamp" in meta
    await bench.cluster.delete(bench.key, Ref("v1", "Pod", name, uid), grace=0)
    assert bench.read("Pod", name) is None


def bind(bench: Bench, name: str) -> None:
    """What the scheduler does."""
    if isinstance(bench, FakeBench):
        bench.change("Pod", name, {"spec": {"nodeName": "node-0"}})
        return
    assert isinstance(bench, RealBench)
    target = {"apiVersion": "v1", "kind": "Node", "name": "node-0"}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    bench.rest.create(bench.key.namespace, body)


# -- rotation --------------------------------------------------------------------------------------------------------


async def test_rotation_sets_gate_and_annotation(bench: Bench) -> None:
    pod = await a_pod(bench)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    await bench.cluster.set_rotation(bench.key, ref, open_=True, reason="the engine answers", weights="v1")
    found = seen(bench, "Pod", ref.name)
    assert found["metadata"]["annotations"][names.ANNOTATION_WEIGHTS] == "v1"
    assert gate(found) == ("True", "the engine answers")
    await bench.cluster.set_rotation(bench.key, ref, open_=False, reason="the group leaves", weights="")
    found = seen(bench, "Pod", ref.name)
    assert found["metadata"]["annotations"][names.ANNOTATION_WEIGHTS] == "v1"
    assert gate(found) == ("False", "the group leaves")


async def test_streams_are_moved_until_the_gate_opens_again_and_the_gate_stays_as_it_is(bench: Bench) -> None:
    pod = await a_pod(bench)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    await bench.cluster.set_rotation(bench.key, ref, open_=False, reason="it drains", weights="")
    await bench.cluster.set_rotation(bench.key, ref, open_=False, reason="too long", weights="", move=True)
    found = seen(bench, "Pod", ref.name)
    assert found["metadata"]["annotations"][names.ANNOTATION_MOVE_STREAMS] == "true"
    assert gate(found) == ("False", "it drains"), "since when it is closed must not move"
    await bench.cluster.set_rotation(bench.key, ref, open_=True, reason="the engine answers", weights="v2")
    found = seen(bench, "Pod", ref.name)
    notes = found["metadata"]["annotations"]
    assert names.ANNOTATION_MOVE_STREAMS not in notes
    assert notes[names.ANNOTATION_WEIGHTS] == "v2"
    assert gate(found) == ("True", "the engine answers")


async def test_rotation_of_another_or_a_vanished_pod_changes_nothing(bench: Bench) -> None:
    pod = await a_pod(bench)
    other = Ref("v1", "Pod", pod["metadata"]["name"], "another-uid")
    await bench.cluster.set_rotation(bench.key, other, open_=True, reason="x", weights="v1")
    found = seen(bench, "Pod", other.name)
    assert names.ANNOTATION_WEIGHTS not in found["metadata"].get("annotations", {})
    assert gate(found) is None
    gone = Ref("v1", "Pod", "nobody", "uid")
    await bench.cluster.set_rotation(bench.key, gone, open_=True, reason="x", weights="v1")


async def test_metadata_of_a_pod_is_set_and_removed_and_the_rest_stays(bench: Bench) -> None:
    pod = await a_pod(bench)
    own, ref = pod["metadata"]["labels"], Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])

    async def write(team: str | None, cost: str | None, *, uid: str = ref.uid) -> tuple[Manifest, Manifest]:
        asked = Ref("v1", "Pod", ref.name, uid)
        labels, notes = {"example.com/team": team}, {"example.com/cost": cost}
        await bench.cluster.set_pod_metadata(bench.key, asked, labels=labels, annotations=notes)
        found = seen(bench, "Pod", ref.name)["metadata"]
        return found["labels"], found.get("annotations", {})

    assert await write("a", "1") == (own | {"example.com/team": "a"}, {"example.com/cost": "1"})
    assert await write("b", "2", uid="another-uid") == (own | {"example.com/team": "a"}, {"example.com/cost": "1"})
    assert await write("b", None) == (own | {"example.com/team": "b"}, {})
    assert await write(None, None) == (own, {})
    gone = Ref("v1", "Pod", "nobody", "uid")
    await bench.cluster.set_pod_metadata(bench.key, gone, labels={"a": "b"}, annotations={})


def gate(pod: Manifest) -> tuple[str, str] | None:
    conditions = pod.get("status", {}).get("conditions", ())
    found = [(one["status"], one["message"]) for one in conditions if one["type"] == names.GATE_IN_ROTATION]
    return found[0] if found else None


# -- scheduling gates ------------------------------------------------------------------------------------------------

MOMENT = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)


async def test_the_gate_of_a_group_goes_once_and_is_never_set_again(bench: Bench) -> None:
    pod = await a_pod(bench)
    assert pod["spec"]["schedulingGates"] == [{"name": names.GATE_GROUP}]
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    for _ in range(2):
        await bench.cluster.admit(bench.key, ref, at=MOMENT)
        found = seen(bench, "Pod", ref.name)
        assert not found["spec"].get("schedulingGates")
        view = pod_view(found)
        assert (view.gated, view.admitted) == (False, MOMENT)


async def test_the_gate_of_another_or_a_vanished_pod_stays(bench: Bench) -> None:
    pod = await a_pod(bench)
    name = pod["metadata"]["name"]
    await bench.cluster.admit(bench.key, Ref("v1", "Pod", name, "another-uid"), at=MOMENT)
    assert pod_view(seen(bench, "Pod", name)).gated
    await bench.cluster.admit(bench.key, Ref("v1", "Pod", "nobody", "uid"), at=MOMENT)


@pytest.mark.apiserver
async def test_a_gate_of_somebody_else_is_left_alone(real: RealBench) -> None:
    meta = {"name": "p", "namespace": real.key.namespace}
    gates = [{"name": "example.com/theirs"}, {"name": names.GATE_GROUP}]
    spec = {"schedulingGates": gates, "containers": [{"name": "c", "image": "i"}]}
    real.rest.create(real.key.namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    uid = seen(real, "Pod", "p")["metadata"]["uid"]
    await real.cluster.admit(real.key, Ref("v1", "Pod", "p", uid), at=MOMENT)
    assert seen(real, "Pod", "p")["spec"]["schedulingGates"] == gates[:1]


async def waiting(bench: Bench, uid: str, *, gated: bool) -> PodRequest:
    """The pod without a node as the view shows it, once it does."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        seen = await bench.cluster.capacity()
        for pod in seen.waiting if seen else ():
            if pod.uid == uid and pod.gated == gated:
                return pod
        await asyncio.sleep(0.02)
    raise AssertionError(f"a pod with gated={gated} was not shown within {DEADLINE_S} s")


async def test_the_view_follows_and_a_reservation_is_counted_before_it_does(bench: Bench) -> None:
    if isinstance(bench, FakeBench):
        bench.cluster.nodes = []
    pod = await a_pod(bench)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    ask = await waiting(bench, ref.uid, gated=True)
    assert (ask.ours, ask.refused, ask.requests) == (True, False, pod_requests(pod))
    bench.cluster.reserve([ask])
    capacity = await bench.cluster.capacity()
    assert capacity is not None
    assert [one.gated for one in capacity.waiting if one.uid == ref.uid] == [False]
    bench.cluster.unreserve([ref.uid])
    await waiting(bench, ref.uid, gated=True)
    await bench.cluster.admit(bench.key, ref, at=MOMENT)
    await waiting(bench, ref.uid, gated=False)
    await bench.cluster.delete(bench.key, Ref("v1", "Pod", ref.name, ref.uid), grace=0)
    end = time.monotonic() + DEADLINE_S
    while (seen := await bench.cluster.capacity()) and any(one.uid == ref.uid for one in seen.waiting):
        assert time.monotonic() < end, "a pod that is gone is still shown"
        await asyncio.sleep(0.02)


@pytest.mark.apiserver
async def test_many_who_ask_at_once_share_one_list(real: RealBench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    send = ApiCalls.send

    async def counted(self: ApiCalls, method: str, path: str, *rest: Any) -> Manifest | None:
        sent.append(f"{method} {path}")
        return await send(self, method, path, *rest)

    monkeypatch.setattr(ApiCalls, "send", counted)
    found = await asyncio.gather(*(real.cluster.capacity() for _ in range(50)))
    assert all(one is not None for one in found)
    for _ in range(50):
        await real.cluster.capacity()
    assert sorted(sent) == ["GET /api/v1/nodes", "GET /api/v1/pods"]


# -- what is made once -----------------------------------------------------------------------------------------------


def a_claim(bench: Bench, uid: str = "uid", size: str = "1Gi") -> Manifest:
    context = context_of(CPU_SPEC, key=bench.key, uid=uid)
    item = CreateStage(GroupId(NAME, 0, "r"), 1)
    return stage_claim(context, item, ClaimTemplate(size=size))


async def test_a_claim_is_made_once_and_never_changed(bench: Bench) -> None:
    await bench.cluster.ensure(bench.key, a_claim(bench))
    first = seen(bench, "PersistentVolumeClaim", "chat-0-1-weights")
    await bench.cluster.ensure(bench.key, a_claim(bench, size="2Gi"))
    again = seen(bench, "PersistentVolumeClaim", "chat-0-1-weights")
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["spec"]["resources"]["requests"]["storage"] == "1Gi"


async def test_a_claim_of_another_owner_is_not_taken(bench: Bench) -> None:
    await bench.cluster.ensure(bench.key, a_claim(bench, uid="earlier"))
    with pytest.raises(Retry, match="earlier object"):
        await bench.cluster.ensure(bench.key, a_claim(bench))
    bench.change("PersistentVolumeClaim", "chat-0-1-weights", {"metadata": {"ownerReferences": []}})
    with pytest.raises(Rejected, match="belongs to nobody"):
        await bench.cluster.ensure(bench.key, a_claim(bench))


# -- token, status, events, nodes ------------------------------------------------------------------------------------


async def test_the_token_is_drawn_once_and_kept(bench: Bench) -> None:
    wanted = token_secret(context_of(CPU_SPEC, key=bench.key))
    token = await bench.cluster.ensure_token(bench.key, wanted)
    first = secret_data(seen(bench, "Secret", "chat-token"))
    assert await bench.cluster.ensure_token(bench.key, wanted) == token
    assert secret_data(seen(bench, "Secret", "chat-token")) == first
    assert len(first) == 1
    assert len(token) > 5


def secret_data(secret: Manifest) -> Manifest:
    found: Manifest = secret.get("data") or secret["stringData"]
    return found


async def test_the_token_of_an_earlier_object_is_waited_for_and_one_of_nobody_is_refused(bench: Bench) -> None:
    earlier = token_secret(context_of(CPU_SPEC, key=bench.key, uid="earlier"))
    await bench.cluster.ensure_token(bench.key, earlier)
    wanted = token_secret(context_of(CPU_SPEC, key=bench.key))
    with pytest.raises(Retry, match="earlier object"):
        await bench.cluster.ensure_token(bench.key, wanted)
    bench.change("Secret", "chat-token", {"metadata": {"ownerReferences": []}})
    with pytest.raises(Rejected, match="belongs to nobody"):
        await bench.cluster.ensure_token(bench.key, wanted)


def some_status(message: str) -> Manifest:
    return LlamaDeploymentStatus(observed_generation=1, reason="Serving", message=message).to_api()


async def test_status_is_written_without_touching_the_spec(bench: Bench) -> None:
    await bench.cluster.write_status(bench.key, some_status("one"))
    await bench.cluster.write_status(bench.key, some_status("two"))
    found = seen(bench, KIND, NAME)
    assert found["status"]["message"] == "two"
    assert found["metadata"]["generation"] == 1
    assert LlamaDeploymentStatus.model_validate(found["status"]) == LlamaDeploymentStatus.model_validate(
        some_status("two")
    )


async def test_status_of_a_vanished_object_is_no_error_and_makes_none(bench: Bench) -> None:
    bench.remove(KIND, NAME)
    await bench.cluster.write_status(bench.key, some_status("one"))
    assert bench.read(KIND, NAME) is None


async def test_an_event_again_is_counted(bench: Bench) -> None:
    owner = Owner(bench.key, seen(bench, KIND, NAME)["metadata"]["uid"], API_VERSION, KIND)
    for _ in range(2):
        await bench.cluster.record_event(owner, KubeEvent(True, "Unschedulable", "pod chat-0 needs 4 cpu"))
    await bench.cluster.record_event(owner, KubeEvent(False, "Serving", "2 groups serve from 2 nodes"))
    assert bench.event_count("Unschedulable") == 2
    assert bench.event_count("Serving") == 1


async def test_events_about_one_object_come_newest_first(bench: Bench) -> None:
    pod = await a_pod(bench)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    assert await bench.cluster.events_about(bench.key, ref) == ()
    for number in range(EVENTS + 5):
        bench.record(pod, "FailedMount", f"message {number}", at=MOMENT + timedelta(seconds=number))
    earlier = {**pod, "metadata": {**pod["metadata"], "uid": "earlier"}}
    bench.record(earlier, "FailedMount", "of a pod of the same name", at=MOMENT + timedelta(hours=1))
    found = await bench.cluster.events_about(bench.key, ref)
    assert len(found) == EVENTS
    assert found[0] == SeenEvent("FailedMount", f"message {EVENTS + 4}", MOMENT + timedelta(seconds=EVENTS + 4))
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    assert await bench.cluster.events_about(bench.key, Ref("v1", "Pod", ref.name)) == (), (
        "without a uid nobody is meant"
    )


@pytest.mark.apiserver
async def test_events_of_the_newer_api_have_their_times_elsewhere(real: RealBench) -> None:
    pod = await a_pod(real)
    about = {"kind": "Pod", "namespace": real.key.namespace} | {key: pod["metadata"][key] for key in ("name", "uid")}
    body = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "series", "namespace": real.key.namespace},
        "involvedObject": about, "type": "Warning", "reason": "FailedScheduling", "message": "0/2 nodes are available",
        "eventTime": "2026-01-01T12:00:07.000000Z", "action": "Scheduling", "reportingComponent": "default-scheduler",
        "reportingInstance": "s", "series": {"count": 2, "lastObservedTime": "2026-01-01T12:10:07.000000Z"},
    }  # fmt: skip
    real.rest.create(real.key.namespace, body)
    ref = Ref("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
    (found,) = await real.cluster.events_about(real.key, ref)
    assert found == SeenEvent("FailedScheduling", "0/2 nodes are available", MOMENT + timedelta(minutes=10))


async def test_an_object_is_looked_up_without_its_content(bench: Bench) -> None:
    for kind in ("Secret", "ConfigMap", "PersistentVolumeClaim"):
        assert await bench.cluster.look_up(bench.key, Ref("v1", kind, "absent")) is None
    await bench.cluster.apply(bench.key, config_map(bench, x="hidden"), force=False)
    found = await bench.cluster.look_up(bench.key, Ref("v1", "ConfigMap", "notes"))
    assert found is not None
    assert found["metadata"]["uid"] == seen(bench, "ConfigMap", "notes")["metadata"]["uid"]
    assert "data" not in found
    await bench.cluster.ensure_token(bench.key, token_secret(context_of(CPU_SPEC, key=bench.key)))
    found = await bench.cluster.look_up(bench.key, Ref("v1", "Secret", "chat-token"))
    assert found is not None
    assert not {"data", "stringData"} & set(found)
    await bench.cluster.ensure(bench.key, a_claim(bench))
    found = await bench.cluster.look_up(bench.key, Ref("v1", "PersistentVolumeClaim", "chat-0-1-weights"))
    assert found is not None
    assert found["spec"]["resources"]["requests"]["storage"] == "1Gi"


async def test_the_texts_of_a_config_map_that_the_spec_names_are_read(bench: Bench) -> None:
    assert await bench.cluster.config_map_data(bench.key, "notes") is None
    await bench.cluster.apply(bench.key, config_map(bench, template="{{ messages }}"), force=False)
    assert await bench.cluster.config_map_data(bench.key, "notes") == {"template": "{{ messages }}"}
    await bench.cluster.apply(bench.key, config_map(bench), force=False)
    assert await bench.cluster.config_map_data(bench.key, "notes") == {}


async def test_a_claim_template_is_looked_up_in_its_own_group(bench: Bench) -> None:
    ref = Ref("resource.k8s.io/v1", "ResourceClaimTemplate", "absent")
    assert await bench.cluster.look_up(bench.key, ref) is None


@pytest.mark.apiserver
async def test_a_claim_template_that_is_there_is_found(real: RealBench) -> None:
    asked = {"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com", "count": 8}}
    body = {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "gpus", "namespace": real.key.namespace},
        "spec": {"spec": {"devices": {"requests": [asked]}}},
    }  # fmt: skip
    real.rest.create(real.key.namespace, body)
    found = await real.cluster.look_up(real.key, Ref("resource.k8s.io/v1", "ResourceClaimTemplate", "gpus"))
    assert found is not None
    assert found["metadata"]["name"] == "gpus"


async def test_a_namespace_without_quotas_lists_none(bench: Bench) -> None:
    assert await bench.cluster.quotas(bench.key) == ()


@pytest.mark.apiserver
async def test_quotas_are_listed_with_what_their_controller_counted(real: RealBench) -> None:
    serving = {"scopeName": "PriorityClass", "operator": "In", "values": ["serving"]}
    spec = {"hard": {"requests.memory": "8Gi", "pods": "4"}, "scopeSelector": {"matchExpressions": [serving]}}
    for name in ("team", "new"):
        meta = {"name": name, "namespace": real.key.namespace}
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": spec}
        real.rest.create(real.key.namespace, body)
    status = {"status": {"hard": spec["hard"], "used": {"requests.memory": "1536Mi", "pods": "1"}}}
    real.rest.patch(real.key.namespace, "resourcequota", "team", change=status, subresource="status")
    scopes = (QuotaScope("PriorityClass", "In", ("serving",)),)
    assert await real.cluster.quotas(real.key) == (
        Quota("new", hard={}, used={}, scopes=scopes),
        Quota(
            "team",
            hard={"requests.memory": 8.0 * 2**30, "pods": 4.0},
            used={"requests.memory": 1.5 * 2**30, "pods": 1.0},
            scopes=scopes,
        ),
    )


@pytest.mark.apiserver
async def test_capacity_counts_what_pods_on_a_node_request(real: RealBench) -> None:
    node: Manifest = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{real.key.namespace}", "labels": {"a": "b"}},
    }
    real.rest.create("", node)
    name = node["metadata"]["name"]
    status = {
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}
    }
    real.rest.patch("", "node", name, change=status, subresource="status")
    resources = {"requests": {"cpu": "1500m", "memory": "1Gi"}}
    spec = {"nodeName": name, "containers": [{"name": "c", "image": "i", "resources": resources}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": real.key.namespace}, "spec": spec}
    real.rest.create(real.key.namespace, body)
    nodes: dict[str, NodeCapacity] = {}
    end = time.monotonic() + DEADLINE_S
    while name not in nodes or not nodes[name].requested or not nodes[name].ready:
        assert time.monotonic() < end, f"not shown within {DEADLINE_S} s: {nodes.get(name)}"
        seen = await real.cluster.capacity()
        assert seen is not None
        nodes = {node.name: node for node in seen.nodes}
        await asyncio.sleep(0.02)
    assert nodes[name].allocatable == {"cpu": 4.0, "memory": 8 * 2**30}
    assert nodes[name].requested == {"cpu": 1.5, "memory": 2**30}
    assert (nodes[name].ready, nodes[name].labels["a"]) == (True, "b")


async def test_an_api_server_that_is_gone_is_a_retry() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    configuration = client.Configuration(host=f"http://127.0.0.1:{port}")
    async with client.ApiClient(configuration) as api, KubeCluster(api) as cluster:
        with pytest.raises(Retry, match="no connection to the API server: connection refused"):
            await cluster.write_status(Key("team", NAME), {})
        with pytest.raises(Retry, match="no connection to the API server: connection refused"):
            await cluster.capacity()
        with pytest.raises(Retry, match="no connection to the API server: connection refused"):
            await cluster.events_about(Key("team", NAME), Ref("v1", "Pod", "p", "u"))
        with pytest.raises(Retry, match="no connection to the API server: connection refused"):
            await cluster.look_up(Key("team", NAME), Ref("v1", "Secret", "s"))


# -- shared objects: weights -----------------------------------------------------------------------------------------


def some_weights(bench: Bench, owner: str, **spec: Any) -> tuple[Manifest, str]:
    """The weights of CPU_SPEC as a deployment with this uid wants them, and its field manager."""
    context = context_of({**CPU_SPEC, **spec}, key=bench.key, uid=owner)
    return weights_object(context, context.spec.model), manager_of(owner)


def owners_of(bench: Bench, name: str) -> set[str]:
    return {owner["uid"] for owner in seen(bench, WEIGHTS_KIND, name)["metadata"].get("ownerReferences", ())}


async def test_owners_of_shared_weights_add_up_and_the_last_takes_them_along(bench: Bench) -> None:
    for uid in ("uid-1", "uid-2"):
        wanted, manager = some_weights(bench, uid)
        await bench.cluster.apply(bench.key, wanted, force=True, manager=manager)
    ref = Ref(API_VERSION, WEIGHTS_KIND, wanted["metadata"]["name"])
    assert owners_of(bench, ref.name) == {"uid-1", "uid-2"}
    spec = seen(bench, WEIGHTS_KIND, ref.name)["spec"]
    await bench.cluster.release(bench.key, ref, manager=manager_of("uid-1"))
    await bench.cluster.release(bench.key, ref, manager=manager_of("uid-1"))
    assert owners_of(bench, ref.name) == {"uid-2"}
    assert seen(bench, WEIGHTS_KIND, ref.name)["spec"] == spec
    another = Ref(API_VERSION, WEIGHTS_KIND, ref.name, "another-uid")
    await bench.cluster.release(bench.key, another, manager=manager_of("uid-2"))
    assert owners_of(bench, ref.name) == {"uid-2"}
    await bench.cluster.release(bench.key, ref, manager=manager_of("uid-2"))
    assert bench.read(WEIGHTS_KIND, ref.name) is None
    await bench.cluster.release(bench.key, ref, manager=manager_of("uid-2"))


async def test_the_status_of_weights_is_written_without_touching_their_spec(bench: Bench) -> None:
    wanted, manager = some_weights(bench, "uid-1")
    await bench.cluster.apply(bench.key, wanted, force=True, manager=manager)
    key = Key(bench.key.namespace, wanted["metadata"]["name"])
    status = LlamaWeightsStatus(reason="Accepted", ready=True, message="fine").to_api()
    await bench.cluster.write_status(key, status, kind=WEIGHTS_KIND)
    found = seen(bench, WEIGHTS_KIND, key.name)
    assert LlamaWeightsStatus.model_validate(found["status"]) == LlamaWeightsStatus.model_validate(status)
    assert found["spec"] == wanted["spec"]
    gone = Key(key.namespace, "gone")
    await bench.cluster.write_status(gone, status, kind=WEIGHTS_KIND)
    assert bench.read(WEIGHTS_KIND, "gone") is None


# -- the guarantee that nothing is written when nothing changed ------------------------------------------------------

AMOUNTS: list[dict[str, Any]] = [
    {"cpu": "0.5", "memory": "1024Mi", "sharedMemory": "0.25Gi"},
    {"cpu": "1000m", "memory": "1Gi", "sharedMemory": "67108864"},
    {"cpu": 2, "memory": 2_147_483_648, "sharedMemory": "100M"},
]
STAGINGS: list[dict[str, Any]] = [
    {},
    {"sizeLimit": "9Gi"},
    {"sharedClaimName": "c"},
    {"volumeClaimTemplate": {"size": "9Gi"}},
]
SPECS = [
    *(pytest.param(spec, id=name) for name, spec in SAMPLES.items()),
    *(pytest.param({**CPU_SPEC, "model": REMOTE, "staging": one}, id=f"staged {list(one)}") for one in STAGINGS),
    *(pytest.param({**CPU_SPEC, "resources": one, "gateway": {"resources": {
        "cpu": one["cpu"], "memory": one["memory"]}}}, id=str(one["cpu"])) for one in AMOUNTS),
]  # fmt: skip


@pytest.mark.apiserver
@pytest.mark.parametrize("spec", SPECS)
async def test_the_server_takes_all_manifests_and_reading_them_back_leaves_nothing_to_write(
    real: RealBench, spec: dict[str, Any]
) -> None:
    real.rest.patch("", "namespace", real.key.namespace, change=RESTRICTED)
    if "placement" in spec:
        spec = {**spec, "placement": {**spec["placement"], "priorityClassName": "system-node-critical"}}
        ensure_runtime(real, spec["placement"].get("runtimeClassName", ""))
    body = seen(real, KIND, NAME) | {"spec": spec}
    context = context_of(spec, key=real.key, uid=body["metadata"]["uid"])
    due = all_changes(context, snapshot(Bodies(body, ())))
    await write_all(real, due.applies)
    children, weights = list_children(real), listed(real, [WEIGHTS_PLURAL])
    assert len(children) + len(weights) == len(due.applies)
    again = all_changes(context, snapshot(Bodies(body, children, weights)))
    left = [write.manifest for write in again.applies if write.manifest["kind"] != "Pod"]
    assert left == []
    assert again.prunes == ()
    assert again.explanations == ()
    for one in weights:  # their own loop writes a status; until then any write stores the default of it
        change = {"status": {"observedGeneration": 1}}
        real.rest.patch(real.key.namespace, WEIGHTS_KIND, one["metadata"]["name"], change=change, subresource="status")
    before = versions(children + listed(real, [WEIGHTS_PLURAL]))
    await write_all(real, due.applies)  # the same again, as after a lost answer
    assert versions(list_children(real) + listed(real, [WEIGHTS_PLURAL])) == before


def ensure_runtime(real: RealBench, name: str) -> None:
    """Make the RuntimeClass that pods name, as the nodes' administrator does."""
    if name and real.rest.find("", "RuntimeClass", name) is None:
        body = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}
        real.rest.create("", body)


async def write_all(bench: RealBench, writes: Iterable[Write]) -> None:
    for write in writes:
        await bench.cluster.apply(bench.key, write.manifest, force=write.force, manager=write.manager)


def versions(bodies: Iterable[Manifest]) -> dict[tuple[str, str], str]:
    return {(body["kind"], body["metadata"]["name"]): body["metadata"]["resourceVersion"] for body in bodies}


def list_children(bench: RealBench) -> list[Manifest]:
    """What the watches would show, whole."""
    return listed(bench, [plural for _, plural in CHILDREN])


def listed(bench: RealBench, plurals: Iterable[str]) -> list[Manifest]:
    return [item for plural in plurals for item in bench.rest.list(bench.key.namespace, plural, OWNED)]
