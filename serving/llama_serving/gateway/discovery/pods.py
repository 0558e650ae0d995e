"""Parses a leader pod into an endpoint.

A group is routable when its leader is Ready (which includes the operator's readiness gate), has an address and is not
being deleted. Streams move away from a leader that the operator has annotated so.
"""

from typing import Any

from llama_serving.config import names
from llama_serving.gateway.discovery.adapter_note import parse_adapters
from llama_serving.gateway.routing.endpoint import Endpoint

Pod = dict[str, Any]


def leader_selector(deployment: str) -> str:
    """Return the label selector of a deployment's leaders."""
    labels = {
        names.LABEL_DEPLOYMENT: deployment,
        names.LABEL_COMPONENT: names.COMPONENT_STAGE,
        names.LABEL_STAGE: "0",
    }
    return ",".join(f"{key}={value}" for key, value in labels.items())


def parse_endpoint(pod: Pod) -> Endpoint | None:
    """Return the endpoint of a leader pod; None if its label does not name its group."""
    metadata = pod["metadata"]
    ordinal = (metadata.get("labels") or {}).get(names.LABEL_GROUP, "")
    if not (ordinal.isascii() and ordinal.isdigit()):
        return None
    annotations = metadata.get("annotations") or {}
    address = (pod.get("status") or {}).get("podIP") or ""
    return Endpoint(
        key=metadata["uid"],
        name=metadata["name"],
        ordinal=int(ordinal),
        weights=_header_text(annotations.get(names.ANNOTATION_WEIGHTS, "")),
        host=address,
        port=names.PORT_ENGINE,
        ready=bool(address) and "deletionTimestamp" not in metadata and _is_ready(pod),
        moving=annotations.get(names.ANNOTATION_MOVE_STREAMS) == "true",
        adapters=parse_adapters(annotations.get(names.ANNOTATION_ADAPTERS, ""))[0],
    )


def adapters_fault(pod: Pod) -> str:
    """Return why a leader's annotation of its adapters is of no use; empty where it is, or there is none."""
    annotations = pod["metadata"].get("annotations") or {}
    return parse_adapters(annotations.get(names.ANNOTATION_ADAPTERS, ""))[1]


def _is_ready(pod: Pod) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _header_text(value: str) -> str:
    # It becomes a header; an annotation may contain line ends.
    return "".join(c for c in value if " " <= c <= "~")
