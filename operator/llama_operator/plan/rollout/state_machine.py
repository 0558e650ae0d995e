"""The record of the rollout: where it stands, in the status, written before anything is done by it.

    (no record) -> RollingOut -> Done                    all groups reached the target, which becomes the good one
                   RollingOut -> RollingBack -> Held     a setback: back to the good one; held until the spec changes

A pass that changes the phase of the record takes no serving group: it only writes. The next pass acts on what it
reads, so an operator that is killed in between has decided nothing that nobody knows. Another wish of the spec begins
another record from what is there, whatever phase the present one is in.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from llama_operator.api.v1alpha1.status import PastRollout, RolloutStatus
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, keep
from llama_operator.plan.groups.template_hash import verification_hash
from llama_operator.plan.plan import Persisted
from llama_operator.plan.reasons import Explanation, Reason
from llama_operator.plan.rollout.canary import canary_fault, counted, counter_baselines
from llama_operator.plan.rollout.rollback import rollback_cause
from llama_operator.plan.rollout.strategy import Choice, choose, expectation, pod_hash_for

KEPT = 10  # past rollouts


@dataclass(frozen=True)
class Templates:
    """What the groups could be: what the spec asks for, if its weights are ready, and the last good one, if known."""

    wanted: GroupTemplate | None
    good: GroupTemplate | None


def settle(wanted: GroupTemplate | None, memory: Persisted) -> GroupTemplate | None:
    """Return the wanted template with the pod hash that was decided for it; plain until its rollout begins."""
    if wanted is None:
        return None
    for known in (memory.rollout, memory.stable):
        if known and known.key == wanted.key:
            return replace(wanted, pod_hash=known.pod_hash)
    if memory.stable and memory.stable.template_hash == wanted.template_hash:
        return replace(wanted, pod_hash=memory.stable.pod_hash)
    return wanted


def advance(memory: Persisted, aims: Templates, scene: PlanState) -> Persisted:
    """The record as it is to be after this pass."""
    if memory.stable is None:
        return _installed(memory, aims, scene)
    record = memory.rollout
    if record and record.phase == "RollingBack":
        memory = _rolling_back(memory, record, aims, scene)
        record = memory.rollout
    wanted = aims.wanted
    if wanted is None:
        return memory
    if record is None or not _goes_on(record, wanted, scene):
        return _begin(memory, wanted, scene)
    return _rolling_out(memory, record, aims, wanted, scene) if record.phase == "RollingOut" else memory


def reached(scene: PlanState, target: GroupTemplate, ordinals: tuple[int, ...]) -> tuple[int, ...]:
    """Ordinals that have come to the target and have nothing else left."""
    wait = scene.spec.rollout.min_ready_seconds
    found = []
    for ordinal in ordinals:
        units = scene.at(ordinal)
        if len(units) == 1 and units[0].group.pod_hash == target.pod_hash:
            unit = units[0]
            if unit.has(target.serve) and unit.available(scene.now, wait):
                found.append(ordinal)
    return tuple(found)


def changing(record: RolloutStatus, scene: PlanState) -> tuple[int, ...]:
    """Ordinals that may change now, in their order."""
    rollout = scene.spec.rollout
    may = tuple(ordinal for ordinal in scene.wanted if ordinal >= rollout.partition)
    if rollout.canary.groups and record.canary != "passed":
        return may[: rollout.canary.groups]
    return may


# -- the first target -------------------------------------------------------------------------------------------------


def _installed(memory: Persisted, aims: Templates, scene: PlanState) -> Persisted:
    """The first target that a group serves, verified, is the first good one."""
    wanted = aims.wanted
    if wanted is None:
        return memory
    units = (unit for unit in scene.units if unit.group.pod_hash == wanted.pod_hash)
    if any(unit.serving and unit.has(wanted.serve) for unit in units):
        return replace(memory, stable=keep(wanted))
    return memory


# -- begin and end ----------------------------------------------------------------------------------------------------


def _goes_on(record: RolloutStatus, wanted: GroupTemplate, scene: PlanState) -> bool:
    if record.key != wanted.key:
        return False
    return record.phase != "Held" or record.verification_hash == verification_hash(scene.spec, key=wanted.key)


def _begin(memory: Persisted, wanted: GroupTemplate, scene: PlanState) -> Persisted:
    record, good = memory.rollout, memory.stable
    assert good is not None  # asked by advance
    running = record is not None and record.phase in ("RollingOut", "RollingBack")
    if wanted.key == good.key and not running:
        held = record is not None and record.phase == "Held"
        return replace(memory, rollout=None) if held else memory
    before = record.to if running and record and record.phase == "RollingOut" else _label(good.id, good.pod_hash)
    choice = choose(scene, good.template_hash, wanted)
    settled = _decided(wanted, choice, memory)
    text = f"{settled.label} in place of {before}"
    fresh = RolloutStatus(
        key=settled.key,
        verification_hash=verification_hash(scene.spec, key=settled.key),
        phase="RollingOut",
        reason=Reason.ROLLING_OUT if choice.way else choice.reason,
        message=text if choice.way else choice.why,
        before=before,
        to=settled.label,
        template_hash=settled.template_hash,
        pod_hash=settled.pod_hash,
        weights=settled.weights,
        digest=settled.digest,
        preview=expectation(choice, scene, settled, before),
        step=f"0 of {scene.spec.replicas}",
        started=scene.now.replace(microsecond=0),
        counter_baselines=counter_baselines(scene.world, good.id, settled.serve.weights.id),
    )
    memory = replace(memory, rollout=fresh)
    if running and record:
        return _remembered(memory, record, "superseded", "the spec asks for something else", scene.now)
    return memory


def _decided(wanted: GroupTemplate, choice: Choice, memory: Persisted) -> GroupTemplate:
    good = memory.stable
    if good is None or wanted.key == good.key:
        return wanted
    return replace(wanted, pod_hash=pod_hash_for(choice, good.template_hash, good.pod_hash, wanted))


def _label(weights: str, pod_hash: str) -> str:
    return f"{weights} in pods {pod_hash}"


def _remembered(memory: Persisted, record: RolloutStatus, outcome: str, why: str, now: datetime) -> Persisted:
    past = PastRollout.model_validate(
        {
            "from": record.before,
            "to": record.to,
            "outcome": outcome,
            "reason": record.reason if outcome == "rolledBack" else "",
            "message": why,
            "seconds": max(int((now - record.started).total_seconds()), 0),
            "started": record.started,
        }
    )
    return replace(memory, history=(past, *memory.history)[:KEPT])


# -- forward ----------------------------------------------------------------------------------------------------------


def _rolling_out(
    memory: Persisted, record: RolloutStatus, aims: Templates, wanted: GroupTemplate, scene: PlanState
) -> Persisted:
    good = memory.stable
    assert good is not None  # asked by advance
    if wanted.key != good.key and aims.good is not None:
        trouble = rollback_cause(scene, wanted, record.started) or _canary_trouble(record, good.id, wanted, scene)
        if trouble:
            return replace(memory, rollout=_turned(record, trouble, wanted, scene))
    every = scene.wanted
    done = reached(scene, wanted, every)
    if not record.preview.strategy:
        return replace(memory, rollout=_undecided(record, wanted, memory, scene))
    record = _watched(record, good.id, wanted, scene)
    if every and len(done) == len(every) and (record.canary == "passed" or not scene.spec.rollout.canary.groups):
        return _done(memory, record, wanted, good.id, scene)
    step = f"{len(done)} of {len(every)}"
    if step != record.step:
        counts = counted(scene.world, record.counter_baselines, good.id, wanted.serve.weights.id)
        record = record.model_copy(update={"step": step, "counts": counts})
    reason, message = _stands(record, wanted, scene)
    return replace(memory, rollout=record.model_copy(update={"reason": reason, "message": message}))


def _turned(record: RolloutStatus, trouble: Explanation, wanted: GroupTemplate, scene: PlanState) -> RolloutStatus:
    update = {
        "phase": "RollingBack",
        "reason": trouble.reason.value,
        "message": trouble.detail,
        "verification_hash": verification_hash(scene.spec, key=wanted.key),
    }
    return record.model_copy(update=update)


def _undecided(record: RolloutStatus, wanted: GroupTemplate, memory: Persisted, scene: PlanState) -> RolloutStatus:
    """No way was possible so far: is there one now?"""
    assert memory.stable is not None  # asked by advance
    choice = choose(scene, memory.stable.template_hash, wanted)
    if not choice.way:
        return record.model_copy(
            update={
                "reason": choice.reason.value,
                "message": choice.why,
                "preview": expectation(choice, scene, wanted, record.before),
            }
        )
    settled = _decided(wanted, choice, memory)
    return record.model_copy(
        update={
            "reason": Reason.ROLLING_OUT.value,
            "message": f"{settled.label} in place of {record.before}",
            "to": settled.label,
            "pod_hash": settled.pod_hash,
            "preview": expectation(choice, scene, settled, record.before),
        }
    )


def _stands(record: RolloutStatus, wanted: GroupTemplate, scene: PlanState) -> tuple[str, str]:
    """Reason and sentence of a rollout that is on its way; they change with its steps only."""
    rollout, wanted_id = scene.spec.rollout, wanted.serve.weights.id
    if rollout.paused:
        text = f"spec.rollout.paused holds the rollout of {wanted_id}: {record.step} groups have it"
        return Reason.ROLLOUT_PAUSED, text
    may = changing(record, scene)
    if not scene.wanted:
        text = f"no group is wanted now: the next one is made as {record.to}, and the rollout ends when it serves"
        return Reason.ROLLING_OUT, text
    if record.canary == "watching":
        text = f"{rollout.canary.groups} group(s) serve {wanted_id} and are watched for {rollout.canary.seconds} s"
        return Reason.CANARY, text
    if len(reached(scene, wanted, may)) == len(may) and len(may) < scene.spec.replicas and rollout.partition:
        text = f"spec.rollout.partition {rollout.partition} keeps the groups below it: {record.step} have {wanted_id}"
        return Reason.ROLLOUT_PAUSED, text
    return Reason.ROLLING_OUT, f"{record.step} groups have {record.to}, before it was {record.before}"


def _done(memory: Persisted, record: RolloutStatus, wanted: GroupTemplate, old: str, scene: PlanState) -> Persisted:
    replicas = scene.spec.replicas
    message = f"{replicas} group(s) serve {record.to}"
    finished = record.model_copy(
        update={
            "phase": "Done",
            "reason": "",
            "message": message,
            "step": f"{replicas} of {replicas}",
            "ended": scene.now.replace(microsecond=0),
            "counts": counted(scene.world, record.counter_baselines, old, wanted.serve.weights.id),
            "counter_baselines": (),
            "canary_counter_baselines": (),
        }
    )
    return _remembered(replace(memory, rollout=finished, stable=keep(wanted)), finished, "done", message, scene.now)


# -- canary -----------------------------------------------------------------------------------------------------------


def _watched(record: RolloutStatus, old: str, wanted: GroupTemplate, scene: PlanState) -> RolloutStatus:
    canary = scene.spec.rollout.canary
    if not canary.groups or record.canary == "passed":
        return record
    may = changing(record, scene)
    if len(reached(scene, wanted, may)) < len(may):
        return record
    if record.canary == "" or record.canary_since is None:
        fresh = counter_baselines(scene.world, old, wanted.serve.weights.id)
        since = scene.now.replace(microsecond=0)
        return record.model_copy(
            update={"canary": "watching", "canary_since": since, "canary_counter_baselines": fresh}
        )
    if (scene.now - record.canary_since).total_seconds() < canary.seconds:
        return record
    return record.model_copy(update={"canary": "passed", "canary_counter_baselines": ()})


def _canary_trouble(record: RolloutStatus, old: str, wanted: GroupTemplate, scene: PlanState) -> Explanation | None:
    if record.canary != "watching":
        return None
    fault = canary_fault(
        scene.world, record.canary_counter_baselines, scene.spec.rollout.canary, old, wanted.serve.weights.id
    )
    return (
        Explanation(Reason.CANARY_FAILED, f"the canary of {wanted.serve.weights.id} failed: {fault}") if fault else None
    )


# -- back -------------------------------------------------------------------------------------------------------------


def _rolling_back(memory: Persisted, record: RolloutStatus, aims: Templates, scene: PlanState) -> Persisted:
    good, every = aims.good, scene.wanted
    if good is None or len(reached(scene, good, every)) < len(every):
        return memory
    held = record.model_copy(
        update={
            "phase": "Held",
            "step": f"0 of {len(every)}",
            "ended": scene.now.replace(microsecond=0),
            "counts": counted(
                scene.world, record.counter_baselines, good.serve.weights.id, record.to.partition(" ")[0]
            ),
            "counter_baselines": (),
            "canary_counter_baselines": (),
        }
    )
    return _remembered(replace(memory, rollout=held), held, "rolledBack", record.message, scene.now)
