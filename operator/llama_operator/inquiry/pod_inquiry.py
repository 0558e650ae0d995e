"""Asks the API server about pods and Jobs of ours that wait unexplained: their events, and the objects that they name.

Asked is only after AFTER of a wait that the status does not explain, at most AT_A_TIME objects in a pass, and each at
growing pauses; an object that two pods name is looked up once. Events are selected by uid on the server.

What was found is kept while the object waits: the API server forgets events after an hour, and limits how many are
recorded. A question that fails costs nothing but its answer: what was known stays, and the sentence without it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from llama_operator.observe.causes.cause import CauseKind
from llama_operator.observe.causes.images import IMAGE_WORDS, image_cause
from llama_operator.observe.causes.scheduler import scheduler_causes
from llama_operator.observe.findings import CLAIM, CLAIM_TEMPLATE, PULL, Findings, Reference, UnboundClaim
from llama_operator.observe.pods import PodView, Waiting
from llama_operator.ports import Cluster, Key, Manifest, Ref, Rejected, Retry, SeenEvent
from llama_serving.config.backoff import doubling_pause

log = logging.getLogger(__name__)

AFTER: Final = timedelta(seconds=3)  # a pod usually has its volumes by then
FIRST_PAUSE, LONGEST_PAUSE = 4.0, 30.0  # seconds between two questions about the same object
AT_A_TIME: Final = 4
DENIED: Final = timedelta(minutes=5)  # a right that is missing is not asked for in every pass

Inquiries = dict[str, "PodInquiry"]
"""One for each LlamaDeployment and LlamaWeights, by uid."""


@dataclass(frozen=True)
class Question:
    """What to ask about an object that waits. ``about``: whose events; None where its status says enough."""

    uid: str
    about: Ref | None
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class _Answer:
    times: int
    at: datetime
    findings: Findings


@dataclass
class PodInquiry:
    """The answers about the pods of one object, by uid of the pod."""

    answers: dict[str, _Answer] = field(default_factory=dict)
    denied_until: datetime | None = None  # the operator may not list events

    async def of_pods(
        self, pods: Sequence[PodView], *, key: Key, cluster: Cluster, now: datetime
    ) -> tuple[PodView, ...]:
        """Return the pods with what is known about those that wait."""
        questions = [question for pod in pods if (question := pod_question(pod, now))]
        found = await self.ask(questions, key=key, cluster=cluster, now=now)
        return tuple(replace(pod, findings=found[pod.uid]) if pod.uid in found else pod for pod in pods)

    async def ask(
        self, questions: Sequence[Question], *, key: Key, cluster: Cluster, now: datetime
    ) -> dict[str, Findings]:
        """Ask what is due, and return what is known by uid. Objects that are not asked about any more are forgotten."""
        self.answers = {one.uid: known for one in questions if (known := self.answers.get(one.uid))}
        due = sorted((one for one in questions if self._is_due(one, now)), key=self._turn)[:AT_A_TIME]
        for one, findings in zip(due, await self._answer(due, _Source(key, cluster), now), strict=True):
            known = self.answers.get(one.uid)
            self.answers[one.uid] = _Answer(known.times + 1 if known else 1, now, findings)
        return {uid: known.findings for uid, known in self.answers.items()}

    def _is_due(self, question: Question, now: datetime) -> bool:
        known = self.answers.get(question.uid)
        if known is None:
            return True
        pause = doubling_pause(known.times, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        return now - known.at >= timedelta(seconds=pause)

    def _turn(self, question: Question) -> tuple[bool, datetime | None, str]:
        known = self.answers.get(question.uid)
        return known is not None, known.at if known else None, question.uid

    async def _answer(self, due: Sequence[Question], source: "_Source", now: datetime) -> list[Findings]:
        """Look every named object up once, and ask for events where that is allowed."""
        wanted = sorted({(one.api_version, one.kind, one.name) for question in due for one in question.references})
        listed = self.denied_until is None or now >= self.denied_until
        bodies, events = await asyncio.gather(
            asyncio.gather(*(source.look_up(Ref(*one)) for one in wanted)),
            asyncio.gather(*(source.events(one.about if listed else None) for one in due)),
        )
        if any(isinstance(found, Rejected) for found in events):
            self.denied_until = now + DENIED
        known = dict(zip(wanted, bodies, strict=True))
        return [self._findings(one, known, found) for one, found in zip(due, events, strict=True)]

    def _findings(
        self, question: Question, known: dict[tuple[str, str, str], "_LookedUp"], events: "_Heard"
    ) -> Findings:
        """Put the answers together; where one is missing, what was found before still holds."""
        earlier = self.answers.get(question.uid)
        before = earlier.findings if earlier else Findings()
        states = {one: known[one.api_version, one.kind, one.name] for one in question.references}
        unheard = {one for one, state in states.items() if state.failed}
        heard = () if isinstance(events, Exception) else events
        return Findings(
            events=heard or before.events,
            absent=frozenset({one for one, state in states.items() if state.absent} | (unheard & before.absent)),
            present=frozenset({one for one, state in states.items() if state.body} | (unheard & before.present)),
            unbound=tuple(claim for one, state in states.items() if (claim := _unbound(one, state))),
        )


@dataclass(frozen=True)
class _LookedUp:
    body: Manifest | None = None
    failed: bool = False
    events: tuple[SeenEvent, ...] = ()  # of a claim that is not bound

    @property
    def absent(self) -> bool:
        return self.body is None and not self.failed


_Heard = tuple[SeenEvent, ...] | Rejected | Retry


@dataclass(frozen=True)
class _Source:
    """The calls, each with its failure as an answer."""

    key: Key
    cluster: Cluster

    async def events(self, about: Ref | None) -> _Heard:
        if about is None:
            return ()
        try:
            return await self.cluster.events_about(self.key, about)
        except (Rejected, Retry) as error:
            log.warning("the events of %s %s are not known: %s", about.kind, about.name, error)
            return error

    async def look_up(self, ref: Ref) -> _LookedUp:
        try:
            body = await self.cluster.look_up(self.key, ref)
        except (Rejected, Retry) as error:
            log.warning("whether %s %s exists is not known: %s", ref.kind, ref.name, error)
            return _LookedUp(failed=True)
        if body is None or ref.kind != CLAIM or is_bound(body):
            return _LookedUp(body)
        events = await self.events(replace(ref, uid=body["metadata"].get("uid", "")))
        return _LookedUp(body, events=() if isinstance(events, Exception) else events)


def is_bound(claim: Manifest) -> bool:
    """Return whether the claim has its volume."""
    return (claim.get("status") or {}).get("phase") == "Bound"


def pod_question(pod: PodView, now: datetime) -> Question | None:
    """Return what to ask about a pod: nothing while it moves, or while its status says why it does not."""
    if not pod.alive or pod.gated or pod.phase != "Pending":
        return None
    if not pod.node and (templates := _named(pod, CLAIM_TEMPLATE)) and now - pod.created >= AFTER:
        return Question(pod.uid, None, templates)
    if pod.unscheduled:
        unbound = any(cause.kind is CauseKind.CLAIM_UNBOUND for cause in scheduler_causes(pod.unscheduled))
        return Question(pod.uid, None, _named(pod, CLAIM)) if unbound else None
    if pod.waiting is not None:
        return _image_question(pod, pod.waiting)
    if not pod.node or now - max(pod.created, pod.bound or pod.created) < AFTER:
        return None
    return Question(pod.uid, Ref("v1", "Pod", pod.name, pod.uid), pod.references)


def _image_question(pod: PodView, waiting: Waiting) -> Question | None:
    """Ask whether its pull Secrets are there; for events only where the status has no more than a pause."""
    if waiting.reason not in IMAGE_WORDS:
        return None
    pulls = tuple(one for one in pod.references if one.use == PULL)
    events = None if image_cause(waiting.message) else Ref("v1", "Pod", pod.name, pod.uid)
    return Question(pod.uid, events, pulls) if pulls or events else None


def job_question(name: str, uid: str, *, created: datetime, now: datetime) -> Question | None:
    """Return what to ask about a Job without a pod: its controller says in events why it makes none."""
    if now - created < AFTER:
        return None
    return Question(uid, Ref("batch/v1", "Job", name, uid))


def _named(pod: PodView, kind: str) -> tuple[Reference, ...]:
    return tuple(one for one in pod.references if one.kind == kind)


def _unbound(reference: Reference, state: _LookedUp) -> UnboundClaim | None:
    if reference.kind != CLAIM or state.body is None or is_bound(state.body):
        return None
    return UnboundClaim(reference.name, (state.body.get("spec") or {}).get("storageClassName") or "", state.events)


def inquiry_of(inquiries: Inquiries, uid: str) -> PodInquiry:
    """Return the inquiry of one object, a new one for a new object."""
    return inquiries.setdefault(uid, PodInquiry())
