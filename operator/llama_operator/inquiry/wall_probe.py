"""Finds out whether NetworkPolicies are enforced: the operator tries a connection that they forbid.

The policy of a group lets the operator reach the supervisor's port and no other. So once in a while one connection is
opened to the engine's port of a leader that serves, which listens there for gateways. It is closed at once, and nothing
is sent. Accepted: policies are not enforced. Refused or without an answer, while the supervisor of the same pod
answers: they are.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from llama_operator.observe.deployment import PolicyTrial, Snapshot
from llama_operator.ports import Supervisors
from llama_serving.config import names

PERIOD: Final = timedelta(minutes=5)


@dataclass
class WallProbe:
    """The last trial of one deployment."""

    at: datetime | None = None
    trial: PolicyTrial | None = None

    async def try_one(self, seen: Snapshot, supervisors: Supervisors, now: datetime) -> PolicyTrial | None:
        """Return the last trial, a new one where it is due and a group serves that can be tried."""
        if self.at is not None and now - self.at < PERIOD:
            return self.trial
        leader = next((pod for pod in seen.stages if pod.stage == 0 and pod.ready and pod.ip and pod.alive), None)
        if leader is None:
            return self.trial
        self.at = now
        accepted = await supervisors.accepts(leader.ip, names.PORT_ENGINE)
        # A node that is gone would not answer either.
        if accepted or (await supervisors.state(leader.ip)).state is not None:
            self.trial = PolicyTrial(leader.name, names.PORT_ENGINE, accepted)
        return self.trial
