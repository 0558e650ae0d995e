"""The pure parts of the edges: the verdict on an answer, and the room on nodes."""

from typing import Any

import pytest
from aiohttp import ClientSession, web

from llama_operator.adapters.gateways import HttpGateways
from llama_operator.adapters.http_errors import is_of_another, judge, message_of, retry_after
from llama_operator.adapters.kube import path_of
from llama_operator.adapters.node_capacity import capacity_of
from llama_operator.adapters.supervisors import HttpSupervisors
from llama_operator.api import API_VERSION, KIND
from llama_operator.observe.pods import pod_requests
from llama_operator.ports import Key, Ref, Rejected, Retry
from llama_serving.config.desired import DesiredState
from llama_serving.config.gateway import GatewayLoad
from tests.unit.operator.worlds import cell, serve_of

LOAD = GatewayLoad(waiting=1, oldest_wait=2.5, in_flight=3, draining=False, groups=(), totals={"finished": 4})

STATUS = '{"kind":"Status","message":"said by the server","code":409}'
CONFLICT = '{"message":"Apply failed","details":{"causes":[{"reason":"FieldManagerConflict"}]}}'


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, "{}", None),
        (201, "", None),
        (299, "", None),
        *[(code, STATUS, Retry) for code in (401, 408, 409, 425, 429, 500, 502, 503, 504)],
        *[(code, STATUS, Rejected) for code in (302, 400, 403, 404, 405, 413, 415, 422)],
        (409, CONFLICT, Rejected),
    ],
)
def test_the_verdict(status: int, body: str, verdict: type[Exception] | None) -> None:
    if verdict is None:
        judge(status, {}, body)
        return
    with pytest.raises(verdict) as caught:
        judge(status, {}, body)
    assert str(caught.value) in ("said by the server", "Apply failed")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (STATUS, "said by the server"),
        ("<html>bad gateway</html>", ""),
        ("x" * 999, ""),
        ("[]", ""),
        ("{}", ""),
        ("", ""),
    ],
)
def test_the_servers_sentence(body: str, message: str) -> None:
    assert message_of(body) == message


def test_no_body_is_named_by_its_status() -> None:
    with pytest.raises(Retry, match="HTTP 503"):
        judge(503, {}, "")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7), ({}, 1), ({"Retry-After": "Wed, 21 Oct 2026"}, 1), ({"Retry-After": "-3"}, 1)],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
    with pytest.raises(Retry) as caught:
        judge(429, headers, "")
    assert caught.value.after == seconds


@pytest.mark.parametrize(
    ("status", "body", "another"),
    [(422, '{"causes":[{"field":"metadata.uid"}]}', True), (422, '{"field":"spec"}', False), (409, "", False)],
)
def test_a_patch_that_met_another_object(status: int, body: str, another: bool) -> None:
    assert is_of_another(status, body) is another


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (Ref("v1", "Pod", "p"), "/api/v1/namespaces/team/pods/p"),
        (Ref("apps/v1", "Deployment", "d"), "/apis/apps/v1/namespaces/team/deployments/d"),
        (Ref(API_VERSION, KIND, "l"), "/apis/llama-operator.dev/v1alpha1/namespaces/team/llamadeployments/l"),
        (
            Ref("networking.k8s.io/v1", "NetworkPolicy", "n"),
            "/apis/networking.k8s.io/v1/namespaces/team/networkpolicies/n",
        ),
    ],
)
def test_paths(ref: Ref, path: str) -> None:
    assert path_of(Key("team", "x"), ref) == path


# -- nodes ------------------------------------------------------------------------------------------------------------


def container(cpu: str, *, sidecar: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"resources": {"requests": {"cpu": cpu}}}
    return found | ({"restartPolicy": "Always"} if sidecar else {})


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({}, None),
        ({"containers": [{}]}, None),
        ({"containers": [container("500m"), container("1")]}, 1.5),
        ({"containers": [container("1")], "initContainers": [container("3")]}, 3),
        ({"containers": [container("1")], "initContainers": [container("500m")]}, 1),
        ({"containers": [container("1")], "initContainers": [container("500m", sidecar=True)]}, 1.5),
        ({"containers": [container("1")], "initContainers": [container("2", sidecar=True), container("3")]}, 5),
        ({"containers": [container("1")], "initContainers": [container("3"), container("1", sidecar=True)]}, 3),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1.25),
    ],
)
def test_what_a_pod_asks_for(spec: dict[str, Any], cpu: float | None) -> None:
    assert pod_requests({"spec": spec}).get("cpu") == cpu


def test_the_capacity_of_nodes() -> None:
    node = {
        "metadata": {"name": "a", "labels": {"zone": "1"}},
        "spec": {"unschedulable": True},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
        },
    }
    bare = {"metadata": {"name": "b"}}
    pods: list[dict[str, Any]] = [
        {"spec": {"nodeName": "a", "containers": [container("1")]}},
        {"spec": {"nodeName": "a", "containers": [container("500m")]}},
        {"spec": {"containers": [container("9")]}},
        {"spec": {"nodeName": "gone", "containers": [container("9")]}},
    ]
    one, other = capacity_of([node, bare], pods).nodes
    assert (one.name, one.labels, one.ready, one.schedulable) == ("a", {"zone": "1"}, True, False)
    assert one.allocatable == {"cpu": 4, "memory": 8 * 2**30, "nvidia.com/gpu": 8}
    assert one.requested == {"cpu": 1.5}
    assert (other.ready, other.schedulable, other.allocatable, other.requested) == (False, True, {}, {})


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, cell().state.model_dump_json().encode(), ""),  # type: ignore[union-attr]
        (503, b"starting", "its supervisor answers HTTP 503 (Service Unavailable)"),
        (200, b"{}", "deployment is missing"),
        (200, b"no json", "the answer is not valid JSON"),
        (200, b"\xff\xfe\xff", "not valid UTF-8"),
    ],
)
async def test_a_supervisors_answer(*, status: int, body: bytes, error: str, unused_tcp_port: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": "application/json; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/llama/state", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        async with ClientSession() as session:
            found = await HttpSupervisors(session, port=unused_tcp_port).state("127.0.0.1")
    finally:
        await runner.cleanup()
    assert error in found.error
    assert (found.state is None) is bool(error)


async def test_a_supervisor_that_is_not_there(unused_tcp_port: int) -> None:
    async with ClientSession() as session:
        found = await HttpSupervisors(session, port=unused_tcp_port).state("127.0.0.1")
    assert found.state is None
    assert found.error.startswith("no connection to its supervisor")


# -- wishes and loads -------------------------------------------------------------------------------------------------


async def served(route: str, handler: Any, port: int) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", route, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


SAID = '{"message": "no such token."}'


@pytest.mark.parametrize(
    ("status", "text", "why"),
    [
        (200, "", ""),
        (204, "", ""),
        (401, "<html>", "HTTP 401 (Unauthorized)"),
        (401, SAID, "HTTP 401 (Unauthorized): no such token"),
    ],
)
async def test_a_wish_is_put_with_the_groups_token(*, status: int, text: str, why: str, unused_tcp_port: int) -> None:
    heard: list[tuple[str, str, str]] = []

    async def take(request: web.Request) -> web.Response:
        heard.append((request.method, request.headers["Authorization"], await request.text()))
        return web.Response(status=status, text=text)

    wish = DesiredState(serve=serve_of().weights, staged=(serve_of(),))
    runner = await served("/llama/desired", take, unused_tcp_port)
    try:
        async with ClientSession() as session:
            supervisors = HttpSupervisors(session, port=unused_tcp_port)
            found = await supervisors.put_desired_state("127.0.0.1", wish, token="secret")
    finally:
        await runner.cleanup()
    assert found == why
    ((method, token, body),) = heard
    assert (method, token, DesiredState.model_validate_json(body)) == ("PUT", "Bearer secret", wish)


async def test_a_desired_state_that_nobody_hears(unused_tcp_port: int) -> None:
    async with ClientSession() as session:
        supervisors = HttpSupervisors(session, port=unused_tcp_port)
        found = await supervisors.put_desired_state("127.0.0.1", DesiredState(serve=serve_of().weights), token="t")
    assert found.startswith("no connection to its supervisor")


@pytest.mark.parametrize(
    ("status", "body", "known"),
    [(200, LOAD.model_dump_json(), True), (200, "{}", False), (200, "no json", False), (503, "", False)],
)
async def test_a_gateways_load(*, status: int, body: str, known: bool, unused_tcp_port: int) -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.Response(status=status, text=body)

    runner = await served("/load", answer, unused_tcp_port)
    try:
        async with ClientSession() as session:
            found = await HttpGateways(session, port=unused_tcp_port).load("127.0.0.1", start=164.6)
            await HttpGateways(session, port=unused_tcp_port).load("127.0.0.1")
            nobody = await HttpGateways(session, port=1).load("127.0.0.1")
    finally:
        await runner.cleanup()
    assert found == (LOAD if known else None)
    assert asked == [{"expectedStart": "165"}, {}], "what the operator expects goes with its question"
    assert nobody is None
