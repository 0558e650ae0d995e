"""Sentences about nodes whose devices fail: strikes, groups that leave a node, and groups that stay."""

from collections.abc import Sequence
from datetime import datetime

from llama_operator.api.v1alpha1.status import NodeStrikes
from llama_serving.config.wording import rough_seconds


def avoided_for_strikes() -> str:
    return "avoided for their strikes"


def with_gpu_fault(what: str) -> str:
    return f"with {what}"


def strikes_so_far(*, strikes: int, needed: int) -> str:
    return f"; {strikes} of the {needed} strikes with which the group leaves the node"


def stays_on_node() -> str:
    return "; the group stays there and is tried again: no node with fewer strikes is known to have room for it"


def group_leaves(group: int, *, nodes: Sequence[str], record: NodeStrikes, now: datetime) -> str:
    names = ", ".join(nodes)
    ago = rough_seconds((now - record.at).total_seconds())
    which = f"node {names}" if len(nodes) == 1 else f"nodes {names}"
    return (
        f"group {group} leaves {which} and is placed on others: {record.strikes:g} strikes of its devices there, the"
        f" last {ago} ago: {record.message}"
    )


def kept_from_others(*, before: Sequence[str], now: Sequence[str]) -> str:
    return f"its pods are made again, kept from {_nodes(now)} in place of {_nodes(before)}"


def group_made_again(group: int, *, why: str) -> str:
    return f"group {group}: {why}"


def node_avoided(record: NodeStrikes) -> str:
    return f"node {record.node} has {record.strikes:g} strikes and is avoided for a time: {record.message}"


def node_used_again(group: int, *, nodes: Sequence[str]) -> str:
    return (
        f"group {group} may be placed on {_nodes(nodes)} although struck: without {'it' if len(nodes) == 1 else 'them'}"
        " it would not fit"
    )


def devices_failed(group: int, *, node: str, strikes: float, said: str) -> str:
    return (
        f"group {group} does not start: the devices of node {node} have {strikes:g} strikes, and no node with fewer is"
        f" known to have room: {said}"
    )


def _nodes(names: Sequence[str]) -> str:
    return ", ".join(names) or "no node"
