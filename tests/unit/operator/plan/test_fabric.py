"""Groups whose pods have devices of a fast network, and what is said of those that do not use it."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.observe.pods import PodView
from llama_operator.plan.fabric import explain_fabrics
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.status.deployment import deployment_status
from llama_serving.config.reasons import Reason
from tests.unit.operator.worlds import group, heard, leader, state_of, worker, world

RDMA = ("rdma/hca",)
SOCKET, INFINIBAND = ("NET/Socket", "P2P/CUMEM"), ("NET/IB/GDRDMA", "P2P/CUMEM")
SAID = "group 0 sends between its 2 nodes by TCP (NCCL took NET/Socket on stages 0, 1), although its pods have rdma/hca"


def said(*pods: PodView, **cell: Any) -> list[str]:
    """What is said of these pods, whose supervisors all say the same."""
    return [one.detail for one in explain_fabrics(state_of(world(*pods, replicas=1, cells=heard(*pods, **cell))))]


@pytest.mark.parametrize(
    ("transports", "fabric", "sentences"),
    [
        (SOCKET, RDMA, [SAID]),
        (SOCKET, (), []),  # it asked for none
        (INFINIBAND, RDMA, []),
        (("NET/AWS Libfabric/GDRDMA",), ("vpc.amazonaws.com/efa",), []),
        ((), RDMA, []),  # nothing has been sent yet, or an older image says nothing
    ],
)
def test_a_group_over_two_nodes(transports: tuple[str, ...], fabric: tuple[str, ...], sentences: list[str]) -> None:
    assert said(*group(0), transports=transports, fabric=fabric) == sentences


def test_on_one_node_a_fabric_serves_nothing() -> None:
    pods = tuple(replace(pod, node="node-0") for pod in group(0))
    assert said(*pods, transports=SOCKET, fabric=RDMA) == []


def test_a_group_that_does_not_serve_yet_has_other_sentences() -> None:
    pods = leader(0, ready=False, in_rotation=None), worker(0)
    assert said(*pods, transports=SOCKET, fabric=RDMA) == []


def test_only_the_stages_that_use_tcp_are_named() -> None:
    first, second = group(0)
    cells = heard(first, transports=INFINIBAND, fabric=RDMA) | heard(second, transports=SOCKET, fabric=RDMA)
    [found] = explain_fabrics(state_of(world(first, second, replicas=1, cells=cells)))
    assert found.detail == SAID.replace("stages 0, 1", "stage 1")


def seen(**cell: Any) -> tuple[Plan, dict[str, Any]]:
    """What a pass decides and reports of one group."""
    pods = group(0)
    state = state_of(world(*pods, replicas=1, cells=heard(*pods, **cell)))
    decided = plan(state)
    return decided, deployment_status(state, decided, ()).to_api()


def test_it_is_degraded_and_serves_and_is_looked_at_no_more_often() -> None:
    decided, status = seen(transports=SOCKET, fabric=RDMA)
    conditions = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
    assert (conditions["Available"][0], conditions["Degraded"]) == ("True", ("True", Reason.FABRIC_UNUSED))
    assert (status["reason"], status["message"]) == (Reason.FABRIC_UNUSED, SAID)
    [found] = status["groups"]
    assert (found["state"], found["reason"], found["transports"]) == ("Serving", Reason.FABRIC_UNUSED, list(SOCKET))
    assert decided.recheck == seen()[0].recheck


def test_what_nccl_took_is_in_the_status_and_nothing_is_where_there_is_none() -> None:
    assert seen(transports=INFINIBAND, fabric=RDMA)[1]["groups"][0]["transports"] == list(INFINIBAND)
    [found] = seen()[1]["groups"]
    assert (found["reason"], found.get("transports", [])) == (Reason.SERVING, [])
