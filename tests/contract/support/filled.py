"""An object with every list and map of its kind's schema filled, so that it stays complete when a field is added.

An item has only the fields that it must have: what the API server adds to it, a second ``kubectl apply`` would show.
"""

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

#: What an item is where its schema does not say it: by the path of its list or map.
ITEMS: Final[dict[str, Any]] = {
    "spec.placement.tolerations": {"key": "nvidia.com/gpu", "value": "present"},
    "spec.verify.goldenPrompts": {"prompt": "What is the capital of France?", "expect": "Paris"},
    "spec.autoscaling.schedules": {"name": "office", "from": "08:00", "to": "18:00", "minReplicas": 1},
    "spec.gateway.cors.origins": "https://chat.example.com",
    "spec.placement.nodeAffinity.required": {"matchExpressions": [{"key": "pool", "operator": "Exists"}]},
    "spec.placement.nodeAffinity.preferred": {
        "weight": 1,
        "matchExpressions": [{"key": "pool", "operator": "Exists"}],
    },
    "spec.device.extra": {"rdma/hca": 1},
    "spec.adapters": {"name": "support-sql", "adapter": "support-sql-v1"},
    "spec.verify.namedQualityTexts": {"name": "contracts", "text": "The parties agree as follows."},
    "spec.goldenPrompts": {"prompt": "Which table holds the orders?", "expect": "orders"},
    "spec.engine.nccl": {"NCCL_DEBUG": "INFO"},
    "spec.gateway.route.parents": {"name": "public"},
    "spec.network.annotations": {"k8s.v1.cni.cncf.io/networks": "rail0"},
}
#: Where another value goes with the lists than the first that is allowed.
VALUES: Final[dict[str, Any]] = {"spec.access.mode": "keys"}
#: The other of two sections that go together in no object.
LEFT_OUT: Final = frozenset({"spec.gateway.ingress"})
_TEXT: Final = "a-name"


def with_all_lists(base: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """``base`` with an item in every list and map below its spec that it leaves out."""
    return {**base, "spec": _filled(base["spec"], schema["properties"]["spec"], "spec")}


def lists_of(schema: Schema, path: str = "spec") -> Iterator[str]:
    """The paths of all lists and maps that are not below another one."""
    for name, child in schema.get("properties", {}).items():
        if f"{path}.{name}" in LEFT_OUT:
            continue
        if "items" in child or "additionalProperties" in child:
            yield f"{path}.{name}"
        else:
            yield from lists_of(child, f"{path}.{name}")


def at(body: dict[str, Any], path: str) -> Any:
    """What is at a path; None where nothing is."""
    found: Any = body
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _filled(value: dict[str, Any], schema: Schema, path: str) -> dict[str, Any]:
    filled = dict(value)
    for name, child in schema.get("properties", {}).items():
        below = f"{path}.{name}"
        if "items" in child and name not in filled:
            filled[name] = [ITEMS.get(below, _TEXT)]
        elif "additionalProperties" in child and name not in filled:
            filled[name] = ITEMS.get(below, {"example.com/a": _TEXT})
        elif any(True for _ in lists_of(child, below)) and below not in LEFT_OUT:
            found = _filled(filled.get(name, {}), child, below)
            missing = [key for key in child.get("required", ()) if key not in found]
            needed = {key: VALUES.get(f"{below}.{key}", _some(child["properties"][key])) for key in missing}
            filled[name] = found | needed
    return filled


def _some(schema: Schema) -> Any:
    """A value of the type, or the first that is allowed."""
    if "enum" in schema:
        return schema["enum"][0]
    return _TEXT if schema.get("type") == "string" else 1
