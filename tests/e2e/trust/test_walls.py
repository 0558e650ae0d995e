"""The walls hold on the bed, whose nodes enforce NetworkPolicies: who is outside reaches the gateway, and nothing else.

``docs/explanation/threat-model.md`` has the walls. The engine is looked at from inside its pod's network, which is all
that code in its container could have.
"""

import json
import socketserver
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from examples.cluster import restricted_namespace
from examples.kubectl import Kubectl
from llama_serving.config import names
from testbed import Bed as Nodes
from tests.e2e.support.bed import NAMESPACE, PAIR, Bed, Object, manifest
from tests.e2e.support.pods import python_pod

AWAY: Final = "llama-walls-away"
LISTENS: Final = "0A"  # of /proc/net/tcp
Target = tuple[str, int]

#: Prints which of the addresses in its argument accept a connection.
REACH: Final = """
import json, socket, sys
found = []
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), timeout=2).close()
        found.append([host, port])
    except OSError:
        pass
print(json.dumps(found))
"""


def ip(pod: Object) -> str:
    return str(pod["status"]["podIP"])


def listening(pid: int) -> set[int]:
    """Ports that accept connections from outside in the network of a process."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, port = local.rpartition(":")
            if state == LISTENS and address not in ("0100007F", "00000000000000000000000001000000"):
                found.add(int(port, 16))
    return found


def pid_of(pod: Object) -> int:
    return Nodes().pod_processes(NAMESPACE, pod["metadata"]["name"])[0].pid


def targets(pods: Iterable[Object]) -> set[Target]:
    """Everything that listens in these pods."""
    return {(ip(pod), port) for pod in pods for port in listening(pid_of(pod))}


def reached_from_pod(pod: Object, wanted: Iterable[Target]) -> set[Target]:
    """What a process in the pod's network reaches."""
    enter = ["nsenter", "--target", str(pid_of(pod)), "--net", "--"]
    command = [*enter, sys.executable, "-c", REACH, json.dumps(sorted(wanted))]
    return parsed(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


def parsed(text: str) -> set[Target]:
    return {(host, port) for host, port in json.loads(text)}


def reached_from_namespace(
    bed: Bed, namespace: str, wanted: Iterable[Target], *, labels: dict[str, str]
) -> set[Target]:
    """What a pod of a namespace reaches."""
    kubectl = Kubectl(bed.environment, namespace)
    kubectl.apply(python_pod(namespace, "stranger", "-c", REACH, json.dumps(sorted(wanted)), labels=labels))
    try:
        kubectl("wait", "pod/stranger", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
        return parsed(kubectl("logs", "stranger"))
    finally:
        kubectl("delete", "pod", "stranger", "--wait=true")


@pytest.fixture(scope="module")
def away(bed: Bed) -> Iterator[str]:
    bed.kubectl.apply(restricted_namespace(AWAY))
    yield AWAY
    bed.kubectl("delete", "namespace", AWAY, "--wait=false")


def test_a_pod_of_another_namespace_reaches_the_port_of_the_gateway_and_nothing_else(
    bed: Bed, pair: str, away: str
) -> None:
    gateways = bed.pods(pair, names.COMPONENT_GATEWAY)
    everything = targets([*bed.pods(pair), *gateways])
    assert len(everything) > 10
    # Labels of ours on a pod of another namespace open nothing.
    labels = {
        names.LABEL_DEPLOYMENT: pair,
        names.LABEL_COMPONENT: names.COMPONENT_GATEWAY,
        names.LABEL_METRICS: "enabled",
    }
    for worn in ({}, labels):
        reached = reached_from_namespace(bed, away, everything, labels=worn)
        assert reached == {(ip(pod), names.PORT_GATEWAY) for pod in gateways}


def test_a_stranger_in_the_namespace_reaches_no_engine(bed: Bed, pair: str) -> None:
    reached = reached_from_namespace(bed, NAMESPACE, targets(bed.pods(pair)), labels={"app": "other"})
    assert reached == set()


def test_the_engine_reaches_its_group_and_nothing_else(bed: Bed, pair: str) -> None:
    stages = bed.pods(pair)
    mine = [pod for pod in stages if pod["metadata"]["labels"][names.LABEL_GROUP] == "0"]
    others = [pod for pod in stages if pod not in mine]
    api = bed.kubectl.json("get", "endpointslices", "kubernetes", "--namespace", "default")
    (server,), (port,) = api["endpoints"][0]["addresses"], (one["port"] for one in api["ports"])
    service = Kubectl(bed.environment, "default").json("get", "service", "kubernetes")["spec"]["clusterIP"]
    outside = targets([*others, *bed.pods(pair, names.COMPONENT_GATEWAY)]) | {(server, port), (service, 443)}
    with server_of_strangers() as (host, open_port, _):
        outside |= {(host, open_port), ("1.1.1.1", 443), ("169.254.169.254", 80)}
        for pod in mine:
            partner = next(one for one in mine if one is not pod)
            reached = reached_from_pod(pod, outside | {(ip(partner), names.PORT_STATE)})
            assert reached == {(ip(partner), names.PORT_STATE)}


def test_an_engine_answers_nobody_without_the_key(bed: Bed, pair: str) -> None:
    """The machine of the bed passes every policy, as nodes do."""
    leader = next(pod for pod in bed.pods(pair) if pod["metadata"]["labels"][names.LABEL_STAGE] == "0")
    for path in ("/v1/models", "/metrics", names.ROUTE_STATE, "/docs", "/"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{ip(leader)}:{names.PORT_ENGINE}{path}", timeout=10)
        with refused.value:  # it is the open answer
            assert refused.value.code == 401
    with urllib.request.urlopen(f"{bed.service_url(pair)}/v1/models", timeout=10) as answer:
        assert answer.status == 200


def test_the_status_says_that_policies_are_enforced(bed: Bed, pair: str) -> None:
    bed.kubectl("wait", f"llamadeployment/{pair}", "--for=condition=NetworkPolicyEnforced", "--timeout=360s")


@pytest.mark.parametrize("labelled", [False, True])
def test_a_secret_goes_nowhere_that_its_owner_did_not_say(bed: Bed, labelled: bool) -> None:
    """Who may create a LlamaDeployment names a Secret that he may not read, and a host of his own."""
    name = f"exfiltration-{'labelled' if labelled else 'bare'}"
    labels = {names.LABEL_SOURCE: "enabled"} if labelled else {}
    notes = {names.ANNOTATION_SOURCE_HOSTS: "https://models.example.com"} if labelled else {}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": notes}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "hf_stolen"}}
    with server_of_strangers() as (host, port, came):
        bed.kubectl.apply(secret)
        model = {**manifest(name)["spec"]["model"], "source": f"https://{host}:{port}/m", "credentialsSecret": name}
        bed.kubectl.apply(manifest(name, model=model))
        try:
            bed.wait_for(
                name, lambda found: found["status"].get("reason") == "SecretNotAllowed", within=60, what="refused"
            )
            assert bed.kubectl.json("get", "jobs")["items"] == []
            assert came == []
        finally:
            bed.kubectl("delete", "llamadeployment,secret", name, "--wait=true")


def test_groups_that_serve_do_not_notice_a_refused_secret(bed: Bed, pair: str) -> None:
    assert bed.deployment(PAIR)["status"]["reason"] == "Serving"
    assert pair == PAIR


@contextmanager
def server_of_strangers() -> Iterator[tuple[str, int, list[str]]]:
    """A server on this machine that pods reach if nothing keeps them; who connected to it."""
    came: list[str] = []

    class Server(socketserver.ThreadingTCPServer):
        def verify_request(self, request: object, client_address: object) -> bool:
            del request
            came.append(str(client_address))
            return False

    host = Nodes().host_address
    server = Server((host, 0), socketserver.BaseRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield host, server.server_address[1], came
    finally:
        server.shutdown()
        server.server_close()
