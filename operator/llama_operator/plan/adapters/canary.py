"""A changed LoRA adapter goes to one group first, and is judged there by its answers before the others get it.

    loading    one group is told of the new version, the others keep the former one
    watching   that group answers with it; from here on its failures and its times to the first byte are counted
    passed     spec.rollout.canary.seconds have passed without a fault: the others get it (steps.py)
    failed     worse than spec.rollout.canary allows: every group gets the former version again, and keeps it until the
               name means other bytes, or there is no canary any more

The judgement is that of weights (rollout/canary.py), with the ids of both versions in the place of weights. A name that
is new, or whose former version nobody knows, has nothing to go back to: it has no canary.
"""

from collections.abc import Iterator
from dataclasses import replace

from llama_operator.api.v1alpha1.status import AdapterCanaryStatus
from llama_operator.observe.deployment import AdapterView, Snapshot
from llama_operator.plan.adapters.choice import AdapterChoice
from llama_operator.plan.adapters.seats import announced
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.naming import weights_id
from llama_operator.plan.rollout.canary import WeightsPair, canary_fault, counted_since, counter_baselines
from llama_operator.plan.sentences import adapters as sentences


def adapter_canaries(state: PlanState) -> tuple[AdapterCanaryStatus, ...]:
    """Return where the canaries stand now, in the order of the adapters; none where the spec asks for none."""
    if not state.spec.rollout.canary.groups:
        return ()
    before = {one.name: one for one in state.snapshot.status.adapter_canaries}
    return tuple(_canaries(state, before))


def _canaries(state: PlanState, before: dict[str, AdapterCanaryStatus]) -> Iterator[AdapterCanaryStatus]:
    for choice in state.adapters:
        if choice.reason or choice.view is None:
            continue
        known = before.get(choice.name)
        if known is None or known.digest != choice.view.digest:
            known = _begun(choice, choice.view, state)
        if known is not None:
            yield _watched(known, state)


def _begun(choice: AdapterChoice, view: AdapterView, state: PlanState) -> AdapterCanaryStatus | None:
    """Return the canary of a name whose bytes change; None where no group has others, or one answers with these.

    So a version that failed is given up without a canary: the other groups answer with the former one.
    """
    former = _former(choice.name, view, state)
    id_ = weights_id(view.revision, view.digest)
    if former is None or _answers(choice.name, id_, state):
        return None
    return AdapterCanaryStatus(
        name=choice.name,
        former_digest=former.digest,
        former_id=weights_id(former.revision, former.digest),
        digest=view.digest,
        id=id_,
        state="loading",
    )


def _former(name: str, view: AdapterView, state: PlanState) -> AdapterView | None:
    """Return what groups were told to have under this name, other than these bytes, while there is an object of it."""
    told = state.told_digests.get(name, frozenset()) - {view.digest}
    known = (one for _, one in sorted(state.snapshot.adapters.items()) if one.ready and one.digest in told)
    return next(known, None)


def _watched(canary: AdapterCanaryStatus, state: PlanState) -> AdapterCanaryStatus:
    """Move a canary on: begin to count when a group answers, and judge what was counted since."""
    pair, seen = WeightsPair(canary.former_id, canary.id), _by_adapter(state.snapshot)
    if canary.state == "loading":
        if not _answers(canary.name, canary.id, state):
            return canary
        since, baselines = state.now.replace(microsecond=0), counter_baselines(seen, pair)
        return canary.model_copy(update={"state": "watching", "since": since, "counter_baselines": baselines})
    if canary.state != "watching" or canary.since is None:
        return canary
    limits = state.spec.rollout.canary
    if fault := canary_fault(counted_since(seen, canary.counter_baselines, pair), limits, pair):
        text = sentences.canary_failed(canary.name, former=canary.former_id, why=fault)
        return canary.model_copy(update={"state": "failed", "message": text, "counter_baselines": ()})
    if (state.now - canary.since).total_seconds() < limits.seconds:
        return canary
    return canary.model_copy(update={"state": "passed", "counter_baselines": ()})


def _answers(name: str, id_: str, state: PlanState) -> bool:
    """Return whether gateways may send requests for these bytes to a group that serves."""
    leaders = (group.leader for group in state.groups if group.serving)
    return any(leader and announced(leader.adapters).get(name) == id_ for leader in leaders)


def _by_adapter(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with the counts of adapters, by their ids, in the place of those of weights."""
    loads = {
        name: load.model_copy(update={"by_weights": load.by_adapter}) if load else None
        for name, load in snapshot.loads.items()
    }
    return replace(snapshot, loads=loads)
