"""Leader and worker as the supervisor's loop sees them: look, decide, do."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from llama_serving.cell import leader, worker
from llama_serving.cell.identity import Identity
from llama_serving.cell.machine import Decision, Do, Memory
from llama_serving.cell.ports import (
    Clock,
    ClusterApi,
    EngineApi,
    FailureLog,
    RayControl,
    StageApi,
    StageUnreachableError,
    WeightsFolder,
)
from llama_serving.cell.replica_state import ReplicaState
from llama_serving.cell.serve_app import serve_document


@dataclass(frozen=True)
class Facts:
    """What a role adds to the state that the supervisor publishes."""

    stages_joined: int = 0
    weights: str = ""
    in_flight: int | None = None
    timings: dict[str, float] = field(default_factory=dict)


class Role(Protocol):
    """One of the two kinds of stage."""

    async def look(self, *, stopping: bool) -> Any:
        """See everything that matters."""

    def decide(self, memory: Memory, view: Any, *, now: float) -> Decision:
        """What follows from it."""

    async def do(self, action: Do) -> None:
        """Carry out one action."""

    def facts(self) -> Facts:
        """For the published state."""

    async def stop(self) -> None:
        """End what this pod runs."""


class LeaderRole:
    """Stage 0."""

    def __init__(
        self,
        me: Identity,
        *,
        ray: RayControl,
        cluster: ClusterApi,
        engine: EngineApi,
        weights: WeightsFolder,
        log: FailureLog,
    ) -> None:
        self._me = me
        self._ray = ray
        self._cluster = cluster
        self._engine = engine
        self._weights = weights
        self._log = log
        self._files: object = None  # fingerprint of the model's files at the deployment
        self._deployed = False
        self._answered = False
        self._view: leader.LeaderView | None = None
        self._home: tuple[int, Mapping[str, int]] | None = None  # process of the replica, nodes that it was started on
        self._replica: ReplicaState | None = None

    async def look(self, *, stopping: bool) -> leader.LeaderView:
        """Ask Ray, Serve and the replica, side by side."""
        ray = self._ray.view()
        nodes, app, replica = await asyncio.gather(self._nodes(ray.started), self._app(), self._state())
        self._replica = replica
        self._view = leader.LeaderView(
            stages=self._me.stages,
            stopping=stopping,
            weights=None if ray.started else await self._weights.fault(),
            ray=ray,
            joined=None if nodes is None else frozenset(nodes.values()),
            deployed=self._deployed,
            app=app,
            engine=None if replica is None else _engine_view(replica),
            answered=self._answered,
            intact=self._is_intact(nodes),
            files_changed=app is not None and app.refused and self._weights.fingerprint() != self._files,
        )
        return self._view

    def _is_intact(self, nodes: Mapping[str, int] | None) -> bool:
        """A stage that left, or came back as another node, is not in the pipeline of a replica from before."""
        if self._replica is None or nodes is None:
            return True
        if self._home is None or self._home[0] != self._replica.pid:
            self._home = (self._replica.pid, nodes)
        return self._home[1] == nodes

    async def _nodes(self, started: bool) -> Mapping[str, int] | None:
        return await self._cluster.nodes(self._me.ip) if started else None

    async def _app(self) -> leader.AppView | None:
        app = await self._cluster.app() if self._deployed else None
        if app is None or not app.failed or app.refused:
            return app
        cause = await asyncio.to_thread(self._log.root_cause)
        return replace(app, error=cause or app.error)

    async def _state(self) -> ReplicaState | None:
        return await self._engine.state() if self._deployed else None

    def decide(self, memory: Memory, view: leader.LeaderView, *, now: float) -> Decision:
        """The leader's table."""
        return leader.decide(memory, view, timeouts=self._me.config.timeouts, now=now)

    async def do(self, action: Do) -> None:
        """Carry out one action; one that failed is decided again after the next look."""
        match action:
            case Do.START_RAY:
                await self._ray.start(leader_ip=None)
            case Do.DEPLOY:
                self._files = self._weights.fingerprint()
                self._deployed = await self._cluster.deploy(serve_document(self._me.config))
            case Do.FIRST_TOKEN:
                self._answered = await self._engine.first_token()

    def facts(self) -> Facts:
        """The engine's numbers."""
        joined = self._view.joined if self._view is not None else None
        replica = self._replica
        return Facts(
            stages_joined=len(joined or ()),
            weights=replica.weights if replica is not None and self._answered else "",
            in_flight=None if replica is None else replica.in_flight,
            timings={} if replica is None else {f"replica_{step}": spent for step, spent in replica.timings.items()},
        )

    async def stop(self) -> None:
        """End Ray and with it the engine."""
        await self._ray.stop()


def _engine_view(replica: ReplicaState) -> leader.EngineView:
    return leader.EngineView(
        weights=replica.weights, in_flight=replica.in_flight, seconds_ago=replica.engine_seconds_ago
    )


class WorkerRole:
    """Any other stage."""

    def __init__(
        self,
        me: Identity,
        *,
        ray: RayControl,
        cluster: ClusterApi,
        stages: StageApi,
        weights: WeightsFolder,
        clock: Clock,
    ) -> None:
        self._me = me
        self._ray = ray
        self._cluster = cluster
        self._stages = stages
        self._weights = weights
        self._clock = clock
        self._leader: worker.LeaderReport | None = None
        self._session: float | None = None
        self._joined = False

    async def look(self, *, stopping: bool) -> worker.WorkerView:
        """Ask the leader's supervisor, and its cluster until this stage is listed."""
        ray = self._ray.view()
        weights = None if ray.started else await self._weights.fault()
        self._leader, error = await self._ask_leader()
        if ray.started and not self._joined and self._leader is not None:
            nodes = await self._cluster.nodes(self._leader.ip) or {}
            self._joined = self._me.stage in nodes.values()
        return worker.WorkerView(
            leader_host=self._me.leader_host,
            stopping=stopping,
            weights=weights,
            ray=ray,
            leader=self._leader,
            leader_error=error,
            session=self._session,
            joined=self._joined,
        )

    async def _ask_leader(self) -> tuple[worker.LeaderReport | None, str]:
        try:
            ip, state = await self._stages.state(self._me.leader_host)
        except StageUnreachableError as error:
            return None, str(error)
        started = self._clock() - state.uptime_seconds
        report = worker.LeaderReport(ip=ip, phase=state.phase, started=started, in_flight=state.in_flight)
        return report, ""

    def decide(self, memory: Memory, view: worker.WorkerView, *, now: float) -> Decision:
        """The worker's table."""
        return worker.decide(memory, view, timeouts=self._me.config.timeouts, now=now)

    async def do(self, action: Do) -> None:
        """Join the leader that was just seen."""
        if action is Do.START_RAY and self._leader is not None:
            self._session = self._leader.started
            await self._ray.start(leader_ip=self._leader.ip)

    def facts(self) -> Facts:
        """A worker knows of itself only."""
        return Facts(stages_joined=int(self._joined))

    async def stop(self) -> None:
        """Leave the cluster."""
        await self._ray.stop()
