"""From the record of the rollout to the course of this pass: what groups are to be, and what may be taken for it.

A record that was changed in this pass is not acted upon before it is written: the pass keeps to the old one and takes
nothing. Without a wanted target (its weights are not ready, or were refused) groups stay as they are, and lost ones
are made again from the last good wish.
"""

from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.steps import UpdatePolicy
from llama_operator.plan.plan import Persisted
from llama_operator.plan.rollout.state_machine import Templates, changing


def update_policy(memory: Persisted, aims: Templates, scene: PlanState) -> UpdatePolicy | None:
    """None where there is nothing that groups could be made from."""
    wanted, good, record = aims.wanted, aims.good, memory.rollout
    every = frozenset(scene.wanted)
    rollout = scene.spec.rollout
    if memory.stable is None:
        return UpdatePolicy(wanted, wanted, every, unavailable=max(rollout.max_unavailable, 1)) if wanted else None
    surge = rollout.max_surge if record and record.preview.strategy == "surge" else 0
    if record and record.phase in ("RollingBack", "Held") and (wanted is None or record.key == wanted.key):
        back = record.phase == "RollingBack"
        if good is None:
            return None
        return UpdatePolicy(good, good, every, backwards=back, surge=surge, unavailable=rollout.max_unavailable)
    if wanted and wanted.key == memory.stable.key and (record is None or record.key != wanted.key):
        return UpdatePolicy(wanted, wanted, every, unavailable=rollout.max_unavailable)
    if wanted is None or record is None or record.key != wanted.key or not record.preview.strategy:
        return UpdatePolicy(good, good, unavailable=rollout.max_unavailable) if good else None
    if record.phase == "Done":
        return UpdatePolicy(wanted, wanted, every, unavailable=rollout.max_unavailable)
    now = frozenset(changing(record, scene))
    return UpdatePolicy(
        wanted,
        good or wanted,
        now,
        later=frozenset(ordinal for ordinal in scene.wanted if ordinal >= rollout.partition) - now,
        take=not rollout.paused,
        surge=surge,
        unavailable=rollout.max_unavailable,
    )


def decided_anew(before: Persisted, after: Persisted) -> bool:
    """The record says something else than before about what is to be done."""
    return _essence(before) != _essence(after)


def _essence(memory: Persisted) -> tuple[str, ...]:
    record = memory.rollout
    if record is None:
        return ()
    return record.key, record.phase, record.verification_hash, record.preview.strategy, record.canary
