"""Whole supervisors: with the real loop and role, fakes behind the ports, and a clock that a test turns."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from llama_serving.cell.ray.engine_cache import NO_CACHE, EngineCache
from llama_serving.cell.supervisor.leader import LeaderRole
from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.cell.supervisor.worker import WorkerRole
from llama_serving.config.state import CellState
from tests.unit.cell.fakes import (
    FakeAdapters,
    FakeClock,
    FakeCluster,
    FakeControl,
    FakeDevices,
    FakeEngine,
    FakeLog,
    FakeRay,
    FakeStages,
    FakeTransports,
    FakeWatch,
    FakeWeights,
    replica,
)
from tests.unit.cell.worlds import identity

BOTH = {"node-a": 0, "node-b": 1}


@dataclass
class Leader:
    """A leader of two stages and everything around it."""

    clock: FakeClock = field(default_factory=FakeClock)
    ray: FakeRay = field(default_factory=FakeRay)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    engine: FakeEngine = field(default_factory=FakeEngine)
    weights: FakeWeights = field(default_factory=FakeWeights)
    devices: FakeDevices = field(default_factory=FakeDevices)
    log: FakeLog = field(default_factory=FakeLog)
    control: FakeControl = field(default_factory=FakeControl)
    stages: FakeStages = field(default_factory=FakeStages)
    watch: FakeWatch = field(default_factory=FakeWatch)
    config: dict[str, Any] = field(default_factory=dict)
    assets: dict[str, dict[str, str]] = field(default_factory=dict)
    cache: EngineCache = NO_CACHE
    transports: FakeTransports | None = None

    def __post_init__(self) -> None:
        me = identity(**self.config)
        role = LeaderRole(
            me,
            ray=self.ray,
            cluster=self.cluster,
            engine=self.engine,
            weights=self.weights,
            control=self.control,
            stages=self.stages,
            log=self.log,
            devices=self.devices,
            watch=self.watch,
            adapters=FakeAdapters(),
            read_assets=lambda path: self.assets.get(path, {}),
        )
        self.role = role
        self.supervisor = Supervisor(
            me,
            role,
            control=self.control,
            watch=self.watch,
            clock=self.clock,
            period=0,
            cache=self.cache,
            connections=self.transports,
        )

    async def looks(self, number: int = 1) -> CellState:
        """So many turns of the loop, half a second apart; the state afterwards."""
        for _ in range(number):
            self.clock.now += 0.5
            assert await self.supervisor.step() is None, self.supervisor.state().message
            for _ in range(50):  # what runs beside the loop waits for nothing but its turn
                await asyncio.sleep(0)
        return self.supervisor.state()

    async def serving(self) -> "Leader":
        self.cluster.nodes_now = dict(BOTH)
        self.engine.state_now = replica()
        assert (await self.looks(6)).ready
        return self


@dataclass
class Worker:
    clock: FakeClock = field(default_factory=FakeClock)
    ray: FakeRay = field(default_factory=FakeRay)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    stages: FakeStages = field(default_factory=FakeStages)
    watch: FakeWatch = field(default_factory=FakeWatch)
    weights: FakeWeights = field(default_factory=FakeWeights)
    devices: FakeDevices = field(default_factory=FakeDevices)
    control: FakeControl = field(default_factory=FakeControl)
    config: dict[str, Any] = field(default_factory=dict)
    cache: EngineCache = NO_CACHE

    def __post_init__(self) -> None:
        me = identity(1, **self.config)
        role = WorkerRole(
            me,
            ray=self.ray,
            cluster=self.cluster,
            stages=self.stages,
            weights=self.weights,
            control=self.control,
            devices=self.devices,
        )
        self.role = role
        self.supervisor = Supervisor(
            me, role, control=self.control, watch=self.watch, clock=self.clock, period=0, cache=self.cache
        )

    async def looks(self, number: int = 1) -> CellState:
        """So many turns of the loop, half a second apart; the state afterwards."""
        for _ in range(number):
            self.clock.now += 0.5
            assert await self.supervisor.step() is None, self.supervisor.state().message
        return self.supervisor.state()
