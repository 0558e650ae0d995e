"""Any stage but the first, as the supervisor's loop sees it."""

import asyncio

from llama_serving.cell.policy import worker
from llama_serving.cell.policy.state_machine import Action, CellFault, Decision, SupervisorMemory
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.shared.weights_ref import desired_weights, is_staged
from llama_serving.cell.supervisor.ports import (
    ClusterApi,
    Control,
    Devices,
    RayControl,
    StageApi,
    StageUnreachableError,
    WeightsFolder,
)
from llama_serving.cell.supervisor.role import Facts
from llama_serving.config.desired import StagingState
from llama_serving.config.state import Phase


class WorkerRole:
    """Joins the leader's cluster and leaves it with the leader."""

    def __init__(
        self,
        me: Identity,
        *,
        ray: RayControl,
        cluster: ClusterApi,
        stages: StageApi,
        weights: WeightsFolder,
        control: Control,
        devices: Devices,
    ) -> None:
        self._me = me
        self._ray = ray
        self._cluster = cluster
        self._stages = stages
        self._weights = weights
        self._control = control
        self._devices = devices
        self._staging: StagingState | None = None
        self._leader: worker.LeaderReport | None = None
        self._session: str | None = None
        self._joined = False

    async def look(self, *, stopping: bool) -> worker.WorkerView:
        """Ask the leader's supervisor, and its cluster until this stage is listed."""
        ray = self._ray.view()
        self._staging = await asyncio.to_thread(self._control.staging)
        self._leader, error = await self._ask_leader()
        if ray.started and not self._joined and self._leader is not None:
            nodes = await self._cluster.nodes(self._leader.ip) or {}
            self._joined = self._me.stage in nodes.values()
        return worker.WorkerView(
            leader_host=self._me.leader_host,
            stopping=stopping,
            weights_fault=None if ray.started else await self._weights_fault(),
            device_fault=None if ray.started else await self._devices.fault(),
            ray=ray,
            leader=self._leader,
            leader_error=error,
            session=self._session,
            joined=self._joined,
        )

    async def _weights_fault(self) -> CellFault | None:
        """Return what is wrong with weights that nobody stages; for staged ones the leader waits, when Ray is up."""
        weights = desired_weights(self._me.config, self._control.desired_state())
        return None if is_staged(self._me.config, weights) else await self._weights.fault()

    async def _ask_leader(self) -> tuple[worker.LeaderReport | None, str]:
        try:
            ip, state = await self._stages.state(self._me.leader_host)
        except StageUnreachableError as error:
            return None, str(error)
        report = worker.LeaderReport(ip=ip, phase=state.phase, session=state.session, in_flight=state.in_flight)
        return report, ""

    def decide(self, memory: SupervisorMemory, view: worker.WorkerView, *, now: float) -> Decision:
        """Apply the worker's table."""
        return worker.decide(memory, view, timeouts=self._me.config.timeouts, now=now)

    async def do(self, action: Action) -> None:
        """Join the leader that was just seen."""
        if action is Action.START_RAY and self._leader is not None:
            self._session = self._leader.session
            await self._ray.start(leader_ip=self._leader.ip)

    def facts(self) -> Facts:
        """Return what a worker knows of itself."""
        answered = self._joined and self._leader is not None and self._leader.phase is Phase.SERVING
        return Facts(stages_joined=int(self._joined), answered=answered, staging=self._staging)

    async def stop(self) -> None:
        """Leave the cluster."""
        await self._ray.stop()
