"""Asks the supervisors of the stages; those of a deployment at rest not in every pass.

Autoscaling reads the gateways about once a second, and every pass is a full pass. While everything serves, an answer
of a supervisor is reused for LEADER or WORKER seconds, unless its pod changed meanwhile. As soon as something changes
all supervisors are asked in every pass. What the answers of one deployment keep is bounded: a stage runs what its
namespace likes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.observe.pods import PodView
from llama_operator.ports import SupervisorAnswer, Supervisors

LEADER, WORKER = 5.0, 15.0  # seconds
SMALL = 64 << 10  # bytes of an answer that count for nothing
KEPT = 8 << 20  # bytes of all larger answers of a deployment in a pass


@dataclass(frozen=True)
class _Earlier:
    pod: PodView
    at: datetime
    answer: SupervisorAnswer


@dataclass
class _Asking:
    """One pass; ``large`` is the sum in bytes of the answers that are not small."""

    supervisors: Supervisors
    large: int

    async def all(self, pods: Sequence[PodView]) -> list[SupervisorAnswer]:
        return await asyncio.gather(*(self._one(pod) for pod in pods))

    async def _one(self, pod: PodView) -> SupervisorAnswer:
        answer = await self.supervisors.state(pod.ip)
        if answer.size <= SMALL:
            return answer
        if self.large + answer.size > KEPT:
            why = f"the answer of its supervisor is left out: those of all stages have more than {KEPT} bytes"
            return SupervisorAnswer(None, why)
        self.large += answer.size
        return answer


@dataclass
class SupervisorCache:
    """The last answers of the pods of one deployment, by pod name."""

    earlier: dict[str, _Earlier] = field(default_factory=dict)

    async def ask(
        self, pods: Sequence[PodView], supervisors: Supervisors, *, rest: bool, now: datetime
    ) -> list[SupervisorAnswer]:
        """Return an answer for each pod. ``rest``: nothing changes, so earlier answers are good enough."""
        held = {pod.name: found for pod in pods if rest and (found := self._still_good(pod, now))}
        asked = [pod for pod in pods if pod.name not in held]
        large = sum(one.answer.size for one in held.values() if one.answer.size > SMALL)
        answers = await _Asking(supervisors, large).all(asked)
        fresh = {pod.name: _Earlier(pod, now, answer) for pod, answer in zip(asked, answers, strict=True)}
        self.earlier = held | fresh
        return [self.earlier[pod.name].answer for pod in pods]

    def _still_good(self, pod: PodView, now: datetime) -> _Earlier | None:
        found = self.earlier.get(pod.name)
        if found is None or found.pod != pod or found.answer.state is None:
            return None
        age = (now - found.at).total_seconds()
        return found if 0 <= age < (WORKER if pod.stage else LEADER) else None
