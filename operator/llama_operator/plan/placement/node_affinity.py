"""Whether a node meets the required node affinity of a pod.

A pod may run where one of its terms holds; a term holds where all its conditions do; one without conditions never.
Source: Kubernetes' ``component-helpers/scheduling/corev1/nodeaffinity``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llama_operator.api.v1alpha1.placement import PlacementSpec
from llama_operator.ports import NodeCapacity

Term = Mapping[str, Any]
"""A term of a pod's ``nodeSelectorTerms``."""


def required_terms(placement: PlacementSpec) -> list[dict[str, Any]]:
    """List the terms of which a node must meet one, as in a pod's spec."""
    return [
        {"matchExpressions": [one.to_api() for one in term.match_expressions]}
        for term in placement.node_affinity.required
    ]


def meets(node: NodeCapacity, terms: Sequence[Term]) -> bool:
    """Tell whether the node meets one of the terms; every node does where there are none."""
    return not terms or any(_holds(term, node) for term in terms)


def show_terms(terms: Sequence[Term]) -> str:
    """Write terms for humans: ``zone In a,b and gpu Exists, or zone In c``."""
    return ", or ".join(" and ".join(_shown(one) for one in _conditions(term)) for term in terms)


def _conditions(term: Term) -> list[Mapping[str, Any]]:
    return [*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ())]


def _shown(condition: Mapping[str, Any]) -> str:
    values = ",".join(condition.get("values") or ())
    return f"{condition['key']} {condition['operator']}{values and f' {values}'}"


def _holds(term: Term, node: NodeCapacity) -> bool:
    fields = {"metadata.name": node.name}
    labels, of_node = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not labels and not of_node:
        return False
    return all(_is_true(one, node.labels) for one in labels) and all(_is_true(one, fields) for one in of_node)


def _is_true(condition: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(condition["key"]), tuple(condition.get("values") or ())
    check = _OPERATORS.get(condition["operator"])
    return check is not None and check(value, values)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _above(value: str | None, values: tuple[str, ...]) -> bool:
    mine, bound = _number(value), _number(values[0] if values else None)
    return mine is not None and bound is not None and mine > bound


def _below(value: str | None, values: tuple[str, ...]) -> bool:
    mine, bound = _number(value), _number(values[0] if values else None)
    return mine is not None and bound is not None and mine < bound


_OPERATORS: Final[Mapping[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": _above,
    "Lt": _below,
}
