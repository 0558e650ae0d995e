"""Ready, Reconciling and Stalled: exactly one is True, and it is the one that the reason's severity asks for."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import LlamaDeploymentStatus, ResolvedStatus
from llama_operator.plan.explain import gateways_settled
from llama_operator.plan.reasons import Explanation
from llama_serving.config.reason_catalogue import CATALOGUE
from llama_serving.config.reasons import Reason
from tests.fakes.every_reason import SERVING, Case, cases, deployment_with, weights_with
from tests.unit.operator.worlds import gateway_deployment

WAITERS = ("Ready", "Reconciling", "Stalled")
TRUE = {"Current": "Ready", "InProgress": "Reconciling", "Failed": "Stalled"}


def true_ones(status: LlamaDeploymentStatus | ResolvedStatus) -> list[str]:
    return [one.type for one in status.conditions if one.type in WAITERS and one.status == "True"]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_one_condition_that_is_true_follows_the_severity(case: Case) -> None:
    found = {one["type"]: one for one in case.body["status"].get("conditions", ()) if one["type"] in WAITERS}
    if not found:
        assert case.body["status"] == {"observedGeneration": -1}
        return
    assert {one["observedGeneration"] for one in found.values()} == {1}
    if case.body["metadata"]["generation"] == 1 and case.expect != "Terminating":
        assert [kind for kind in WAITERS if found[kind]["status"] == "True"] == [TRUE[case.expect]]


@given(
    found=st.lists(st.builds(Explanation, st.sampled_from(list(Reason)), st.just("m"), st.none() | st.integers(0, 3))),
    phase=st.sampled_from(["", "RollingOut", "RollingBack", "Held", "Done"]),
    writes=st.integers(0, 3),
)
def test_exactly_one_is_true_whatever_is_explained(found: list[Explanation], phase: str, writes: int) -> None:
    status = deployment_with(*found, phase=phase, writes=writes)
    assert len(true_ones(status)) == 1
    assert (true_ones(status) == ["Ready"]) == (not found and not writes)


@given(word=st.sampled_from([*CATALOGUE, "AWordOfANewerResolver"]), settled=st.booleans())
def test_exactly_one_is_true_of_weights(word: str, settled: bool) -> None:
    status = weights_with(word, settled=settled)
    assert len(true_ones(status)) == 1
    assert (true_ones(status) == ["Ready"]) == settled


def test_a_refusal_by_an_unknown_word_needs_somebody() -> None:
    reason = "AWordOfANewerResolver"
    assert true_ones(weights_with(reason)) == ["Reconciling"]
    assert true_ones(weights_with(reason, refused=True)) == ["Stalled"]


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ({}, 0),
        ({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, 2),
        ({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, 1),
        ({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}, 0),
        ({"replicas": 3, "updatedReplicas": 1, "availableReplicas": 3}, 1),
        ({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 4}, 2),
        ({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 3}, 0),
    ],
    ids=str,
)
def test_gateways_count_when_they_are_new_and_answer(status: dict[str, Any], settled: int) -> None:
    deployment = gateway_deployment() | {"status": status}
    deployment["metadata"] = {**deployment["metadata"], "generation": 4}
    assert gateways_settled(replace(SERVING, children=(deployment,))) == settled
