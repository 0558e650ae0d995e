"""What the watches show is the capacity that a list of the same objects would give, whatever happened before."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llama_operator.adapters.cluster_view import View
from llama_operator.adapters.node_capacity import capacity_of
from llama_operator.ports import Capacity, Manifest

NODES = ("node-0", "node-1")


def node(name: str, cpu: int) -> Manifest:
    status = {"allocatable": {"cpu": str(cpu)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name}, "status": status}


def pod(number: int, where: str, cpu: int) -> Manifest:
    spec: dict[str, Any] = {"containers": [{"resources": {"requests": {"cpu": str(cpu)}}}]}
    meta = {"name": f"p-{number}", "namespace": "team", "uid": f"uid-{number}"}
    return {"metadata": meta, "spec": spec | ({"nodeName": where} if where else {})}


def sorted_(capacity: Capacity) -> tuple[Any, ...]:
    nodes = sorted(capacity.nodes, key=lambda one: one.name)
    return (
        [(one.name, one.allocatable, one.requested, sorted(pod.uid for pod in one.pods)) for one in nodes],
        sorted(one.uid for one in capacity.waiting),
    )


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.sampled_from(NODES), st.integers(1, 4), st.booleans()),
        st.tuples(st.just("pod"), st.integers(0, 4), st.sampled_from(("", *NODES, "gone")), st.integers(0, 2)),
        st.tuples(st.just("end"), st.integers(0, 4), st.just(""), st.just(0)),
        st.tuples(st.just("list"), st.just(0), st.just(""), st.just(0)),
    ),
    max_size=30,
)


@given(CHANGES)
def test_the_view_is_what_a_list_would_be(changes: list[tuple[Any, ...]]) -> None:
    view, nodes, pods = View(), dict[str, Manifest](), dict[str, Manifest]()
    for what, first, second, third in changes:
        if what == "node" and third:
            nodes.pop(first, None)
            view.see_node({"metadata": {"name": first}}, gone=True)
        elif what == "node":
            nodes[first] = node(first, second)
            view.see_node(nodes[first])
        elif what == "pod":
            body = pod(first, second, third)
            pods[body["metadata"]["uid"]] = body
            view.see_pod(body)
        elif what == "end":
            body = pod(first, "", 0)
            pods.pop(body["metadata"]["uid"], None)
            view.see_pod(body, gone=True)
        else:  # a new list after a gap, in which one pod and one node went unseen
            pods = dict(list(pods.items())[1:])
            nodes = dict(list(nodes.items())[1:])
            view.only_pods(set(pods))
            view.only_nodes(set(nodes))
        assert sorted_(view.capacity()) == sorted_(capacity_of(nodes.values(), pods.values()))
        assert view.capacity() is view.capacity(), "nothing is computed anew without a change"
