"""What leads to the gateways from outside, HTTPRoute or Ingress, and what is wrong with it or with the certificate.

A kind stands in ``status.exposed`` before an object of it is made, so that it is removed after any crash.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.exposure import HTTP_ROUTE, INGRESS, KINDS
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import edge as sentences
from llama_serving.config.reasons import Reason
from llama_serving.config.wording import clause

_FIELDS: Final[Mapping[str, str]] = {HTTP_ROUTE: "spec.gateway.route", INGRESS: "spec.gateway.ingress"}
_LONGEST: Final = 300  # characters of what others say
_PARENTS: Final = 16


def wanted_kinds(spec: LlamaDeploymentSpec) -> frozenset[str]:
    """Return the kinds that the spec asks for."""
    asked = {HTTP_ROUTE: spec.gateway.route, INGRESS: spec.gateway.ingress}
    return frozenset(kind for kind, field in asked.items() if field is not None)


def exposed_kinds(spec: LlamaDeploymentSpec, state: PlanState) -> tuple[str, ...]:
    """Return the kinds that are asked for or still there: what the status names from this pass on."""
    return tuple(kind for kind in KINDS if kind in wanted_kinds(spec) | state.snapshot.exposure.there)


def writable_kinds(spec: LlamaDeploymentSpec, state: PlanState) -> frozenset[str]:
    """Return the kinds whose object may be made now: the status names them, and the cluster takes them."""
    seen = state.snapshot.exposure
    known = frozenset(state.snapshot.status.exposed) | seen.there
    return wanted_kinds(spec) & known - seen.missing - seen.denied.keys()


def explain_exposure(spec: LlamaDeploymentSpec, state: PlanState) -> tuple[Explanation, ...]:
    """Say why a route or an Ingress is not there or not accepted, and what is wrong with the certificate."""
    return (*_kinds(spec, state), *_parents(state), *_certificates(spec, state))


def _kinds(spec: LlamaDeploymentSpec, state: PlanState) -> Iterator[Explanation]:
    seen = state.snapshot.exposure
    for kind in sorted(wanted_kinds(spec)):
        if kind in seen.denied:
            text = sentences.kind_denied(kind, field=_FIELDS[kind], said=clause(seen.denied[kind], _LONGEST))
            yield Explanation(Reason.ROUTE_UNAVAILABLE, text)
        elif kind in seen.missing:
            text = sentences.kind_missing(kind, field=_FIELDS[kind], group=KINDS[kind])
            yield Explanation(Reason.ROUTE_UNAVAILABLE, text)


def _parents(state: PlanState) -> Iterator[Explanation]:
    """Say what Gateways have against the route, where they have looked at it as it is."""
    for child in state.snapshot.children:
        if child["kind"] != HTTP_ROUTE:
            continue
        parents = ((child.get("status") or {}).get("parents") or ())[:_PARENTS]
        for parent in parents:
            if said := _against(parent, child["metadata"].get("generation", 0)):
                name = str((parent.get("parentRef") or {}).get("name", ""))
                text = sentences.route_not_accepted(child["metadata"]["name"], parent=name, said=said)
                yield Explanation(Reason.ROUTE_UNAVAILABLE, text)


def _against(parent: Mapping[str, Any], generation: int) -> str:
    for one in parent.get("conditions") or ():
        looked_at = one.get("observedGeneration", generation) >= generation
        if one.get("type") in ("Accepted", "ResolvedRefs") and one.get("status") == "False" and looked_at:
            return clause(f"{one.get('reason', '')}: {one.get('message', '')}", _LONGEST)
    return ""


def _certificates(spec: LlamaDeploymentSpec, state: PlanState) -> Iterator[Explanation]:
    """Speak of the first gateway whose certificate cannot be used: all mount the same Secret."""
    if spec.gateway.tls is None:
        return
    for pod, load in sorted(state.snapshot.loads.items()):
        found = load.certificate if load else None
        if found and found.fault:
            text = sentences.certificate_refused(
                pod,
                fault=clause(found.fault, _LONGEST),
                secret=spec.gateway.tls.secret_name,
                kept=found.expires is not None,
            )
            yield Explanation(Reason.CERTIFICATE_REFUSED, text)
            return
