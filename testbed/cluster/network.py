"""The nodes' cables: a bridge on the host, a veth pair per node, routes to the pods. No rule on the host.

The commands are computed as input of `ip -batch`; every line that is not for a new link only is a `replace`, so that
running it again repairs what is missing. The host reaches Services through the first node, whose kube-proxy
masquerades what does not come from a pod: so nothing of iptables is touched outside the nodes' own namespaces.
"""

import json
import subprocess
from ipaddress import IPv4Network

from testbed.cluster.spec import Node, Spec
from testbed.errors import BedError


def host_routes() -> list[IPv4Network]:
    """Return the destinations that the host routes, without the default route."""
    try:
        found = subprocess.run(["ip", "-json", "-4", "route"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return []  # without iproute2 only a control plane is possible, and that needs no network
    return [IPv4Network(r["dst"]) for r in json.loads(found or "[]") if r["dst"] != "default" and r.get("dst")]


def links() -> set[str]:
    """Return the names of the host's network links."""
    found = subprocess.run(["ip", "-json", "link"], check=True, capture_output=True, text=True).stdout
    return {link["ifname"] for link in json.loads(found)}


def bridge_commands(spec: Spec, *, present: set[str]) -> list[str]:
    """Commands that make the bridge and give the host its address on it."""
    lines = [] if spec.bridge in present else [f"link add {spec.bridge} type bridge forward_delay 0"]
    return [*lines, f"addr replace {spec.host_address}/24 dev {spec.bridge}", f"link set {spec.bridge} up"]


def cable_commands(spec: Spec, node: Node, *, pid: int) -> list[str]:
    """Commands on the host that plug a new node in; `pid` is a process in its namespaces."""
    return [
        f"link add {node.link} type veth peer name eth0 netns {pid}",
        f"link set {node.link} master {spec.bridge}",
        f"link set {node.link} up",
    ]


def route_commands(spec: Spec) -> list[str]:
    """Commands on the host that route pods to their nodes and Services to the first node."""
    routes = [f"route replace {node.pod_cidr} via {node.address}" for node in spec.nodes]
    return [*routes, f"route replace {spec.service_cidr} via {spec.nodes[0].address}"]


def node_commands(spec: Spec, node: Node) -> list[str]:
    """Commands inside a node: its address and the other nodes' pods; anywhere else is refused at once, not dropped."""
    others = [other for other in spec.nodes if other.name != node.name]
    return [
        "link set lo up",
        f"addr replace {node.address}/24 dev eth0",
        "link set eth0 up",
        "route replace unreachable default",
        # A Service that kube-proxy does not know yet: the host drops it, so that the caller's next try may succeed.
        f"route replace {spec.service_cidr} via {spec.host_address}",
        *(f"route replace {other.pod_cidr} via {other.address}" for other in others),
    ]


def batch(commands: list[str], *, enter: tuple[str, ...] = ()) -> None:
    """Run `ip` commands, on the host or where `enter` leads; the first failure ends it.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    text = "\n".join(commands) + "\n"
    subprocess.run([*enter, "ip", "-batch", "-"], input=text, text=True, check=True, capture_output=True)


def remove(bridge: str) -> None:
    """Remove a bridge and the cables in it; routes and addresses go with them.

    Raises:
        BedError: a link is still there afterwards.
    """

    def mine() -> list[str]:
        return [name for name in links() if name == bridge or name.startswith(f"{bridge}n")]

    for name in mine():
        # A cable goes away on its own when its node has ended, maybe just now: only the outcome counts.
        subprocess.run(["ip", "link", "delete", name], capture_output=True)
    if left := mine():
        raise BedError(f"cannot remove the network links {', '.join(left)}")
