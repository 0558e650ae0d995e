"""Asks the supervisors of the stages; of a deployment at rest that is looked at every second, not all each time.

Autoscaling reads the gateways about once a second, and every pass is a full pass. While everything serves, an answer
of a supervisor holds for LEADER or WORKER seconds, unless its pod changed meanwhile. As soon as something is on its
way everybody is asked in every pass.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from llama_operator.observe.pods import PodView
from llama_operator.ports import SupervisorAnswer, Supervisors

LEADER, WORKER = 5.0, 15.0  # seconds


@dataclass(frozen=True)
class _Earlier:
    pod: PodView
    at: datetime
    answer: SupervisorAnswer


@dataclass
class SupervisorCache:
    """What the pods of one deployment have said, by name."""

    earlier: dict[str, _Earlier] = field(default_factory=dict)

    async def ask(
        self, pods: Sequence[PodView], cells: Supervisors, *, rest: bool, now: datetime
    ) -> list[SupervisorAnswer]:
        """An answer for each pod; ``rest``: nothing is on its way, so earlier ones are good enough."""
        held = {pod.name: found for pod in pods if rest and (found := self._still_good(pod, now))}
        asked = [pod for pod in pods if pod.name not in held]
        answers = await asyncio.gather(*(cells.state(pod.ip) for pod in asked))
        fresh = {pod.name: _Earlier(pod, now, answer) for pod, answer in zip(asked, answers, strict=True)}
        self.earlier = held | fresh
        return [self.earlier[pod.name].answer for pod in pods]

    def _still_good(self, pod: PodView, now: datetime) -> _Earlier | None:
        found = self.earlier.get(pod.name)
        if found is None or found.pod != pod or found.answer.state is None:
            return None
        age = (now - found.at).total_seconds()
        return found if 0 <= age < (WORKER if pod.stage else LEADER) else None
