"""From NetworkPolicies to rules of one node's packet filter, as text for ``iptables-restore``; pure.

Semantics of networking.k8s.io/v1: a pod that a policy selects for a direction is isolated in it, and what any of its
policies allows is allowed. A connection needs both ends: the way out of its source and the way into its target. Answers
are let through, and what comes from the nodes themselves, as every network plugin must let the kubelet's probes pass.

Each packet between pods is routed by the nodes of both (CNI ``ptp``), so each node judges its own pods only, after the
address translation of Services. A pod's chain returns what is allowed and refuses the rest at once, so that a test does
not wait for a connection that cannot come.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final, Literal

from testbed.policies.objects import Body, PodView, World, selects

Direction = Literal["ingress", "egress"]

#: The chain that FORWARD and INPUT lead to, and what the names of all chains of ours begin with.
MAIN: Final = "LTB-POLICY"
PREFIX: Final = "LTB-"
_REFUSE: Final = "-j REJECT --reject-with icmp-admin-prohibited"


def rules(world: World, *, node: str, trusted: str, stale: Iterable[str] = ()) -> str:
    """Return the filter table's chains of this node's pods.

    Args:
        world: pods, namespaces and policies of the whole cluster.
        node: whose pods are judged.
        trusted: network of the nodes and the host, which reaches every pod.
        stale: chains of ours that are there; those that are not wanted any more are deleted.
    """
    chains: dict[str, list[str]] = {MAIN: ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"]}
    for pod in (one for one in world.pods if one.node == node):
        for direction in ("egress", "ingress"):
            policies = [one for one in world.policies if isolates(one, pod, direction)]
            if not policies:
                continue
            name = chain_name(pod, direction)
            near = "-s" if direction == "egress" else "-d"
            chains[MAIN].append(f"{near} {pod.address}/32 -j {name}")
            chains[name] = _chain(policies, pod, direction, world=world, trusted=trusted)
    gone = sorted(set(stale) - chains.keys())
    lines = ["*filter", *(f":{name} - [0:0]" for name in (*chains, *gone))]
    lines += [f"-A {name} {rule}" for name, found in chains.items() for rule in found]
    return "\n".join([*lines, *(f"-X {name}" for name in gone), "COMMIT", ""])


def chain_name(pod: PodView, direction: Direction) -> str:
    """Return the name of a pod's chain; at most 28 characters, the limit of iptables."""
    digest = hashlib.sha256(f"{pod.namespace}/{pod.name}".encode()).hexdigest()[:16]
    return f"{PREFIX}{'OUT' if direction == 'egress' else 'IN'}-{digest}"


def isolates(policy: Body, pod: PodView, direction: Direction) -> bool:
    """Return whether the policy selects the pod for the direction."""
    spec = policy["spec"]
    types = spec.get("policyTypes") or ("Ingress", *(("Egress",) if spec.get("egress") else ()))
    mine = policy["metadata"]["namespace"] == pod.namespace and direction.capitalize() in types
    return bool(mine and selects(spec.get("podSelector") or {}, pod.labels))


def _chain(policies: Iterable[Body], pod: PodView, direction: Direction, *, world: World, trusted: str) -> list[str]:
    found = [f"-s {trusted} -j RETURN"] if direction == "ingress" else []
    for policy in policies:
        for rule in policy["spec"].get(direction) or ():
            found += _rule(rule, policy["metadata"]["namespace"], pod, direction, world=world)
    return [*dict.fromkeys(found), _REFUSE]


def _rule(rule: Body, namespace: str, pod: PodView, direction: Direction, *, world: World) -> Iterator[str]:
    far = "-d" if direction == "egress" else "-s"
    peers, ports = rule.get("to" if direction == "egress" else "from"), rule.get("ports")
    if not peers:
        targets: list[tuple[str, PodView | None]] = [("", None)]
    else:
        targets = [found for peer in peers for found in _addresses(peer, namespace, world)]
    for address, other in targets:
        owner = pod if direction == "ingress" else other
        where = f"{far} {address}" if address else ""
        for port in _ports(ports, owner, world=world, anywhere=direction == "egress" and other is None):
            yield " ".join(part for part in (where, port, "-j RETURN") if part)


def _addresses(peer: Body, namespace: str, world: World) -> Iterator[tuple[str, PodView | None]]:
    """Yield what a peer names: networks with their exceptions cut out, or pods."""
    if "ipBlock" in peer:
        for network in _without(peer["ipBlock"]):
            yield network, None
        return
    spaces = peer.get("namespaceSelector")
    for other in world.pods:
        there = other.namespace == namespace if spaces is None else _in(spaces, other.namespace, world)
        if there and selects(peer.get("podSelector") or {}, other.labels):
            yield f"{other.address}/32", other


def _in(selector: Body, namespace: str, world: World) -> bool:
    return namespace in world.namespaces and selects(selector, world.namespaces[namespace])


def _without(block: Mapping[str, Any]) -> list[str]:
    """Return networks that are together a block without its exceptions; nothing for IPv6, which the bed has not."""
    if ":" in block["cidr"]:
        return []
    left = [IPv4Network(block["cidr"], strict=False)]
    for text in block.get("except") or ():
        hole = IPv4Network(text, strict=False)
        left = [part for network in left for part in _cut(network, hole)]
    return [str(network) for network in sorted(left)]


def _cut(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if hole.supernet_of(network):
        return []
    return list(network.address_exclude(hole)) if network.supernet_of(hole) else [network]


def _ports(ports: Iterable[Body] | None, owner: PodView | None, *, world: World, anywhere: bool) -> Iterator[str]:
    """Yield the matches of ports; one by name is looked up where the connection ends."""
    if not ports:
        yield ""
        return
    for one in ports:
        protocol = one.get("protocol", "TCP")
        match = f"-p {protocol.lower()}"
        port = one.get("port")
        if port is None:
            yield match
        elif isinstance(port, int):
            last = one.get("endPort")
            yield f"{match} --dport {port}:{last}" if last else f"{match} --dport {port}"
        elif owner is not None and (port, protocol) in owner.ports:
            yield f"{match} --dport {owner.ports[port, protocol]}"
        elif anywhere:
            for pod in world.pods:
                if (port, protocol) in pod.ports:
                    yield f"-d {pod.address}/32 {match} --dport {pod.ports[port, protocol]}"
