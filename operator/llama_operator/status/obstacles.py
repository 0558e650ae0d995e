"""The status of an object that no pass can reach: what the operator lacks, beside what earlier passes have found."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from llama_operator.api import KIND, LlamaDeploymentStatus
from llama_operator.observe.weights import resolved_kind
from llama_operator.status.conditions import LONGEST, Stamp, condition
from llama_serving.config.reasons import Reason


def status_with_obstacle(body: Mapping[str, Any], text: str, now: datetime) -> dict[str, Any] | None:
    """Return the status with the obstacle as its reason; None where it says so already, or cannot be read."""
    deployment = body["kind"] == KIND
    kind, name = (LlamaDeploymentStatus, "Degraded") if deployment else (resolved_kind(body), "Ready")
    try:
        before = kind.model_validate(body.get("status") or {})
    except ValidationError:
        return None
    stamp = Stamp(before.conditions, body["metadata"].get("generation", 0), now)
    said = condition(name, deployment, (Reason.API_REJECTED, text), stamp=stamp)
    others = tuple(one for one in before.conditions if one.type != name)
    news = {"reason": str(Reason.API_REJECTED), "message": text[:LONGEST], "conditions": (*others, said)}
    after = before.model_copy(update=news)
    return None if after.reason == before.reason and after.message == before.message else after.to_api()
