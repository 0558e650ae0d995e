"""NetworkPolicies as rules, judged by a small model of the packet filter that reads what iptables would get."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.policies.objects import PodView, World, pod_view, selects, world
from testbed.policies.translate import MAIN, chain_name, isolates, rules

NODES = "10.213.0.0/24"
HOST = "10.213.0.1"
GATEWAY = PodView("team", "gateway", "node-1", "10.214.1.2", {"app": "gateway"}, {("http", "TCP"): 8000})
STAGE = PodView("team", "stage", "node-1", "10.214.1.3", {"app": "stage"})
FAR = PodView("team", "far", "node-2", "10.214.2.3", {"app": "stage"})
STRANGER = PodView("other", "stranger", "node-2", "10.214.2.9", {"app": "gateway"})
PODS = (GATEWAY, STAGE, FAR, STRANGER)
SPACES = {"team": {"kubernetes.io/metadata.name": "team"}, "other": {"kubernetes.io/metadata.name": "other"}}


def policy(name: str = "p", *, namespace: str = "team", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


def app(name: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": name}}}


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection."""

    source: str
    target: str
    port: int
    protocol: str


def passes(seen: World, source: str, target: str, *, port: int = 8000, protocol: str = "tcp") -> bool:
    """Whether a new connection passes the nodes of both ends."""
    packet = Packet(source, target, port, protocol)
    return all(passes_node(rules(seen, node=node, trusted=NODES), packet) for node in ("node-1", "node-2"))


def passes_node(text: str, packet: Packet) -> bool:
    chains: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("-A "):
            _, name, *rule = line.split()
            chains.setdefault(name, []).append(rule)

    def allowed(name: str) -> bool:
        for rule in chains.get(name, []):
            if not matches(rule, packet):
                continue
            action = rule[rule.index("-j") + 1]
            if action in ("RETURN", "REJECT"):
                return action == "RETURN"
            if not allowed(action):
                return False
        return True

    return allowed(MAIN)


def matches(rule: list[str], packet: Packet) -> bool:
    words = dict(pairwise(rule))
    if "--ctstate" in words:
        return False  # a new connection
    for option, address in (("-s", packet.source), ("-d", packet.target)):
        if option in words and IPv4Address(address) not in IPv4Network(words[option]):
            return False
    first, _, last = words.get("--dport", f"{packet.port}").partition(":")
    return words.get("-p", packet.protocol) == packet.protocol and int(first) <= packet.port <= int(last or first)


def cluster(*policies: dict[str, Any], pods: tuple[PodView, ...] = PODS) -> World:
    return World(pods, SPACES, policies)


def test_without_a_policy_everything_passes() -> None:
    assert passes(cluster(), STRANGER.address, STAGE.address, port=8000)


def test_a_selected_pod_is_closed_but_for_the_nodes() -> None:
    seen = cluster(policy(podSelector={"matchLabels": {"app": "stage"}}, policyTypes=["Ingress"]))
    assert not passes(seen, STRANGER.address, STAGE.address, port=8000)
    assert not passes(seen, GATEWAY.address, FAR.address, port=8000)
    assert passes(seen, HOST, STAGE.address, port=8000)
    assert passes(seen, STAGE.address, GATEWAY.address, port=8000)


def test_a_peer_without_a_namespace_selector_is_of_the_policys_own_namespace() -> None:
    rule = {"from": [app("gateway")], "ports": [{"port": 8000, "protocol": "TCP"}]}
    seen = cluster(policy(podSelector={}, policyTypes=["Ingress"], ingress=[rule]))
    assert passes(seen, GATEWAY.address, STAGE.address, port=8000)
    assert not passes(seen, STRANGER.address, STAGE.address, port=8000)
    assert not passes(seen, GATEWAY.address, STAGE.address, port=8001)
    assert not passes(seen, GATEWAY.address, STAGE.address, port=8000, protocol="udp")


def test_namespace_and_pod_selector_of_one_peer_are_both_asked() -> None:
    other = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
    both, spaces = {"namespaceSelector": other, **app("stage")}, {"namespaceSelector": other}
    for peers, expected in (([both], False), ([spaces], True), ([both, spaces], True)):
        seen = cluster(policy(podSelector={}, policyTypes=["Ingress"], ingress=[{"from": peers}]))
        assert passes(seen, STRANGER.address, STAGE.address, port=8000) is expected


def test_both_ends_must_allow_a_connection() -> None:
    out = policy("out", podSelector={}, policyTypes=["Egress"], egress=[{"to": [app("gateway")]}])
    into = policy("in", podSelector={}, policyTypes=["Ingress"], ingress=[{"from": [app("gateway")]}])
    assert passes(cluster(out), STAGE.address, GATEWAY.address, port=1)
    assert not passes(cluster(out), STAGE.address, FAR.address, port=1)
    assert not passes(cluster(out, into), STAGE.address, GATEWAY.address, port=1)


def test_policies_of_a_pod_add_up() -> None:
    one = policy("one", podSelector={}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": 1}]}])
    two = policy("two", podSelector={}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": 5, "endPort": 7}]}])
    assert [passes(cluster(one, two), FAR.address, STAGE.address, port=port) for port in (1, 4, 5, 7, 8)] == [
        True, False, True, True, False,
    ]  # fmt: skip


def test_exceptions_are_cut_out_of_a_block() -> None:
    block = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "10.0.0.0/8"]}}
    seen = cluster(policy(podSelector={}, policyTypes=["Egress"], egress=[{"to": [block]}]))
    assert passes(seen, STAGE.address, "1.1.1.1", port=443)
    assert not passes(seen, STAGE.address, "169.254.169.254", port=80)
    assert not passes(seen, STAGE.address, FAR.address, port=80)


def test_named_ports_are_those_of_the_end() -> None:
    seen = cluster(policy(podSelector={}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": "http"}]}]))
    assert passes(seen, FAR.address, GATEWAY.address, port=8000)
    assert not passes(seen, FAR.address, STAGE.address, port=8000)
    seen = cluster(policy(podSelector={}, policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}]))
    assert passes(seen, STAGE.address, GATEWAY.address, port=8000)
    assert not passes(seen, STAGE.address, FAR.address, port=8000)


def test_without_types_a_policy_is_for_ingress_and_for_egress_where_it_has_rules() -> None:
    assert isolates(policy(podSelector={}), STAGE, "ingress")
    assert not isolates(policy(podSelector={}), STAGE, "egress")
    assert isolates(policy(podSelector={}, egress=[{}]), STAGE, "egress")
    assert not isolates(policy(podSelector={}, namespace="other"), STAGE, "ingress")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "app", "operator": "In", "values": ["stage"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["stage"]}, False),
        ({"key": "none", "operator": "NotIn", "values": ["stage"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_expressions(expression: dict[str, Any], *, expected: bool) -> None:
    assert selects({"matchExpressions": [expression]}, STAGE.labels) is expected


def test_an_unknown_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="Gt"):
        selects({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, {})


def test_chains_of_pods_that_are_gone_are_deleted() -> None:
    old = chain_name(replace(STAGE, name="gone"), "ingress")
    text = rules(cluster(policy(podSelector={})), node="node-1", trusted=NODES, stale=[old, MAIN])
    assert f":{old} - [0:0]" in text
    assert f"-X {old}" in text
    assert f"-X {MAIN}" not in text
    assert text.endswith("COMMIT\n")


def test_pods_of_the_nodes_network_and_ended_ones_have_no_rules() -> None:
    body = {
        "metadata": {"namespace": "team", "name": "x"},
        "spec": {"nodeName": "node-1"},
        "status": {"podIP": "10.214.1.9"},
    }
    assert pod_view(body) is not None
    assert pod_view({**body, "spec": {"hostNetwork": True}}) is None
    assert pod_view({**body, "status": {"podIP": "10.214.1.9", "phase": "Succeeded"}}) is None
    assert pod_view({**body, "status": {}}) is None
    assert world([body], [], []).pods[0].address == "10.214.1.9"


@given(st.permutations(range(3)), st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3))
def test_the_order_of_policies_never_counts(order: list[int], ports: list[int]) -> None:
    found = [
        policy(f"p{i}", podSelector={}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": p}]}])
        for i, p in enumerate((ports * 3)[:3])
    ]
    asked = [passes(cluster(*found), FAR.address, STAGE.address, port=port) for port in range(5)]
    shuffled = cluster(*(found[i] for i in order))
    assert [passes(shuffled, FAR.address, STAGE.address, port=port) for port in range(5)] == asked
    assert asked == [port in ports for port in range(5)]
