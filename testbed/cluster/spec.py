"""What an instance of the test bed is: every name, address and port of it, computed from a few stored choices.

A host can hold several instances. Each takes a slot, and the slot fixes its networks, so that two
instances never share an address, a link or a cgroup:

    nodes     10.213.<slot>.0/24             the host is .1 on the bridge, node k is .<10 + k>
    services  10.213.<128 + slot>.0/24       kubernetes is .1, DNS is .10
    pods      10.<214 + slot>.<k>.0/24       one range per node, 10.<214 + slot>.0.0/16 in all
"""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

SLOTS: Final = 16
MAX_NODES: Final = 32
CLUSTER_DOMAIN: Final = "cluster.local"
CGROUP: Final = "llama-testbed"  # the cgroup that holds all instances


@dataclass(frozen=True)
class Ports:
    """Ports on the host, chosen free when the instance was made."""

    api: int
    etcd: int
    etcd_peer: int
    kwok: int


@dataclass(frozen=True)
class Node:
    """One node: a network, mount and process namespace of its own with a container runtime and a kubelet."""

    name: str
    address: str
    pod_cidr: str
    link: str  # the host's end of the node's cable; at most 15 characters, a limit of the kernel
    cgroup: str  # below each cgroup hierarchy, no leading slash


@dataclass(frozen=True)
class Spec:
    """The stored choices of an instance; everything else is computed from them."""

    name: str
    slot: int
    node_count: int
    kwok_nodes: int
    ports: Ports

    @property
    def bridge(self) -> str:
        """Name of the bridge that joins the nodes and the host."""
        return bridge_name(self.slot)

    @property
    def host_address(self) -> str:
        """The host's address on the bridge; the API server and DNS listen there when there are nodes."""
        return f"10.213.{self.slot}.1"

    @property
    def node_cidr(self) -> str:
        """Network of the bridge."""
        return f"10.213.{self.slot}.0/24"

    @property
    def service_cidr(self) -> str:
        """Range of the Services' cluster addresses."""
        return f"10.213.{128 + self.slot}.0/24"

    @property
    def service_address(self) -> str:
        """Cluster address of the Service `kubernetes`."""
        return f"10.213.{128 + self.slot}.1"

    @property
    def dns_address(self) -> str:
        """Cluster address of DNS."""
        return f"10.213.{128 + self.slot}.10"

    @property
    def pod_cidr(self) -> str:
        """Range of all pods of all nodes."""
        return f"10.{214 + self.slot}.0.0/16"

    @property
    def kwok_cidr(self) -> str:
        """Range of the made-up addresses of pods on kwok's nodes: the upper half, which no real node gets."""
        return f"10.{214 + self.slot}.128.0/17"

    @property
    def api_address(self) -> str:
        """Where the API server listens: loopback when it is alone, the bridge when nodes must reach it."""
        return self.host_address if self.node_count else "127.0.0.1"

    @property
    def api_url(self) -> str:
        """URL of the API server."""
        return f"https://{self.api_address}:{self.ports.api}"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, `node-1` first."""
        return tuple(self.node(index) for index in range(1, self.node_count + 1))

    def node(self, index: int) -> Node:
        """Compute the node with this number, counted from 1."""
        name = f"node-{index}"
        return Node(
            name=name,
            address=f"10.213.{self.slot}.{10 + index}",
            pod_cidr=f"10.{214 + self.slot}.{index}.0/24",
            link=f"{self.bridge}n{index}",
            cgroup=f"{CGROUP}/{self.name}/{name}",
        )


def bridge_name(slot: int) -> str:
    """Return the name of the bridge of a slot; the cables' names begin with it."""
    return f"ltb{slot}"


def free_slot(*, taken: set[int], routes: list[IPv4Network]) -> int | None:
    """Return the first slot that no instance has and whose networks the host does not route yet; None if all are used.

    Args:
        taken: slots of the instances that exist.
        routes: destinations in the host's routing table, without the default route.
    """
    for slot in range(SLOTS):
        probe = Spec(name="", slot=slot, node_count=0, kwok_nodes=0, ports=Ports(0, 0, 0, 0))
        wanted = [IPv4Network(cidr) for cidr in (probe.node_cidr, probe.service_cidr, probe.pod_cidr)]
        if slot not in taken and not any(net.overlaps(route) for net in wanted for route in routes):
            return slot
    return None
