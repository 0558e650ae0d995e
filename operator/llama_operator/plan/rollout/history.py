"""The rollouts that have ended, the last one first."""

from dataclasses import replace
from datetime import datetime

from llama_operator.api.v1alpha1.status import PastRollout, RolloutStatus
from llama_operator.plan.persisted import Persisted

KEPT = 10  # past rollouts


def with_history(persisted: Persisted, rollout: RolloutStatus, outcome: str, *, why: str, now: datetime) -> Persisted:
    """Add a rollout that ends now."""
    past = PastRollout.model_validate(
        {
            "from": rollout.before,
            "to": rollout.to,
            "outcome": outcome,
            "reason": rollout.reason if outcome == "rolledBack" else "",
            "message": why,
            "seconds": max(int((now - rollout.started).total_seconds()), 0),
            "started": rollout.started,
        }
    )
    return replace(persisted, history=(past, *persisted.history)[:KEPT])
