"""ResourceQuotas as the API server shows them."""

from collections.abc import Iterable, Mapping
from typing import Any

from llama_operator.api.crdgen.quantity import parse
from llama_operator.ports import Quota, QuotaScope


def quota_views(bodies: Iterable[Mapping[str, Any]]) -> tuple[Quota, ...]:
    """Return the views of many ResourceQuotas, in the order of their names."""
    return tuple(sorted((_view(body) for body in bodies), key=lambda quota: quota.name))


def _view(body: Mapping[str, Any]) -> Quota:
    """Return the view of one. What its controller has not counted yet limits nothing."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return Quota(
        name=body["metadata"]["name"],
        hard=_amounts(status.get("hard")),
        used=_amounts(status.get("used")),
        scopes=(
            *(QuotaScope(name) for name in spec.get("scopes") or ()),
            *(QuotaScope(one["scopeName"], one["operator"], tuple(one.get("values") or ())) for one in selected),
        ),
    )


def _amounts(amounts: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(parse(str(amount))) for name, amount in (amounts or {}).items()}
