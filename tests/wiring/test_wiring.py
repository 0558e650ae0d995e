"""What kopf does with our wiring: events wake the loop of their parent, nothing is written but the finalizer."""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import pytest

from llama_operator import admin
from llama_operator.api import API_GROUP, AutoscalingStatus
from llama_operator.autoscaler_registry import AutoscalerRegistry
from llama_operator.loop import Heartbeat
from llama_operator.metrics.registry import OperatorState
from llama_operator.plan.autoscaling.inputs import GroupCounts
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.memory import AutoscalingMemory, ScalingResult
from llama_operator.plan.autoscaling.recording import parse_line
from llama_operator.ports import Key, Rejected, Retry
from llama_operator.scopes.readiness import Readiness
from llama_operator.scopes.term import Terms
from tests.fakes.leases import FakeLeases
from tests.wiring.conftest import (
    DEADLINE_S,
    LLA,
    LLD,
    LLW,
    Api,
    adapter,
    child_of_adapter,
    child_of_weights,
    child_pod,
    deployment,
    operator_running,
    weights,
)


async def test_create_edit_and_delete_of_the_object(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass after the creation")
        await op.quiet()
        body = await api.get(LLD, "chat")
        assert body is not None
        assert body["metadata"].get("finalizers", []) == []
        assert body["metadata"].get("annotations", {}) == {}
        before = len(op.passes)
        await api.patch(LLD, "chat", {"spec": {"replicas": 3}})
        await op.until(lambda: len(op.passes) > before, "a pass after the edit")
        assert op.passes[-1].deployment["spec"]["replicas"] == 3
        await api.delete(LLD, "chat")
        assert await api.get(LLD, "chat") is None, "something keeps it"
        await op.until(lambda: not op.heartbeat.due, "the loop ends with its object")
        await op.until(lambda: op.ended == [op.passes[0].deployment["metadata"]["uid"]], "it is told of its end")


async def test_a_child_wakes_its_parent_and_only_it(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await api.create(LLD, deployment("other"))
        await op.until(lambda: bool(op.passes_of("chat") and op.passes_of("other")), "first passes")
        await op.quiet()
        others = len(op.passes_of("other"))
        await api.create("v1/pods", child_pod("chat-0", "chat"))
        await op.until(lambda: len(op.passes_of("chat")[-1].children) == 1, "a pass that sees the new pod")
        seen = op.passes_of("chat")[-1].children[0]
        assert (seen["kind"], seen["apiVersion"], seen["metadata"]["name"]) == ("Pod", "v1", "chat-0")
        await api.patch("v1/pods", "chat-0", {"status": {"phase": "Running"}})
        await op.until(
            lambda: op.passes_of("chat")[-1].children[0].get("status") == {"phase": "Running"}, "its change is seen"
        )
        await api.delete("v1/pods", "chat-0")
        await op.until(lambda: not op.passes_of("chat")[-1].children, "its end is seen")
        await op.quiet()
        assert op.woken("other", others) == []
        assert (await api.get(LLD, "chat")) is not None


async def test_children_are_left_as_they_are(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await api.create("v1/pods", child_pod("chat-0", "chat"))
        await op.until(lambda: any(one.children for one in op.passes), "the pod is seen")
        await op.quiet()
        pod = await api.get("v1/pods", "chat-0")
        assert pod is not None
        assert "finalizers" not in pod["metadata"]
        assert "annotations" not in pod["metadata"]


async def test_the_server_filters_what_is_watched(api: Api, kmock: Any) -> None:
    async with operator_running("team") as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass")
    asked = [str(request.url) for request in list(kmock) if request.url and "watch" in request.params]
    for plural in ("pods", "services", "deployments", "networkpolicies", "roles", "jobs"):
        (url,) = {url for url in asked if f"/{plural}?" in url}
        assert "/namespaces/team/" in url
        assert "labelSelector=app.kubernetes.io" in url, url
    assert not [url for url in asked if "/secrets" in url or "/events" in url]


async def test_a_restart_sees_what_is_there(api: Api) -> None:
    await api.create(LLD, deployment("chat"))
    await api.create("v1/pods", child_pod("chat-0", "chat"))
    for _ in range(2):
        async with operator_running() as op:
            await op.until(partial(bool, op.passes), "a pass")
            assert [child["metadata"]["name"] for child in op.passes[0].children] == ["chat-0"]
            assert op.passes[0].children[0]["kind"] == "Pod"


async def test_the_finalizer_of_an_earlier_version_is_removed(api: Api) -> None:
    """It would keep the object, and its namespace, for ever: this version has nothing to do at the end."""
    old = deployment("chat")
    old["metadata"]["finalizers"] = ["example.com/theirs", f"{API_GROUP}/finalizer"]
    await api.create(LLD, old)
    async with operator_running() as op:
        await op.until(lambda: bool(op.passes), "a pass")
        end = time.monotonic() + DEADLINE_S
        while (body := await api.get(LLD, "chat")) and body["metadata"]["finalizers"] != ["example.com/theirs"]:
            assert time.monotonic() < end, body["metadata"]["finalizers"]
            await asyncio.sleep(0.05)


async def test_a_new_object_of_the_same_name_has_a_loop_of_its_own(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass")
        await op.quiet()
        await api.delete(LLD, "chat")
        await op.until(lambda: not op.heartbeat.due, "the loop ends")
        await op.until(lambda: op.ended == [op.passes[0].deployment["metadata"]["uid"]], "its metrics vanish")
        await op.quiet()
        before = len(op.passes)
        await api.create("v1/pods", child_pod("chat-0", "chat"))
        await op.quiet()
        assert len(op.passes) == before
        await api.create(LLD, deployment("chat"))  # another object of the same name
        await op.until(lambda: len(op.passes) > before, "the new object has a loop of its own")
        await op.quiet()
        before = len(op.passes)
        await api.patch("v1/pods", "chat-0", {"status": {"phase": "Running"}})
        await op.until(lambda: len(op.passes) > before, "which its children wake")


# -- weights -----------------------------------------------------------------------------------------------------------


async def test_weights_have_a_loop_of_their_own_and_wake_the_deployments_of_their_namespace(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass of the deployment")
        await op.quiet()
        assert (op.passes[-1].weights, op.passes[-1].manifests) == ([], [])
        await api.create(LLW, weights("chat"))  # of the same name as the deployment
        await op.until(lambda: bool(op.weights_passes), "a pass of the weights")
        await op.until(lambda: len(op.passes[-1].weights) == 1, "a pass of the deployment that sees them")
        await op.quiet()
        assert len(op.heartbeat.due) == 2
        await api.patch(LLW, "chat", {"status": {"ready": True}})
        await op.until(
            lambda: op.passes[-1].weights[0].get("status") == {"ready": True}, "the deployment sees their status"
        )
        body = await api.get(LLW, "chat")
        assert body is not None
        assert body["metadata"].get("finalizers", []) == []
        assert body["metadata"].get("annotations", {}) == {}
        await api.delete(LLW, "chat")
        await op.until(lambda: op.passes[-1].weights == [], "the deployment sees their end")
        await op.until(lambda: len(op.heartbeat.due) == 1, "their loop ends")


async def test_children_of_weights_wake_their_loop_and_a_manifest_wakes_deployments_too(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await api.create(LLW, weights("chat"))
        await op.until(lambda: bool(op.passes and op.weights_passes), "first passes")
        await op.quiet()
        passes = len(op.passes)
        await api.create("batch/v1/jobs", child_of_weights("Job", "batch/v1", name="chat-1", owner="chat"))
        await api.create("v1/pods", child_of_weights("Pod", "v1", name="chat-1-x", owner="chat"))
        await op.until(
            lambda: {child["kind"] for child in op.weights_passes[-1].children} == {"Job", "Pod"}, "both are seen"
        )
        await op.quiet()
        assert op.woken("chat", passes) == [], "a Job of some weights woke a deployment"
        await api.create("v1/configmaps", child_of_weights("ConfigMap", "v1", name="chat-manifest", owner="chat"))
        await op.until(lambda: len(op.weights_passes[-1].children) == 3, "the weights see the manifest")
        await op.until(lambda: len(op.passes[-1].manifests) == 1, "the deployment sees the manifest")
        assert op.passes[-1].children == []


async def test_an_adapter_has_a_loop_of_its_own_and_wakes_the_deployments_of_its_namespace(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass of the deployment")
        await api.create(LLA, adapter("chat"))  # of the same name as the deployment
        await op.until(lambda: bool(op.weights_passes), "a pass of the adapter")
        await op.until(lambda: len(op.passes[-1].adapters) == 1, "a pass of the deployment that sees it")
        assert op.passes[-1].weights == []
        await api.create(
            "v1/configmaps", child_of_adapter("ConfigMap", "v1", name="chat.adapter-manifest", owner="chat")
        )
        await op.until(lambda: len(op.weights_passes[-1].children) == 1, "the adapter sees its manifest")
        await op.until(lambda: len(op.passes[-1].manifests) == 1, "the deployment sees the manifest")
        await api.delete(LLA, "chat")
        await op.until(lambda: op.passes[-1].adapters == [], "the deployment sees its end")
        await op.until(lambda: len(op.heartbeat.due) == 1, "its loop ends")


async def test_weights_of_another_namespace_are_nobodys_business(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass")
        await op.quiet()
        passes = len(op.passes)
        await api.create(LLW, weights("other"), namespace="elsewhere")
        await op.until(lambda: bool(op.weights_passes), "a pass of the weights")
        await op.quiet()
        assert op.woken("chat", passes) == []


async def test_a_pass_that_fails_does_not_end_the_loop(api: Api) -> None:
    async with operator_running() as op:
        op.failures += [RuntimeError("a bug"), Retry("busy"), Rejected("no")]
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: len(op.passes) > 3, "a pass after the failed ones")
        assert op.failures == []


async def test_a_stop_is_clean_within_seconds(api: Api) -> None:
    async with operator_running() as op:
        await api.create(LLD, deployment("chat"))
        await op.until(lambda: bool(op.passes), "a pass")
        await op.quiet()
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert not op.heartbeat.due


def nowhere() -> Readiness:
    """A process that serves no namespace."""
    return Readiness((), Terms(me="me", leases=FakeLeases(), clock=time.monotonic))


@pytest.mark.parametrize(("late", "status"), [(0, 200), (119, 200), (121, 503)])
async def test_the_probe_turns_red_when_a_loop_is_late(late: float, status: int, unused_tcp_port: int) -> None:
    now = 1000.0
    heartbeat = Heartbeat(clock=lambda: now)
    heartbeat.beat(Key("team", "chat"), 10)
    now += 10 + late
    runner = await admin.serve(heartbeat, OperatorState(), nowhere(), port=unused_tcp_port)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{unused_tcp_port}/live") as answer,
        ):
            assert answer.status == status
            assert await answer.json() == {"loops": 1, "seconds_late": late}
    finally:
        await runner.cleanup()


async def test_the_probe_gives_metrics_and_recordings(unused_tcp_port: int) -> None:
    scales = AutoscalerRegistry()
    scaled = ScalingResult(
        target=2, status=AutoscalingStatus(target=2, since=datetime(2026, 1, 1, tzinfo=UTC)), decided=True,
        memory=AutoscalingMemory(), load=Load(known=True, waiting=7), groups=GroupCounts(serving=1, starting=(5.0,)),
        reason="RequestsWait", message="7 wait",
    )  # fmt: skip
    scales.keep(Key("team", "chat"), "uid-1", result=scaled, now=datetime(2026, 1, 1, tzinfo=UTC))
    state = OperatorState(scales)
    runner = await admin.serve(Heartbeat(clock=lambda: 0.0), state, nowhere(), port=unused_tcp_port)
    found: dict[str, tuple[int, str]] = {}
    try:
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/autoscaling/team/chat.csv", "/autoscaling/team/other.csv"):
                async with session.get(f"http://127.0.0.1:{unused_tcp_port}{path}") as answer:
                    found[path] = answer.status, await answer.text()
    finally:
        await runner.cleanup()
    assert 'llama_operator_autoscaling_desired_groups{deployment="chat",namespace="team"} 2' in found["/metrics"][1]
    assert 'deployment="chat",namespace="team",reason="RequestsWait"} 1' in found["/metrics"][1]
    status, text = found["/autoscaling/team/chat.csv"]
    assert (status, len(text.splitlines())) == (200, 2)
    assert parse_line(text.splitlines()[1]).waiting == 7
    assert found["/autoscaling/team/other.csv"][0] == 404
