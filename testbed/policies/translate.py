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
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final, Literal

from testbed.policies.objects import Body, PodView, World, selects

Direction = Literal["ingress", "egress"]

_DIRECTIONS: Final[tuple[Direction, ...]] = ("egress", "ingress")
#: The chain that FORWARD and INPUT lead to, and what the names of all chains of ours begin with.
MAIN: Final = "LTB-POLICY"
PREFIX: Final = "LTB-"
_ANY: Final[tuple[str, None]] = ("", None)
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
        for direction in _DIRECTIONS:
            policies = [one for one in world.policies if isolates(one, pod, direction)]
            if not policies:
                continue
            name = chain_name(pod, direction)
            near = "-s" if direction == "egress" else "-d"
            chains[MAIN].append(f"{near} {pod.address}/32 -j {name}")
            chains[name] = _chain(policies, _Side(pod, direction, world), trusted=trusted)
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


@dataclass(frozen=True)
class _Side:
    """One direction of one pod, in a cluster."""

    pod: PodView
    direction: Direction
    world: World

    @property
    def leaves(self) -> bool:
        return self.direction == "egress"

    def rule(self, rule: Body, namespace: str) -> Iterator[str]:
        """Yield what one rule of a policy of the namespace lets through."""
        peers = rule.get("to" if self.leaves else "from")
        targets = [found for peer in peers for found in _addresses(peer, namespace, self.world)] if peers else [_ANY]
        for address, other in targets:
            where = f"{'-d' if self.leaves else '-s'} {address}" if address else ""
            for port in self._ports(rule.get("ports"), other):
                yield " ".join(part for part in (where, port, "-j RETURN") if part)

    def _ports(self, ports: Iterable[Body] | None, other: PodView | None) -> Iterator[str]:
        """Yield the matches of ports; one by name is looked up where the connection ends."""
        if not ports:
            yield ""
            return
        for one in ports:
            port = one.get("port")
            if not isinstance(port, str):
                yield _number(one)
            elif not self.leaves or other is not None:
                yield from _named(one, (other if self.leaves and other else self.pod,))
            else:
                yield from (f"-d {pod.address}/32 {found}" for pod in self.world.pods for found in _named(one, (pod,)))


def _number(port: Body) -> str:
    match, first, last = f"-p {port.get('protocol', 'TCP').lower()}", port.get("port"), port.get("endPort")
    if first is None:
        return match
    return f"{match} --dport {first}:{last}" if last else f"{match} --dport {first}"


def _named(port: Body, pods: Iterable[PodView]) -> Iterator[str]:
    protocol = port.get("protocol", "TCP")
    for pod in pods:
        if number := pod.ports.get((port["port"], protocol)):
            yield f"-p {protocol.lower()} --dport {number}"


def _chain(policies: Iterable[Body], side: _Side, *, trusted: str) -> list[str]:
    found = [] if side.leaves else [f"-s {trusted} -j RETURN"]
    for policy in policies:
        for rule in policy["spec"].get(side.direction) or ():
            found += side.rule(rule, policy["metadata"]["namespace"])
    return [*dict.fromkeys(found), _REFUSE]


def _addresses(peer: Body, namespace: str, world: World) -> Iterator[tuple[str, PodView | None]]:
    """Yield what a peer names: networks with their exceptions cut out, or pods."""
    if "ipBlock" in peer:
        yield from ((network, None) for network in _without(peer["ipBlock"]))
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
