"""Addresses and names: instances never share any, and nothing that the host uses is taken."""

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest

from testbed.cluster import own
from testbed.cluster.spec import MAX_NODES, SLOTS, free_slot
from testbed.errors import BedError
from tests.testbed.cluster.worlds import spec


def networks(slot: int) -> list[IPv4Network]:
    one = spec(slot=slot)
    return [IPv4Network(cidr) for cidr in (one.node_cidr, one.service_cidr, one.pod_cidr)]


def test_slots_share_no_address() -> None:
    every = [net for slot in range(SLOTS) for net in networks(slot)]
    assert [(a, b) for a, b in combinations(every, 2) if a.overlaps(b)] == []


def test_nodes_lie_in_their_networks_and_pods_in_disjoint_ranges() -> None:
    one = spec(nodes=MAX_NODES)
    assert all(IPv4Address(node.address) in IPv4Network(one.node_cidr) for node in one.nodes)
    ranges = [IPv4Network(node.pod_cidr) for node in one.nodes] + [IPv4Network(one.kwok_cidr)]
    assert all(net.subnet_of(IPv4Network(one.pod_cidr)) for net in ranges)
    assert not any(a.overlaps(b) for a, b in combinations(ranges, 2))


def test_link_names_fit_the_kernel() -> None:
    assert max(len(node.link) for node in spec(nodes=MAX_NODES, slot=SLOTS - 1).nodes) <= 15


def test_a_slot_is_free_when_nobody_has_it_and_the_host_routes_none_of_its_networks() -> None:
    assert free_slot(taken=set(), routes=[]) == 0
    assert free_slot(taken={0, 1}, routes=[]) == 2
    assert free_slot(taken={0}, routes=[IPv4Network("10.215.7.0/24")]) == 2  # pods of slot 1
    assert free_slot(taken=set(), routes=[IPv4Network("10.0.0.0/8")]) is None


def test_the_api_server_listens_on_loopback_when_it_is_alone() -> None:
    assert spec(nodes=0).api_url == "https://127.0.0.1:6443"
    assert spec(nodes=1).api_url == "https://10.213.3.1:6443"


@pytest.mark.parametrize(
    ("has", "nodes", "kwok", "expected"),
    [
        (0, None, None, (2, 0)),  # new: two nodes
        (3, None, None, (3, 0)),  # as it is
        (0, 0, None, (0, 0)),
        (2, 4, None, (4, 0)),
        (2, None, 5, (2, 5)),
    ],
)
def test_resize(has: int, *, nodes: int | None, kwok: int | None, expected: tuple[int, int]) -> None:
    wanted = own.resize(spec(nodes=has), nodes=nodes, kwok_nodes=kwok)
    assert (wanted.node_count, wanted.kwok_nodes) == expected


@pytest.mark.parametrize(
    ("has", "nodes", "kwok", "message"),
    [
        (2, 1, None, "cannot shrink to 1: `python -m testbed down --name here` first"),
        (0, 33, None, "use 0 to 32"),
        (0, -1, None, "use 0 to 32"),
        (0, 0, 5, "made-up nodes need a scheduler"),
    ],
)
def test_resize_refuses_with_a_sentence(has: int, *, nodes: int, kwok: int | None, message: str) -> None:
    with pytest.raises(BedError, match=message):
        own.resize(spec(nodes=has), nodes=nodes, kwok_nodes=kwok)
