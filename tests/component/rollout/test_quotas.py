"""Rollouts under a ResourceQuota, through all layers: no edit takes a group down for one that the quota refuses."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from llama_operator.preview.scenario import merged
from tests.component.rollout.test_impossible_edits import give, node
from tests.fakes.quota import FakeQuota
from tests.fakes.scheduler import FakeScheduler
from tests.fakes.world import KEY, World, spec_of

GPU = "nvidia.com/gpu"
DEVICES = f"requests.{GPU}"
HIDDEN = pytest.mark.parametrize("hidden", [False, True], ids=["listed", "no right to list"])


@dataclass
class Team:
    """Groups of two stages with two devices each, in a namespace with a quota; nodes have room for everything."""

    groups: int
    hard: dict[str, float]
    rollout: dict[str, Any] = field(default_factory=dict)
    hidden: bool = False

    def __post_init__(self) -> None:
        device = {"resource": GPU, "count": 2}
        self.spec = spec_of(replicas=self.groups, device=device, sharding={"pipeline": 2}, rollout=self.rollout)
        self.world = World(self.spec)
        self.world.nodes.scheduler = FakeScheduler(self.world.cluster)
        self.world.cluster.nodes = [node(f"node-{number}") for number in range(6)]
        give(self.world, "PersistentVolumeClaim", "weights")
        self.least = self.groups

    async def begin(self) -> None:
        await self.world.settle()
        assert self.world.status.ready_replicas == self.groups, self.world.status.message
        self.quota = FakeQuota(self.world.cluster, "team", self.hard, self.hidden)
        self.before = self.world.stage_uids()

    def edit(self, **change: Any) -> None:
        self.spec = merged(self.spec, change)
        self.world.cluster.edit(KEY, lambda spec: spec.update(self.spec))

    def devices(self, count: int) -> dict[str, Any]:
        return {"device": {"count": count}}

    async def until(self, *phases: str, limit: int = 900) -> str:
        """Go on until the rollout is in one of the phases, and stays there for three seconds."""
        seen = 0
        for _ in range(limit):
            await self.world.seconds(1)
            status = self.world.status
            self.least = min(self.least, status.ready_replicas)
            seen = seen + 1 if status.rollout and status.rollout.phase in phases else 0
            if seen == 3:
                assert status.rollout is not None
                return f"{status.rollout.phase} {status.reason}: {status.message}"
        raise AssertionError(self.world.status.message)

    def untouched(self) -> bool:
        return self.world.stage_uids() == self.before and self.least == self.groups


async def begun(groups: int, devices: int, *, hidden: bool = False, **rollout: Any) -> Team:
    team = Team(groups, {DEVICES: devices}, rollout, hidden)
    await team.begin()
    return team


async def test_a_group_whose_pods_fit_one_by_one_but_not_together_is_refused_before_the_drain() -> None:
    """One pod of four devices fits beside the old group in a quota of eight minus one, two of them never."""
    team = await begun(1, 7, strategy="drain")
    team.edit(**team.devices(4))
    said = await team.until("Held")
    assert "Held ApiRejected" in said
    assert f"ResourceQuota team allows no more: 1 new group asks for {DEVICES}=8 and 4 comes back" in said
    assert "4 of 7 are used" in said
    assert team.untouched()
    team.quota.hard = {DEVICES: 8.0}
    assert "Done Serving" in await team.until("Done")
    assert team.least == 0, "a drain was asked for"


@HIDDEN
async def test_auto_names_the_drain_where_a_full_quota_takes_no_group_beside(hidden: bool) -> None:
    team = await begun(1, 4, hidden=hidden)
    team.edit(contextLength=448)
    said = await team.until("Held")
    assert "Held OutageNotAccepted" in said, said
    assert "ResourceQuota team allows no more" in said
    assert "accept the outage with spec.rollout.strategy drain" in said
    await team.world.seconds(700)
    assert team.untouched()
    team.edit(rollout={"strategy": "drain"})
    assert "Done Serving" in await team.until("Done")


@HIDDEN
async def test_auto_drains_one_group_after_the_other_in_a_full_quota(hidden: bool) -> None:
    team = await begun(2, 8, hidden=hidden)
    team.edit(contextLength=448)
    assert "Done Serving" in await team.until("Done")
    assert team.least == 1


@HIDDEN
async def test_auto_surges_where_the_quota_takes_one_more(hidden: bool) -> None:
    team = await begun(2, 12, hidden=hidden)
    team.edit(contextLength=448)
    assert "Done Serving" in await team.until("Done")
    assert team.least == 2


async def test_a_quota_that_is_raised_lets_auto_surge_by_itself_after_a_restart_of_the_operator_too() -> None:
    team = await begun(1, 4)
    team.edit(contextLength=448)
    assert "OutageNotAccepted" in await team.until("Held")
    team.world.restart()
    await team.world.seconds(100)
    assert team.untouched()
    team.quota.hard = {DEVICES: 8.0}
    assert "Done Serving" in await team.until("Done")
    assert team.least == 1


@HIDDEN
@pytest.mark.parametrize("count", [1, 2])
async def test_an_edit_in_the_middle_of_a_drain_goes_on_in_a_full_quota(count: int, hidden: bool) -> None:
    team = await begun(2, 8, hidden=hidden, strategy="drain")
    team.edit(contextLength=448)
    for _ in range(200):
        await team.world.seconds(1)
        changed = {name for name in team.world.stage_uids() if name not in team.before}
        if len(changed) == 2 and team.world.status.ready_replicas == 2:
            break
    assert team.world.status.rollout is not None
    assert team.world.status.rollout.phase == "RollingOut", "one of two groups was changed"
    team.edit(contextLength=384, **team.devices(count))
    assert "Done Serving" in await team.until("Done")
    assert team.least == 1


@pytest.mark.parametrize("strategy", ["auto", "surge", "drain"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("spare", [0, 2, 8])
async def test_no_edit_ends_with_fewer_groups(strategy: str, groups: int, *, devices: int, spare: int) -> None:
    """Held with every group untouched, or done; on the way only the groups are gone that a drain takes."""
    team = await begun(groups, 4 * groups + spare, strategy=strategy)
    team.edit(contextLength=448, **team.devices(devices))
    said = await team.until("Held", "Done")
    if said.startswith("Held"):
        assert team.untouched(), said
        assert "ResourceQuota team allows no more" in said
    else:
        assert "Done Serving" in said
        assert team.least >= groups - (strategy != "surge")
        assert team.least == groups or strategy == "drain" or (strategy == "auto" and groups > 1), said
    steps = range(1, groups + 1)
    if strategy == "surge":
        fits = all(2 * devices * step - 4 * (step - 1) <= spare for step in steps)
        assert said.startswith("Done") is fits, said
    if strategy == "drain":
        fits = all(2 * devices * step - 4 * step <= spare for step in steps)
        assert said.startswith("Done") is fits, said
