"""A rehearsal: before a group that serves is touched, everything that can be known without its devices is known.

    admission       every object of the new group is sent with ``dryRun=All``: quota, Pod Security, PriorityClass,
                    webhooks, names
    references      what its pods name is looked up: Secrets, claims, those for staged weights too
    configuration   a pod of the new image with the same references (Secrets, claims, ServiceAccount) builds the
                    engine's configuration from the new spec
    image           where the image changes, a pod on each node that the groups will use: it is pulled, and starts there

Placement is decided by the strategy (plan/rollout/strategy.py). Nothing is kept between passes: the verdict follows
from the pods that are there and from the API server's last answer. What failed outside of the spec is tried again at
growing pauses; an image that comes late is found by the kubelet, which tries by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from llama_operator.observe.last_words import last_words
from llama_operator.observe.rehearsal import AdmissionAnswer, Exit, RehearsalPod, RehearsalView
from llama_operator.plan.actions import DeletePod
from llama_operator.plan.explain import explain_start
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate
from llama_operator.plan.naming import rehearsal_pod_name
from llama_operator.plan.rehearsal.quota import is_judged, why_quota_refuses
from llama_operator.plan.sentences import rehearsal as sentences
from llama_serving.config import names
from llama_serving.config.backoff import doubling_pause
from llama_serving.config.reason_catalogue import FAILURES
from llama_serving.config.reasons import Reason
from llama_serving.config.wording import clause, rough_seconds

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0  # seconds, before what was refused outside of the spec is tried again
BUSY_PAUSE = 1.0  # seconds, the same where the API server could not be asked
#: From the start of a try that failed outside of the spec to the next one.
RETRIED_AFTER = timedelta(seconds=60)
#: What may end by itself, such as a registry that does not answer, is waited for so long before it counts.
PASSING = timedelta(seconds=45)
#: A pod that waits for room keeps nobody from a rollout: its image is pulled later.
NO_ROOM = timedelta(seconds=20)
_LONGEST = 400  # characters of what somebody else said


@dataclass(frozen=True)
class Rehearsal:
    """What is to be tried: the template, in a pod anywhere, and its image in a pod on each of these nodes.

    ``over``: it has passed, and only the API server is asked again: a strategy waits, maybe for room in a quota.
    """

    deployment: str
    template: GroupTemplate
    nodes: tuple[str, ...]
    ask_admission: bool
    over: bool = False

    @property
    def key(self) -> str:
        """Name of the rehearsal: the same for the same spec, image and weights."""
        return self.template.spec_hash

    @property
    def pods(self) -> tuple[tuple[str, str], ...]:
        """Name and node of each pod; the first one, which may run anywhere, builds the configuration."""
        if self.over:
            return ()
        places = enumerate(("", *self.nodes))
        return tuple((rehearsal_pod_name(self.deployment, self.key, index), node) for index, node in places)


@dataclass(frozen=True)
class RehearsalVerdict:
    """How a rehearsal stands."""

    outcome: Literal["running", "failed", "passed"]
    reason: Reason
    message: str


def rehearsal_of(template: GroupTemplate, nodes: tuple[str, ...], state: PlanState, *, over: bool = False) -> Rehearsal:
    """Return what is to be tried of a template now."""
    due = _admission_due(state.snapshot.rehearsal.answer_to(template.spec_hash), state.now)
    return Rehearsal(state.snapshot.key.name, template, nodes, due, over)


def judge_rehearsal(rehearsal: Rehearsal, state: PlanState, *, beside: bool) -> RehearsalVerdict:
    """Return how the rehearsal stands: the first failure, else what is still to come.

    ``beside``: new groups come before old ones leave, so a quota must take one more.
    """
    parts = [_admission(rehearsal, state, beside=beside), *_pods(rehearsal, state)]
    for outcome in ("failed", "running"):
        found = next((part for part in parts if part.outcome == outcome), None)
        if found:
            return found
    return RehearsalVerdict("passed", Reason.REHEARSING, "")


def rehearsal_deletes(rehearsal: Rehearsal | None, state: PlanState) -> tuple[DeletePod, ...]:
    """List the pods of rehearsals that nobody needs: of another one, of one that is over, or to be tried again."""
    keep = set()
    if rehearsal:
        mine = _mine(rehearsal, state.snapshot.rehearsal)
        keep = {one.pod.name for one in mine if not _is_retried(one, state.now)}
    gone = (one.pod for one in state.snapshot.rehearsal.pods if one.pod.name not in keep and one.pod.gone_by is None)
    return tuple(DeletePod(pod.name, pod.uid, "the rehearsal does not need it any more", 0) for pod in gone)


def _admission(rehearsal: Rehearsal, state: PlanState, *, beside: bool) -> RehearsalVerdict:
    answer, template = state.snapshot.rehearsal.answer_to(rehearsal.key), rehearsal.template
    if answer is None:
        return _runs(rehearsal, sentences.admission_asked())
    refused = [one for one in answer.refusals if not is_judged(one, template.spec)]
    if refused:
        text = sentences.admission_refused(refused[0].text, more=len(refused) - 1)
        return RehearsalVerdict("failed", Reason.API_REJECTED, text)
    if too_small := why_quota_refuses(template, state, beside=beside):
        return RehearsalVerdict("failed", Reason.API_REJECTED, too_small)
    if answer.missing:
        text = sentences.references_missing(tuple(said for _, said in answer.missing))
        return RehearsalVerdict("failed", answer.missing[0][0], text)
    if answer.retry:
        return _runs(rehearsal, sentences.admission_not_answered(answer.retry))
    return RehearsalVerdict("passed", Reason.REHEARSING, "")


def _pods(rehearsal: Rehearsal, state: PlanState) -> list[RehearsalVerdict]:
    known = {one.pod.name: one for one in _mine(rehearsal, state.snapshot.rehearsal)}
    found = (known.get(name) for name, _ in rehearsal.pods)
    return [_pod(one, rehearsal, state, decides=index == 0) for index, one in enumerate(found)]


def _pod(one: RehearsalPod | None, rehearsal: Rehearsal, state: PlanState, *, decides: bool) -> RehearsalVerdict:
    """Judge one pod. Only the first must find room: the others bring an image ahead of time."""
    if one is None or one.pod.gone_by is not None:
        return _runs(rehearsal, sentences.pods_made(pods=len(rehearsal.pods)))
    if one.exit:
        return _ended(one.exit, one)
    if one.pod.finished:
        text = sentences.pod_vanished(one.pod.name, node=one.pod.node, said=clause(one.pod.message, _LONGEST))
        return RehearsalVerdict("failed", Reason.REHEARSAL_FAILED, text)
    if one.pod.unscheduled and not decides:
        return RehearsalVerdict("passed", Reason.REHEARSING, "")
    if one.pod.unscheduled and state.now - one.pod.created < NO_ROOM:
        return _runs(rehearsal, sentences.pods_made(pods=len(rehearsal.pods)))
    stuck = explain_start(one.pod, state.snapshot.capacity, state.now)
    if stuck and stuck.reason in FAILURES and not (stuck.passing and state.now - one.pod.created < PASSING):
        return RehearsalVerdict("failed", stuck.reason, stuck.detail)
    if stuck:
        return _runs(rehearsal, stuck.detail)
    waited = rough_seconds((state.now - one.pod.created).total_seconds())
    return _runs(rehearsal, sentences.pod_runs(one.pod.name, node=one.pod.node, waited=waited))


def _ended(end: Exit, one: RehearsalPod) -> RehearsalVerdict:
    if end.code == 0:
        return RehearsalVerdict("passed", Reason.REHEARSING, "")
    if end.code == names.EXIT_REFUSED:
        return RehearsalVerdict("failed", Reason.ENGINE_CONFIG_REFUSED, clause(end.message, _LONGEST))
    last = clause(last_words(end.message), _LONGEST)
    text = sentences.pod_ended(one.pod.name, node=one.pod.node, code=end.code, said=last)
    return RehearsalVerdict("failed", Reason.REHEARSAL_FAILED, text)


def _runs(rehearsal: Rehearsal, what: str) -> RehearsalVerdict:
    return RehearsalVerdict("running", Reason.REHEARSING, sentences.rehearsal_runs(rehearsal.template.label, what=what))


def _is_retried(one: RehearsalPod, now: datetime) -> bool:
    """Return whether a pod that ended without a verdict had its time."""
    if not one.pod.finished or (one.exit and one.exit.code in (0, names.EXIT_REFUSED)):
        return False
    return now - one.pod.created >= RETRIED_AFTER


def asked_again(answer: AdmissionAnswer) -> datetime | None:
    """Return when the API server is asked again about what it refused; None where it took everything."""
    if not answer.failures:
        return None
    first = BUSY_PAUSE if answer.retry else FIRST_PAUSE
    pause = doubling_pause(answer.failures, first=first, longest=LONGEST_PAUSE)
    return answer.at + timedelta(seconds=pause)


def _admission_due(answer: AdmissionAnswer | None, now: datetime) -> bool:
    if answer is None:
        return True
    return now >= (asked_again(answer) or answer.at + timedelta(seconds=LONGEST_PAUSE))


def _mine(rehearsal: Rehearsal, view: RehearsalView) -> Sequence[RehearsalPod]:
    wanted = {name for name, _ in rehearsal.pods}
    return [one for one in view.pods if one.pod.name in wanted]
