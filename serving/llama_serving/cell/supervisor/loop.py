"""The loop of a stage: look, decide, do, publish.

The state is published from the first moment and on every request anew, so that its seconds are true.
"""

import asyncio
import contextlib
import logging
import secrets
from dataclasses import replace
from typing import Final

from llama_serving.cell.policy.state_machine import Action, Status, SupervisorMemory, initial_memory
from llama_serving.cell.ray.engine_cache import NO_CACHE, EngineCache
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.supervisor.ports import Clock, Control, TransportLog, Watch
from llama_serving.cell.supervisor.role import Role
from llama_serving.config.desired import DesiredState
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import CellState, Hang, Phase

logger = logging.getLogger(__name__)

PERIOD: Final = 0.5  # seconds between two looks
STUCK: Final = 30.0  # seconds without a finished look after which the loop counts as dead; above every call's deadline


class Supervisor:
    """Runs one role to its end."""

    def __init__(
        self,
        me: Identity,
        role: Role,
        *,
        control: Control,
        watch: Watch,
        clock: Clock,
        period: float = PERIOD,
        cache: EngineCache = NO_CACHE,
        connections: TransportLog | None = None,
    ) -> None:
        self._me = me
        self._role = role
        self._control = control
        self._watch = watch
        self._watching: asyncio.Task[None] | None = None
        self._connections = connections
        self._transports: tuple[str, ...] = ()
        self._clock = clock
        self._period = period
        self._cache = cache
        self._answered = False
        self._session = secrets.token_hex(8)
        self._memory: SupervisorMemory = initial_memory(clock())
        self._looked = clock()
        self._busy = False
        self._stopping = False
        self._woken = asyncio.Event()

    def request_stop(self) -> None:
        """SIGTERM: no new requests, those in flight end."""
        self._stopping = True
        self._woken.set()

    async def store_desired(self, desired: DesiredState, *, signed: bytes = b"") -> None:
        """Store the operator's desired state and look at it soon. Raises OSError when it cannot be written.

        ``signed``: as ``ControlDir.store``.
        """
        await asyncio.to_thread(lambda: self._control.store(desired, signed=signed))
        self._woken.set()

    async def run(self) -> int:
        """Run until the role ends; return the exit code of the process."""
        self._watching = asyncio.create_task(self._watch.run())
        try:
            while (code := await self.step()) is None:
                await self._pause()
        finally:
            self._watching.cancel()
            await self._role.stop()
        logger.info("ending with exit code %d: %s", code, self._memory.status.message)
        return code

    async def _pause(self) -> None:
        """Wait a period, or less when something is asked for meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), self._period)
        self._woken.clear()

    async def step(self) -> int | None:
        """Look, decide and do once; return the exit code where the role has ended."""
        if self._watching is not None and self._watching.done():
            self._watching.result()  # it never ends by itself: what is raised is a bug
        view = await self._role.look(stopping=self._stopping)
        if self._connections is not None:
            self._transports = await asyncio.to_thread(self._connections.transports)
        before = self._memory.status
        decision = self._role.decide(self._memory, view, now=self._clock())
        self._memory = decision.memory
        self._looked = self._clock()
        _log_change(before, self._memory.status)
        self._note_answer()
        if decision.exit_code is None and (why := self._watch.gives_up):
            self._memory = replace(self._memory, status=replace(self._memory.status, message=why, ready=False))
            return 1
        if decision.exit_code is None:
            await self._act(decision.actions)
        return decision.exit_code

    def _note_answer(self) -> None:
        """Confirm the engine's cache once the engine has answered."""
        if not self._answered and self._role.facts().answered:
            self._answered = True
            self._cache.confirm()

    async def _act(self, actions: tuple[Action, ...]) -> None:
        self._busy = True
        try:
            for action in actions:
                await self._role.do(action)
        finally:
            self._busy = False
            self._looked = self._clock()

    def is_live(self) -> bool:
        """Return whether loop and watch turn; an action has a deadline of its own."""
        return self._watch.age < STUCK and (self._busy or self._clock() - self._looked < STUCK)

    def is_ready(self) -> bool:
        """Return whether the engine answered within the last seconds (leader), or the stage has joined (worker)."""
        return self._memory.status.ready and not self._stopping and self._watch.outage is None

    def state(self) -> CellState:
        """Return what the operator and the other stages read."""
        now = self._clock()
        status = _with_cause(self._memory.status, self._watch.outage)
        facts, desired = self._role.facts(), self._control.desired_state()
        return CellState(
            deployment=self._me.config.deployment,
            group=self._me.config.group,
            stage=self._me.stage,
            pod_hash=self._me.config.pod_hash,
            weights=facts.weights,
            phase=status.phase,
            reason=status.reason,
            message=status.message,
            phase_seconds=round(now - self._memory.since, 1),
            uptime_seconds=round(now - self._memory.started, 3),
            session=self._session,
            timings=self._memory.timings() | facts.timings,
            stages_joined=facts.stages_joined,
            stages_total=self._me.stages,
            in_flight=facts.in_flight,
            running=facts.running,
            waiting=facts.waiting,
            ready=self.is_ready(),
            desired="" if desired is None else desired.key,
            staging=facts.staging if self._me.config.staged else None,
            swap=facts.swap,
            measurement=facts.measurement,
            adapters=facts.adapters,
            cache_fault=self._cache.fault,
            tokens_per_second=facts.tokens_per_second,
            work_due=self._watch.work_due,
            ranks=self._watch.ranks,
            hang=self._watch.hang,
            transports=self._transports,
            fabric=self._me.config.fabric,
        )


def _with_cause(status: Status, hang: Hang | None) -> Status:
    """Name the process that hangs, and then how far the repair is."""
    if hang is None or status.phase is Phase.DRAINING:
        return status
    message = hang.message
    if not status.ready:
        message = status.message if status.message.startswith(message) else f"{message}; {status.message}"
    return replace(status, reason=CellReason.ENGINE_HUNG, message=message, ready=False)


def _log_change(before: Status, after: Status) -> None:
    if (before.phase, before.reason, before.ready) != (after.phase, after.reason, after.ready):
        logger.info("%s (%s): %s", after.phase.value, after.reason.value, after.message)
