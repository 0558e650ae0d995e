"""TLS of the gateways' port, and the HTTPRoute or Ingress that leads to their Service."""

from typing import Any

from llama_operator.api.v1alpha1.edge.exposure import ParentGateway
from llama_operator.manifests.common import Context, metadata
from llama_operator.observe.exposure import HTTP_ROUTE, INGRESS, KINDS
from llama_operator.plan.naming import gateway_name
from llama_operator.ports import Manifest
from llama_serving.config import names

SERVICE_PORT = 80


def exposure_objects(context: Context) -> list[Manifest]:
    """Return the objects of the kinds that may be written (``context.exposed``)."""
    made = {HTTP_ROUTE: _http_route, INGRESS: _ingress}
    return [make(context) for kind, make in made.items() if kind in context.exposed]


def tls_volumes(context: Context) -> list[dict[str, Any]]:
    """Return the volume with certificate and key, where the spec asks for TLS; nothing else of the Secret."""
    tls = context.spec.gateway.tls
    if tls is None:
        return []
    items = [{"key": key, "path": key} for key in (names.TLS_CERTIFICATE, names.TLS_KEY)]
    return [{"name": "tls", "secret": {"secretName": tls.secret_name, "defaultMode": 0o440, "items": items}}]


def tls_mounts(context: Context) -> list[dict[str, Any]]:
    """Return the mount of that volume."""
    if context.spec.gateway.tls is None:
        return []
    return [{"name": "tls", "mountPath": names.GATEWAY_TLS_MOUNT, "readOnly": True}]


def service_protocol(context: Context) -> dict[str, str]:
    """Return what the Service's port says of its protocol: proxies learn from it that it speaks TLS."""
    return {} if context.spec.gateway.tls is None else {"appProtocol": "https"}


def _http_route(context: Context) -> Manifest:
    route = context.spec.gateway.route
    if route is None:
        raise ValueError("the spec asks for no HTTPRoute")
    rule: dict[str, Any] = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": context.key.name, "port": SERVICE_PORT}],
    }
    if route.request_timeout_seconds is not None:
        rule["timeouts"] = {"request": f"{route.request_timeout_seconds}s"}
    spec: dict[str, Any] = {"parentRefs": [_parent(one) for one in route.parents], "rules": [rule]}
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return _object(context, HTTP_ROUTE, spec)


def _parent(parent: ParentGateway) -> dict[str, str]:
    found = {"name": parent.name, "namespace": parent.namespace, "sectionName": parent.section_name}
    return {key: value for key, value in found.items() if value}


def _ingress(context: Context) -> Manifest:
    ingress = context.spec.gateway.ingress
    if ingress is None:
        raise ValueError("the spec asks for no Ingress")
    service = {"name": context.key.name, "port": {"number": SERVICE_PORT}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    spec: dict[str, Any] = {"rules": [{"host": ingress.host, "http": {"paths": [path]}}]}
    if ingress.class_name:
        spec["ingressClassName"] = ingress.class_name
    if ingress.tls_secret_name:
        spec["tls"] = [{"hosts": [ingress.host], "secretName": ingress.tls_secret_name}]
    found = _object(context, INGRESS, spec)
    if ingress.annotations:
        found["metadata"]["annotations"] = dict(ingress.annotations)
    return found


def _object(context: Context, kind: str, spec: dict[str, Any]) -> Manifest:
    meta = metadata(context, gateway_name(context.key.name), names.COMPONENT_GATEWAY)
    return {"apiVersion": KINDS[kind], "kind": kind, "metadata": meta, "spec": spec}
