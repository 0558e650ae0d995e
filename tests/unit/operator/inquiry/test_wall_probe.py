"""Whether NetworkPolicies are enforced: what is tried, how often, and what the status says."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from llama_operator.api import Condition
from llama_operator.inquiry.wall_probe import PERIOD, WallProbe
from llama_operator.observe.deployment import PolicyTrial, Snapshot
from llama_operator.plan.planner import plan
from llama_operator.ports import Seal, SupervisorAnswer
from llama_operator.status.deployment import deployment_status
from llama_serving.config import names
from llama_serving.config.desired import DesiredState
from tests.unit.operator.worlds import NOW, group, heard, leader, state_of, world

PODS = (*group(0), *group(1))


@dataclass
class Network:
    """Supervisors behind a network that enforces policies, or does not."""

    open_: bool = False
    dead: bool = False
    tried: list[tuple[str, int]] = field(default_factory=list)

    async def accepts(self, address: str, port: int) -> bool:
        self.tried.append((address, port))
        return self.open_ and not self.dead

    async def state(self, address: str) -> SupervisorAnswer:
        del address
        return SupervisorAnswer(None, "gone") if self.dead else next(iter(heard(*PODS).values()))

    async def put_desired_state(
        self, address: str, desired: DesiredState, *, token: str, seal: Seal | None = None
    ) -> str:
        raise AssertionError(f"a trial told {address} {desired} with {token} and {seal}")


def serving() -> Snapshot:
    return world(*PODS, cells=heard(*PODS))


@pytest.mark.parametrize("open_", [False, True])
async def test_one_connection_in_five_minutes_to_a_leader_that_serves(*, open_: bool) -> None:
    network, probe = Network(open_=open_), WallProbe()
    for seconds in range(0, int(PERIOD.total_seconds()), 10):
        trial = await probe.try_one(serving(), network, NOW + timedelta(seconds=seconds))
        assert trial == PolicyTrial(PODS[0].name, names.PORT_ENGINE, open_)
    assert network.tried == [(PODS[0].ip, names.PORT_ENGINE)]
    await probe.try_one(serving(), network, NOW + PERIOD)
    assert len(network.tried) == 2


async def test_without_a_leader_that_serves_nothing_is_tried() -> None:
    network, probe = Network(), WallProbe()
    assert await probe.try_one(world(leader(0, ready=False)), network, NOW) is None
    assert network.tried == []


async def test_a_pod_that_answers_nowhere_tells_nothing() -> None:
    network, probe = Network(dead=True), WallProbe()
    assert await probe.try_one(serving(), network, NOW) is None
    assert len(network.tried) == 1


def condition(seen: Snapshot) -> Condition:
    state = state_of(seen)
    status = deployment_status(state, plan(state), ())
    return next(one for one in status.conditions if one.type == "NetworkPolicyEnforced")


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        (None, ("Unknown", "PoliciesNotTried")),
        (PolicyTrial("chat-0", 8000, accepted=False), ("True", "PoliciesEnforced")),
        (PolicyTrial("chat-0", 8000, accepted=True), ("False", "PoliciesNotEnforced")),
    ],
)
def test_the_condition(trial: PolicyTrial | None, expected: tuple[str, str]) -> None:
    found = condition(replace(serving(), policy_trial=trial))
    assert (found.status, found.reason) == expected
    if trial:
        assert "chat-0" in found.message
        assert "8000" in found.message


def test_a_new_operator_keeps_what_the_one_before_found() -> None:
    known = condition(replace(serving(), policy_trial=PolicyTrial("chat-0", 8000, accepted=False)))
    seen = serving()
    status = seen.status.model_copy(update={"conditions": (known,)})
    assert condition(replace(seen, status=status)) == known
