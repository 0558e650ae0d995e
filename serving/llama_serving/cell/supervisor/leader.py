"""Stage 0 as the supervisor's loop sees it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from llama_serving.cell.policy import leader
from llama_serving.cell.policy.staging import StageView, group_fault, wish_fault
from llama_serving.cell.policy.state_machine import Decision, Do, Fault, Memory
from llama_serving.cell.policy.weight_swap import Asked, EngineView
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.replica_state import EngineWeights, ReplicaState
from llama_serving.cell.shared.serve_config import serve_document
from llama_serving.cell.shared.weights_ref import Load, is_staged, load_of, wanted_weights
from llama_serving.cell.supervisor.model_assets import difference, read_kit
from llama_serving.cell.supervisor.peers import StageViews
from llama_serving.cell.supervisor.ports import (
    ClusterApi,
    Control,
    EngineApi,
    FailureLog,
    RayControl,
    StageApi,
    WeightsFolder,
)
from llama_serving.cell.supervisor.role import Facts
from llama_serving.cell.supervisor.verification import Finding, Subject, measure, stage_digests
from llama_serving.config.cell import CellConfig
from llama_serving.config.desired import DesiredState, StagingState, Verify

TRIES: Final = 3  # an engine that does not answer a question is asked again before that is its verdict


@dataclass(frozen=True)
class Measured:
    """What was found, of which engine, and how often it was asked in vain before."""

    pid: int
    load: Load
    finding: Finding
    tries: int = 1

    @property
    def stands(self) -> bool:
        """An error stands when it came again and again."""
        return not self.finding.verdict.error or self.tries >= TRIES


class LeaderRole:
    """Runs the head of the cluster, the engine's routes, and the exchange of weights."""

    def __init__(
        self,
        me: Identity,
        *,
        ray: RayControl,
        cluster: ClusterApi,
        engine: EngineApi,
        weights: WeightsFolder,
        control: Control,
        stages: StageApi,
        log: FailureLog,
        read_kit: Callable[[str], Mapping[str, str]] = read_kit,
    ) -> None:
        self._me = me
        self._ray = ray
        self._cluster = cluster
        self._engine = engine
        self._weights = weights
        self._control = control
        self._stages = StageViews(me, stages)
        self._log = log
        self._read_kit = read_kit
        self._kit: Mapping[str, str] = {}  # of the weights that the engine began with
        self._differs: tuple[Load, str] | None = None  # the answer for the weights that were asked about last
        self._files: object = None  # fingerprint of the model's files at the deployment
        self._config: CellConfig | None = None  # what Serve was given; its arguments never change while Ray lives
        self._requested: Load | None = None
        self._answered = False
        self._measured: Measured | None = None
        self._asking: asyncio.Task[None] | None = None
        self._staging: StagingState | None = None
        self._view: leader.LeaderView | None = None
        self._home: tuple[int, Mapping[str, int]] | None = None  # process of the replica, nodes that it was started on
        self._replica: ReplicaState | None = None

    @property
    def _deployed(self) -> bool:
        return self._config is not None

    async def look(self, *, stopping: bool) -> leader.LeaderView:
        """Ask Ray, Serve, the replica and, where it matters, the other stages, side by side."""
        if self._asking is not None and self._asking.done():
            self._asking.result()  # an error is part of a verdict; what is raised is a bug
        ray, wish = self._ray.view(), self._control.wish()
        nodes, app, replica, self._staging = await asyncio.gather(
            self._nodes(ray.started), self._app(), self._state(), asyncio.to_thread(self._control.staging)
        )
        self._replica = replica
        engine = None if replica is None else _engine_view(replica)
        joined = None if nodes is None else frozenset(nodes.values())
        asked = await self._asked(wish, engine, complete=joined is not None and len(joined) == self._me.stages)
        self._view = leader.LeaderView(
            stages=self._me.stages,
            asked=asked,
            stopping=stopping,
            weights=None if ray.started else await self._fault(wish),
            ray=ray,
            joined=joined,
            deployed=self._deployed,
            app=app,
            engine=engine,
            answered=self._answered,
            intact=self._is_intact(nodes),
            files_changed=app is not None and app.refused and self._is_other(asked.wanted),
        )
        return self._view

    async def _fault(self, wish: DesiredState | None) -> Fault | None:
        wanted = wanted_weights(self._me.config, wish)
        return None if is_staged(self._me.config, wanted) else await self._weights.fault()

    async def _asked(self, wish: DesiredState | None, engine: EngineView | None, *, complete: bool) -> Asked:
        weights = wanted_weights(self._me.config, wish)
        wanted = load_of(self._me.config, weights)
        there = engine is not None and engine.load == wanted
        matters = not there and (complete or self._deployed)  # before, the leader has nothing to do with weights yet
        staged = is_staged(self._me.config, weights)
        staging = await self._keeps_waiting(wish, wanted, staged=staged) if matters else None
        differs = await self._difference(wanted) if self._deployed and matters and staging is None else ""
        current = self._current(engine)
        return Asked(
            wanted=wanted,
            staging=staging,
            requested=self._requested,
            verified=current is not None and current.stands,
            proven=current is not None and current.stands and current.finding.verify == _verify(wish),
            differs=differs,
        )

    async def _difference(self, wanted: Load) -> str:
        """What besides tensors is another in ``wanted``; looked at once."""
        if self._differs is None or self._differs[0] != wanted:
            self._differs = wanted, difference(self._kit, await asyncio.to_thread(self._read_kit, wanted.path))
        return self._differs[1]

    async def _keeps_waiting(self, wish: DesiredState | None, wanted: Load, *, staged: bool) -> Fault | None:
        """What keeps ``wanted`` from being loaded. At a start the leader's own wish is enough."""
        if not staged and not self._deployed:
            return None
        views = await self._stages.look(StageView(wish="" if wish is None else wish.key, staging=self._staging))
        agreed = wish_fault(views) if self._deployed else None
        return agreed or (group_fault(wanted, views) if staged else None)

    def _current(self, engine: EngineView | None) -> Measured | None:
        """What was measured of the weights that this engine has now."""
        measured, replica = self._measured, self._replica
        if measured is None or engine is None or replica is None:
            return None
        return measured if (measured.pid, measured.load) == (replica.pid, engine.load) else None

    def _is_other(self, wanted: Load) -> bool:
        """A refused model is tried again when its files are others, or other weights are wished."""
        return self._requested != wanted or self._weights.fingerprint() != self._files

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
                await self._deploy()
            case Do.FIRST_TOKEN:
                self._answered = await self._engine.first_token()
            case Do.SWAP:
                await self._swap()
            case Do.VERIFY:
                self._begin_to_measure()

    async def _deploy(self) -> None:
        """The engine begins with the wished weights: those of the config are not loaded first."""
        weights = wanted_weights(self._me.config, self._control.wish())
        load = load_of(self._me.config, weights)
        if not self._is_decided(load):
            return
        self._files = self._weights.fingerprint()
        self._kit = await asyncio.to_thread(self._read_kit, load.path)
        config = self._me.config.model_copy(
            update={"weights": weights.model_copy(update={"served_name": self._me.config.weights.served_name})}
        )
        if await self._cluster.deploy(serve_document(config, load), load):
            self._config, self._requested = config, load

    async def _swap(self) -> None:
        """Only ``user_config`` changes, so Serve keeps the replica and calls its ``reconfigure``."""
        load = load_of(self._me.config, wanted_weights(self._me.config, self._control.wish()))
        if self._config is None or not self._is_decided(load):
            return
        if await self._cluster.deploy(serve_document(self._config, load), load):
            self._requested = load

    def _is_decided(self, load: Load) -> bool:
        """A wish that came after the last look is decided after the next one: its weights may not be ready."""
        return self._view is not None and self._view.asked.wanted == load

    def _begin_to_measure(self) -> None:
        """Beside the loop: an engine that serves is watched meanwhile."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        replica = self._replica
        if replica is None or replica.weights is None:
            return
        load, verify = _load(replica.weights), _verify(self._control.wish())
        subject = Subject(
            load=load,
            served_name=self._me.config.weights.served_name,
            context_length=self._me.config.context_length,
            stage_digests=stage_digests(
                [report.digest for report in replica.stages], tensor=self._me.config.layout.tensor
            ),
        )
        last = self._current(_engine_view(replica))
        before = None if last is None or last.finding.verdict.error else last.finding
        finding = await measure(self._engine.ask, subject, verify, before=before, clock=time.monotonic)
        again = last is not None and last.finding.verify == verify
        after = await self._engine.state()
        if after is None or (after.pid, after.weights, after.swap) != (replica.pid, replica.weights, replica.swap):
            return  # another engine, or other weights, may have answered a part of it
        self._measured = Measured(replica.pid, load, finding, tries=last.tries + 1 if again and last else 1)

    def facts(self) -> Facts:
        """The engine's numbers."""
        view, replica = self._view, self._replica
        measured = self._measured if view is not None and view.asked.verified else None
        engine = view.engine if view is not None else None
        return Facts(
            stages_joined=len((view.joined if view is not None else None) or ()),
            weights=engine.load.id if engine is not None and engine.load is not None and self._answered else "",
            in_flight=None if replica is None else replica.in_flight,
            running=None if replica is None else replica.running,
            waiting=None if replica is None else replica.waiting,
            timings={} if replica is None else {f"replica_{step}": spent for step, spent in replica.timings.items()},
            staging=self._staging,
            swap=None if replica is None else replica.swap,
            verdict=None if measured is None else measured.finding.verdict,
            tokens_per_second=None if measured is None else round(measured.finding.tokens_per_second, 2) or None,
        )

    async def stop(self) -> None:
        """End Ray and with it the engine."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._ray.stop()


def _engine_view(replica: ReplicaState) -> EngineView:
    return EngineView(
        in_flight=replica.in_flight,
        seconds_ago=replica.engine_seconds_ago,
        load=None if replica.weights is None else _load(replica.weights),
        target=None if replica.target is None else _load(replica.target),
        swap=replica.swap,
        failures=replica.failures,
    )


def _load(weights: EngineWeights) -> Load:
    return Load(**weights.model_dump())


def _verify(wish: DesiredState | None) -> Verify:
    return Verify() if wish is None else wish.verify
