"""Stage 0 as the supervisor's loop sees it: it asks, hands the answers to ``policy``, and does what is decided."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from llama_serving.cell.policy import leader
from llama_serving.cell.policy.leader_memory import (
    Answers,
    Deployment,
    LeaderMemory,
    desired_checks,
    is_still_desired,
    needs_assets,
    needs_peers,
    observe,
)
from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.policy.state_machine import Action, CellFault, Decision, SupervisorMemory
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.shared.serve_config import serve_document
from llama_serving.cell.shared.weights_ref import desired_weights, engine_weights, is_staged
from llama_serving.cell.supervisor.adapters.client import AdapterApi
from llama_serving.cell.supervisor.adapters.keeper import AdapterKeeper
from llama_serving.cell.supervisor.measuring import measure_engine
from llama_serving.cell.supervisor.model_assets import read_assets
from llama_serving.cell.supervisor.peers import Peers
from llama_serving.cell.supervisor.ports import (
    ClusterApi,
    Control,
    Devices,
    EngineApi,
    FailureLog,
    RayControl,
    StageApi,
    Watch,
    WeightsFolder,
)
from llama_serving.cell.supervisor.role import Facts
from llama_serving.config.desired import DesiredState
from llama_serving.config.reasons import CellReason


class LeaderRole:
    """Runs the head of the cluster, the engine's routes, and the weight swaps."""

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
        devices: Devices,
        watch: Watch,
        adapters: AdapterApi,
        read_assets: Callable[[str], Mapping[str, str]] = read_assets,
    ) -> None:
        self._me = me
        self._ray = ray
        self._cluster = cluster
        self._engine = engine
        self._weights = weights
        self._control = control
        self._peers = Peers(me, stages)
        self._log = log
        self._devices = devices
        self._watch = watch
        self._read_assets = read_assets
        self._adapters = AdapterKeeper(me.config, api=adapters, engine=engine)
        self._memory = LeaderMemory()
        self._measuring: asyncio.Task[None] | None = None

    async def look(self, *, stopping: bool) -> leader.LeaderView:
        """Ask Ray, Serve and the replica at once; then, where it matters, the other stages and the model assets."""
        if self._measuring is not None and self._measuring.done():
            self._measuring.result()  # an error is part of a measurement; what is raised is a bug
        config, answers = self._me.config, await self._ask(stopping=stopping)
        adapters_need_stages = self._memory.answered and self._adapters.needs_stages(answers.desired)
        if needs_peers(self._memory, answers, config=config) or adapters_need_stages:
            own = StageView(desired="" if answers.desired is None else answers.desired.key, staging=answers.staging)
            answers = replace(answers, peers=await self._peers.look(own))
        if needs_assets(self._memory, answers, config=config):
            path = engine_weights(config, desired_weights(config, answers.desired)).path
            answers = replace(answers, assets=await asyncio.to_thread(self._read_assets, path))
        self._memory, view = observe(self._memory, answers, config=config)
        self._see_adapters(answers, view)
        return view

    def _see_adapters(self, answers: Answers, view: leader.LeaderView) -> None:
        """Let the engine get its adapters once its base is measured, beside what it serves."""
        settled = view.engine is not None and not view.engine.swapping and view.desired.measured
        act = view.answered and settled and not view.stopping
        self._adapters.see(answers.desired, answers.replica, answers.peers, act=act)

    async def _ask(self, *, stopping: bool) -> Answers:
        ray, desired = self._ray.view(), self._control.desired_state()
        nodes, app, replica, staging = await asyncio.gather(
            self._nodes(started=ray.started), self._app(), self._state(), asyncio.to_thread(self._control.staging)
        )
        return Answers(
            desired=desired,
            stopping=stopping,
            ray=ray,
            nodes=nodes,
            app=app,
            replica=replica,
            computing=self._watch.computing,
            staging=staging,
            weights_fault=None if ray.started else await self._weights_fault(desired),
            device_fault=await self._device_fault(started=ray.started, app=app),
            fingerprint=self._weights.fingerprint() if app is not None and app.refused else None,
        )

    async def _weights_fault(self, desired: DesiredState | None) -> CellFault | None:
        weights = desired_weights(self._me.config, desired)
        return None if is_staged(self._me.config, weights) else await self._weights.fault()

    async def _device_fault(self, *, started: bool, app: leader.AppView | None) -> CellFault | None:
        """Return what stands against the devices before Ray starts, and again once the engine has failed.

        Then they may be busy with what is left of that engine, which says nothing.
        """
        if not started:
            return await self._devices.fault()
        fault = await self._devices.fault() if app is not None and app.failed else None
        return None if fault is not None and fault.reason is CellReason.DEVICE_BUSY else fault

    async def _nodes(self, *, started: bool) -> Mapping[str, int] | None:
        return await self._cluster.nodes(self._me.ip) if started else None

    async def _app(self) -> leader.AppView | None:
        app = await self._cluster.app() if self._memory.deployment is not None else None
        if app is None or not app.failed or app.refused:
            return app
        cause = await asyncio.to_thread(self._log.root_cause)
        return replace(app, error=cause or app.error)

    async def _state(self) -> ReplicaState | None:
        if self._memory.deployment is None:
            return None
        return await self._engine.state() or self._watch.last_replica

    def decide(self, memory: SupervisorMemory, view: leader.LeaderView, *, now: float) -> Decision:
        """Apply the leader's table."""
        return leader.decide(memory, view, timeouts=self._me.config.timeouts, now=now)

    async def do(self, action: Action) -> None:
        """Carry out one action; one that failed is decided again after the next look."""
        match action:
            case Action.START_RAY:
                await self._ray.start(leader_ip=None)
            case Action.DEPLOY:
                await self._deploy()
            case Action.FIRST_TOKEN:
                answered = await self._engine.first_token()
                self._memory = replace(self._memory, answered=answered)
            case Action.SWAP:
                await self._swap()
            case Action.VERIFY:
                self._begin_to_measure()

    async def _deploy(self) -> None:
        """Let the engine begin with the desired weights: those of the config are not loaded first."""
        config = self._me.config
        weights = desired_weights(config, self._control.desired_state())
        loaded = engine_weights(config, weights)
        if not is_still_desired(self._memory, loaded):
            return
        fingerprint = self._weights.fingerprint()
        assets = await asyncio.to_thread(self._read_assets, loaded.path)
        config = config.model_copy(
            update={"weights": weights.model_copy(update={"served_name": config.weights.served_name})}
        )
        if await self._cluster.deploy(serve_document(config, loaded), loaded):
            self._memory = replace(self._memory, deployment=Deployment(config, fingerprint, assets), deployed=loaded)

    async def _swap(self) -> None:
        """Change only ``user_config``, so that Serve keeps the replica and calls its ``reconfigure``."""
        weights = engine_weights(self._me.config, desired_weights(self._me.config, self._control.desired_state()))
        deployment = self._memory.deployment
        if deployment is None or not is_still_desired(self._memory, weights):
            return
        if await self._cluster.deploy(serve_document(deployment.config, weights), weights):
            self._memory = replace(self._memory, deployed=weights)

    def _begin_to_measure(self) -> None:
        """Measure beside the loop: an engine that serves is watched meanwhile."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        verify = desired_checks(self._control.desired_state())
        measured = await measure_engine(self._engine, self._memory, config=self._me.config, verify=verify)
        if measured is not None:
            self._memory = replace(self._memory, measured=measured)

    def facts(self) -> Facts:
        """Return the engine's numbers."""
        return replace(leader_facts(self._memory), adapters=self._adapters.progress())

    async def stop(self) -> None:
        """End Ray and with it the engine."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
        await self._adapters.stop()
        await self._ray.stop()


def leader_facts(memory: LeaderMemory) -> Facts:
    """Return what the leader adds to the published state."""
    view, replica = memory.view, memory.replica
    cached = memory.measured.cached if memory.measured and view is not None and view.desired.measured else None
    weights = None if replica is None or not memory.answered else replica.weights
    return Facts(
        stages_joined=len((view.joined if view is not None else None) or ()),
        weights="" if weights is None else weights.id,
        answered=memory.answered,
        in_flight=None if replica is None else replica.in_flight,
        running=None if replica is None else replica.running,
        waiting=None if replica is None else replica.waiting,
        timings={} if replica is None else {f"replica_{step}": spent for step, spent in replica.timings.items()},
        staging=memory.staging,
        swap=None if replica is None else replica.swap,
        measurement=None if cached is None else cached.measurement,
        tokens_per_second=None if cached is None else round(cached.tokens_per_second, 2) or None,
    )
