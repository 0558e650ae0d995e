"""Before any device is asked for, a pod without one reads the model's config and headers.

Its answer is its termination message. Accepted facts go into the status and are not asked for again until source or
revision changes. A refusal is shown, and looked at again after a while, so that a repaired volume heals by itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from llama_operator.observe import PodView, Snapshot
from llama_operator.plan.explain import explain_pod, rough_seconds
from llama_operator.plan.model import DeletePod, InspectModel, ModelLook
from llama_operator.plan.reasons import Hold, Reason
from llama_operator.plan.removal import deletes
from llama_serving.config.model import ModelFacts, ModelReport

LOOK_AGAIN = timedelta(seconds=30)

_REFUSALS = {
    "WeightsMissing": Reason.WEIGHTS_MISSING,
    "WeightsUnreadable": Reason.WEIGHTS_UNREADABLE,
}


@dataclass(frozen=True)
class Inspection:
    """Where the look at the model stands, and its next step."""

    look: ModelLook
    create: InspectModel | None = None
    deletes: tuple[DeletePod, ...] = ()
    holds: tuple[Hold, ...] = ()


def inspect_model(world: Snapshot, model_key: str, mine: str, now: datetime) -> Inspection:
    """Next step of the look at this source and revision, by the pod that has the name ``mine``."""
    others = (pod for pod in world.inspectors if pod.name != mine)
    stale = _deletes(others, "it looked at another model, or from another place", world, now)
    pod = next((pod for pod in world.inspectors if pod.name == mine), None)
    known = known_facts(world, model_key)
    look = ModelLook(model_key, facts=known)
    if known:
        done = _deletes((pod,) if pod else (), "its answer is in the status", world, now)
        return Inspection(look, deletes=stale + done)
    if pod is None:
        hold = Hold(Reason.INSPECTING_MODEL, "a pod without a device is started to read the model's config")
        return Inspection(look, create=InspectModel(mine, model_key), deletes=stale, holds=(hold,))
    if pod.gone_by is not None:
        hold = Hold(Reason.INSPECTING_MODEL, f"pod {pod.name} is on its way out, then the model is read again")
        stuck = _deletes((pod,), "the model is looked at again", world, now)
        return Inspection(look, deletes=stale + stuck, holds=(hold,))
    if not pod.finished:
        return Inspection(look, deletes=stale, holds=(_still_looking(pod, world, now),))
    return _judge(pod, model_key, stale, world, now)


def known_facts(world: Snapshot, model_key: str) -> ModelFacts | None:
    """Facts of this source and revision from the status; None when it was not accepted yet."""
    stored = world.status.model
    return stored.facts if stored and stored.key == model_key else None


def _judge(pod: PodView, model_key: str, stale: tuple[DeletePod, ...], world: Snapshot, now: datetime) -> Inspection:
    report = _report(pod)
    if report.facts and report.outcome == "accepted":
        return Inspection(ModelLook(model_key, facts=report.facts), deletes=stale)
    hold = Hold(_REFUSALS.get(report.reason, Reason.MODEL_REFUSED), report.message)
    ended = pod.ended.at if pod.ended and pod.ended.at else pod.created
    again = _deletes((pod,), "the model is looked at again", world, now) if now - ended > LOOK_AGAIN else ()
    return Inspection(ModelLook(model_key, refusal=hold), deletes=stale + again, holds=(hold,))


def _report(pod: PodView) -> ModelReport:
    text = pod.ended.message if pod.ended else ""
    try:
        return ModelReport.model_validate_json(text)
    except ValidationError:
        code = pod.ended.exit_code if pod.ended else "unknown"
        said = text.strip()[-300:] or pod.message or pod.reason
        why = f"pod {pod.name} ended with code {code} and without a report: {said}"
        return ModelReport(outcome="refused", reason=Reason.MODEL_REFUSED, message=why)


def _still_looking(pod: PodView, world: Snapshot, now: datetime) -> Hold:
    if pod.phase == "Running" and not pod.waiting:
        span = rough_seconds((now - pod.created).total_seconds())
        return Hold(Reason.INSPECTING_MODEL, f"pod {pod.name} on node {pod.node} reads the model, {span} so far")
    wait = explain_pod(pod, world, now)
    if wait is None or wait.reason is Reason.POD_STARTING:
        detail = wait.detail if wait else f"pod {pod.name} reads the model"
        return Hold(Reason.INSPECTING_MODEL, detail)
    volume = wait.reason is Reason.UNSCHEDULABLE and "persistentvolumeclaim" in wait.detail
    return Hold(Reason.VOLUME_UNAVAILABLE if volume else wait.reason, wait.detail)


def _deletes(pods: Iterable[PodView], why: str, world: Snapshot, now: datetime) -> tuple[DeletePod, ...]:
    return tuple(deletes(pods, why, world, now, grace=0))
