"""What was seen of a rehearsal: its pods, and what the API server answered when it was asked on trial."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from llama_operator.observe.causes.cause import PodCause
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.ports import Quota
from llama_serving.config import names
from llama_serving.config.reasons import Reason


@dataclass(frozen=True)
class Exit:
    """How the container that decided over a rehearsal's pod ended."""

    code: int
    message: str


@dataclass(frozen=True)
class RehearsalPod:
    """A pod of a rehearsal."""

    pod: PodView
    exit: Exit | None  # None: it has not ended


@dataclass(frozen=True)
class Refusal:
    """Why the API server refused an object: a sentence, and the quota that it exceeds, if that is why."""

    text: str
    quota: PodCause | None = None


@dataclass(frozen=True)
class AdmissionAnswer:
    """What the API server said to the objects of a group when they were sent on trial (``dryRun=All``).

    ``missing``: what the pods name and cannot have, as reason and sentence. ``quotas``: those of the namespace; none
    where the operator may not list them.
    """

    rehearsal: str  # key of the rehearsal for which it was asked
    at: datetime
    refusals: tuple[Refusal, ...] = ()  # one for each object that it refuses
    failures: int = 0  # answers in a row that were no acceptance
    retry: str = ""  # why it could not be asked; empty when it could
    missing: tuple[tuple[Reason, str], ...] = ()
    quotas: tuple[Quota, ...] = ()


@dataclass(frozen=True)
class RehearsalView:
    """A rehearsal as one pass sees it."""

    pods: tuple[RehearsalPod, ...] = ()
    admission: AdmissionAnswer | None = None  # None: not asked by this process

    def answer_to(self, rehearsal: str) -> AdmissionAnswer | None:
        """Return what the API server answered when it was asked for this rehearsal; None where it was not."""
        return self.admission if self.admission and self.admission.rehearsal == rehearsal else None

    def with_pods(self, pods: Iterable[PodView], *, admission: AdmissionAnswer | None) -> "RehearsalView":
        """Return the view with what else was found out about its pods, and with the API server's answer."""
        known = {pod.uid: pod for pod in pods}
        mine = tuple(replace(one, pod=known.get(one.pod.uid, one.pod)) for one in self.pods)
        return RehearsalView(mine, admission)


def rehearsed_pods(bodies: Iterable[Mapping[str, Any]]) -> tuple[RehearsalPod, ...]:
    """Return the pods of a rehearsal among these, in the order of their names."""
    found = (RehearsalPod(pod_view(body), _exit(body)) for body in bodies if _is_rehearsal(body))
    return tuple(sorted(found, key=lambda one: one.pod.name))


def _is_rehearsal(body: Mapping[str, Any]) -> bool:
    labels = body["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_COMPONENT) == names.COMPONENT_REHEARSAL)


def _exit(body: Mapping[str, Any]) -> Exit | None:
    """Return the end of the main container, or of the init container because of which it was never started."""
    status = body.get("status") or {}
    main, init = status.get("containerStatuses") or (), status.get("initContainerStatuses") or ()
    ends = [ended for item in (*main, *init) if (ended := (item.get("state") or {}).get("terminated"))]
    telling = [ended for ended in ends if ended.get("exitCode", 0)] or ends[:1]
    if not telling or status.get("phase") not in ("Succeeded", "Failed"):
        return None
    return Exit(int(telling[0].get("exitCode", 0)), str(telling[0].get("message", "")).strip())
