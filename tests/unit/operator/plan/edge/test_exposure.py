"""Routes, Ingresses and certificates: what is made when, and the sentence for what is not."""

from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.exposure import HTTP_ROUTE, INGRESS, ExposureView
from llama_operator.plan.edge.exposure import exposed_kinds, writable_kinds
from llama_operator.plan.planner import plan
from llama_operator.plan.reasons import Explanation
from llama_serving.config.gateway import CertificateState, GatewayLoad
from llama_serving.config.reasons import Reason
from tests.unit.operator.worlds import gateway_deployment, group, heard, state_of, world

NOTHING = ExposureView()
PODS = (*group(0), *group(1))
ROUTE = {"gateway": {"route": {"parents": [{"name": "front"}]}}}
WAY_IN = {"gateway": {"ingress": {"host": "chat.example.com"}}}
TLS = {"gateway": {"tls": {"secretName": "chat-tls"}}}


def seen_with(spec: dict[str, Any], view: ExposureView = NOTHING, **fields: Any) -> Snapshot:
    return world(*PODS, cells=heard(*PODS), spec=spec, exposure=view, **fields)


def said(seen: Snapshot) -> list[Explanation]:
    wanted = (Reason.ROUTE_UNAVAILABLE, Reason.CERTIFICATE_REFUSED)
    return [one for one in plan(state_of(seen)).explanations if one.reason in wanted]


@pytest.mark.parametrize(("spec", "kind"), [(ROUTE, HTTP_ROUTE), (WAY_IN, INGRESS)])
def test_the_status_names_a_kind_before_its_object_is_made(spec: dict[str, Any], kind: str) -> None:
    first = state_of(seen_with(spec))
    assert first.snapshot.spec is not None
    assert exposed_kinds(first.snapshot.spec, first) == (kind,)
    assert writable_kinds(first.snapshot.spec, first) == frozenset()
    then = state_of(seen_with(spec, status=LlamaDeploymentStatus(exposed=(kind,))))
    assert then.snapshot.spec is not None
    assert writable_kinds(then.snapshot.spec, then) == {kind}


def test_a_kind_stays_in_the_status_until_its_object_is_gone() -> None:
    state = state_of(seen_with({}, ExposureView(there=frozenset({INGRESS}))))
    assert state.snapshot.spec is not None
    assert exposed_kinds(state.snapshot.spec, state) == (INGRESS,)
    assert writable_kinds(state.snapshot.spec, state) == frozenset()
    gone = state_of(seen_with({}, status=LlamaDeploymentStatus(exposed=(INGRESS,))))
    assert gone.snapshot.spec is not None
    assert exposed_kinds(gone.snapshot.spec, gone) == ()


def test_without_the_crd_nothing_is_made_and_one_sentence_says_why() -> None:
    named = LlamaDeploymentStatus(exposed=(HTTP_ROUTE,))
    seen = seen_with(ROUTE, ExposureView(missing=frozenset({HTTP_ROUTE})), status=named)
    state = state_of(seen)
    assert seen.spec is not None
    assert writable_kinds(seen.spec, state) == frozenset()
    (one,) = said(seen)
    assert one.detail == (
        "spec.gateway.route asks for an HTTPRoute, and this cluster has no gateway.networking.k8s.io/v1: install the "
        "CRDs of the Gateway API, or use spec.gateway.ingress"
    )


def test_a_missing_right_names_the_value_of_the_chart() -> None:
    (one,) = said(seen_with(WAY_IN, ExposureView(denied={INGRESS: "ingresses is forbidden"})))
    assert "rbac.routes=true: ingresses is forbidden" in one.detail


def route_body(status: str, observed: int) -> dict[str, Any]:
    refused = {"type": "Accepted", "status": status, "reason": "NoMatchingParent", "message": "no such listener.",
               "observedGeneration": observed}  # fmt: skip
    parents = [{"parentRef": {"name": "front"}, "conditions": [refused]}]
    meta = {"name": "chat-gateway", "uid": "r", "generation": 2}
    return {"apiVersion": "v1", "kind": HTTP_ROUTE, "metadata": meta, "status": {"parents": parents}}


@pytest.mark.parametrize(("status", "observed", "expect"), [("False", 2, 1), ("True", 2, 0), ("False", 1, 0)])
def test_a_route_that_a_gateway_refuses_is_said_in_its_words(status: str, observed: int, expect: int) -> None:
    children = (gateway_deployment(), route_body(status, observed))
    found = said(seen_with(ROUTE, ExposureView(there=frozenset({HTTP_ROUTE})), children=children))
    assert len(found) == expect
    for one in found:
        assert one.detail == (
            "HTTPRoute chat-gateway is not accepted by Gateway front: NoMatchingParent: no such listener"
        )


def load(certificate: CertificateState | None) -> GatewayLoad:
    return GatewayLoad(
        waiting=0, oldest_wait=0, in_flight=0, draining=False, groups=(), totals={}, certificate=certificate
    )


def test_a_broken_certificate_is_said_once_with_its_secret_and_what_clients_meet() -> None:
    bad = CertificateState(expires=2e9, fault="its tls.key does not belong to its tls.crt")
    loads = {"chat-gateway-b": load(bad), "chat-gateway-a": load(bad), "chat-gateway-c": None}
    (one,) = said(seen_with(TLS, loads=loads))
    assert one.detail == (
        "gateway chat-gateway-a cannot use Secret chat-tls (spec.gateway.tls.secretName): its tls.key does not belong "
        "to its tls.crt; the one before it is shown on"
    )
    none_yet = CertificateState(fault="it has no tls.crt")
    (other,) = said(seen_with(TLS, loads={"chat-gateway-a": load(none_yet)}))
    assert other.detail.endswith("without one this gateway takes no connection")
    assert said(seen_with(TLS, loads={"chat-gateway-a": load(CertificateState(expires=2e9))})) == []
