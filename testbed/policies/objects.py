"""What the translation reads of pods, namespaces and policies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Body = Mapping[str, Any]


@dataclass(frozen=True)
class PodView:
    """A pod with an address in the pods' network."""

    namespace: str
    name: str
    node: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by name and protocol


@dataclass(frozen=True)
class World:
    """A cluster at one moment."""

    pods: tuple[PodView, ...]
    namespaces: Mapping[str, Mapping[str, str]]  # labels by name
    policies: tuple[Body, ...]


def world(pods: Iterable[Body], namespaces: Iterable[Body], policies: Iterable[Body]) -> World:
    """Return what the API server's objects say, in an order of its own."""
    views = (view for body in pods if (view := pod_view(body)))
    return World(
        pods=tuple(sorted(views, key=lambda one: (one.namespace, one.name))),
        namespaces={one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in namespaces},
        policies=tuple(sorted(policies, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))),
    )


def pod_view(body: Body) -> PodView | None:
    """Return the view of a pod; None for one without an address of its own, or that has ended."""
    spec, status, meta = body.get("spec") or {}, body.get("status") or {}, body["metadata"]
    ended = status.get("phase") in ("Succeeded", "Failed")
    if not status.get("podIP") or spec.get("hostNetwork") or ended:
        return None
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    ports = (port for container in containers for port in container.get("ports") or () if port.get("name"))
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        node=spec.get("nodeName", ""),
        address=status["podIP"],
        labels=meta.get("labels") or {},
        ports={(port["name"], port.get("protocol", "TCP")): port["containerPort"] for port in ports},
    )


def selects(selector: Body, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector selects these labels; an empty one selects all.

    Raises:
        ValueError: it has an operator that no selector has.
    """
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions") or ())


def _holds(expression: Body, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise ValueError(f"a selector has the operator {other!r}")
