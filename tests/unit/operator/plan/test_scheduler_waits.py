"""Pods that another scheduler does not look at, and pods whose devices are to come from a claim."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.inquiry.pod_inquiry import pod_question
from llama_operator.observe.findings import CLAIM_TEMPLATE, Findings, Reference
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.causes import field_of, references_of_users
from llama_operator.plan.explain import OVERLOOKED, explain_start
from llama_operator.plan.reasons import Explanation
from tests.unit.operator.waiting_pods import NAME, body
from tests.unit.operator.worlds import NOW

TEMPLATE = Reference(CLAIM_TEMPLATE, "eight-gpus", "devices")
CLAIMED: dict[str, Any] = {"resourceClaims": [{"name": "devices", "resourceClaimTemplateName": "eight-gpus"}]}


def pending(message: str = "", /, **spec: Any) -> PodView:
    """A pod that was made 40 s ago and has no node."""
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    found = body(node="", **({"conditions": [said]} if message else {}))
    found["spec"] |= spec
    return pod_view(found)


def said(pod: PodView, after: timedelta = timedelta()) -> Explanation:
    found = explain_start(pod, None, NOW + after)
    assert found is not None
    return found


@pytest.mark.parametrize("scheduler", ["", "default-scheduler"])
def test_the_clusters_own_scheduler_is_trusted_to_speak(scheduler: str) -> None:
    found = said(pending(schedulerName=scheduler), timedelta(hours=1))
    assert (found.reason, found.detail.startswith(f"pod {NAME} has no node yet")) == ("PodStarting", True)


def test_another_scheduler_that_says_nothing_is_named() -> None:
    pod = pending(schedulerName="volcano")
    early = said(replace(pod, created=NOW), OVERLOOKED - timedelta(seconds=1))
    assert early.reason == "PodStarting"
    found = said(pod)
    assert found.reason == "Unschedulable"
    assert found.detail == (
        f"pod {NAME} waits for scheduler volcano (placement.schedulerName), which has said nothing of it, 40 s so far;"
        " see that it runs, or correct the field"
    )


def test_the_time_behind_a_gate_is_not_the_schedulers() -> None:
    pod = pending(schedulerName="volcano")
    assert said(replace(pod, gated=True)).reason == "PodStarting"
    assert said(replace(pod, admitted=NOW - timedelta(seconds=5))).reason == "PodStarting"
    assert said(replace(pod, admitted=NOW - OVERLOOKED)).reason == "Unschedulable"


def test_a_scheduler_that_refuses_is_quoted() -> None:
    found = said(pending("0/2 nodes are available: 2 cannot allocate all claims.", schedulerName="volcano"))
    assert "of 2 nodes 2 without the devices that its ResourceClaim asks for" in found.detail


def test_a_template_is_a_reference_of_the_user() -> None:
    pod = pending(**CLAIMED)
    assert TEMPLATE in pod.references
    assert field_of(TEMPLATE, pod) == "device.claimTemplate"
    assert TEMPLATE in references_of_users(pod)
    assert TEMPLATE.api_version == "resource.k8s.io/v1"


@pytest.mark.parametrize("message", ["", "0/2 nodes are available: waiting for its claims"])
def test_of_a_pod_that_waits_for_its_claim_the_template_is_asked(message: str) -> None:
    question = pod_question(pending(message, **CLAIMED), NOW)
    assert question is not None
    assert question.references == (TEMPLATE,)


@pytest.mark.parametrize("message", ["", "0/2 nodes are available: waiting for its claims"])
def test_a_template_that_is_missing_is_said(message: str) -> None:
    found = said(replace(pending(message, **CLAIMED), findings=Findings(absent=frozenset({TEMPLATE}))))
    assert (found.reason, found.detail) == (
        "ReferenceMissing",
        "the ResourceClaimTemplate eight-gpus does not exist in namespace team (device.claimTemplate); create it, or"
        " correct the field",
    )
