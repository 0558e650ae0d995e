"""Brings the adapters of an engine to the desired ones, beside the supervisor's loop: one step of ``policy`` at a time.

Before a load, and before the first golden prompt, the adapter is noted as one that ended its engine, and the note is
taken back when the engine has answered. So an engine that ends by it is counted, though its container may end too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from llama_serving.cell.policy import adapters as policy
from llama_serving.cell.policy.adapters import AdapterMemory, AdapterVerdict, AdapterView, DesiredAdapter
from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.shared.adapters.engine_adapter import EngineAdapter, base_key, engine_adapter
from llama_serving.cell.shared.adapters.room import capacity
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.supervisor.adapters.client import AdapterApi
from llama_serving.cell.supervisor.adapters.ends import EndsFile
from llama_serving.cell.supervisor.ports import EngineApi
from llama_serving.cell.supervisor.verification import EngineError, EngineUnderTest, golden_results
from llama_serving.config.cell import CellConfig
from llama_serving.config.desired import DesiredState, GoldenResult, WantedAdapter
from llama_serving.config.state import AdapterProgress

logger = logging.getLogger(__name__)

_LOOK: Final = 0.5  # seconds
_ALIVE: Final = 6  # looks after which an engine that is still there did not end
_SILENT: Final = 60  # looks after which a replica that does not answer did


class AdapterKeeper:
    """The leader's knowledge of its engine's adapters."""

    def __init__(
        self,
        config: CellConfig,
        *,
        api: AdapterApi,
        engine: EngineApi,
        ends: EndsFile | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._api = api
        self._engine = engine
        self._sleep = sleep
        self._ends = EndsFile() if ends is None else ends
        self._memory = AdapterMemory(ends=self._ends.read())
        self._view: AdapterView | None = None
        self._act = False  # whether steps are allowed now
        self._task: asyncio.Task[None] | None = None

    def needs_stages(self, desired: DesiredState | None) -> bool:
        """Return whether it matters how far the stages are with their files."""
        if not self._concerned(desired):
            return False
        found = {} if self._view is None else {item.adapter.key for item in self._view.loaded}
        return any(engine_adapter(wanted.adapter).key not in found for wanted in _wanted(desired))

    def _concerned(self, desired: DesiredState | None) -> bool:
        return bool(_wanted(desired)) or self._config.adapters is not None

    def see(
        self, desired: DesiredState | None, replica: ReplicaState | None, stages: Mapping[int, StageView], *, act: bool
    ) -> None:
        """Look at the engine; where ``act`` allows and nothing is under way, begin with the next step."""
        if self._task is not None and self._task.done():
            self._task.result()  # what a replica does not answer is expected; what is raised is a bug
        if not self._concerned(desired):
            return
        self._view = _view(self._config, _wanted(desired), replica=replica, stages=stages)
        self._memory = policy.pruned(self._memory, self._view) if replica is not None else self._memory
        self._act = act and self._config.adapters is not None and replica is not None and replica.weights is not None
        if self._act and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._work())

    def progress(self) -> tuple[AdapterProgress, ...]:
        """Return how far the group is with each desired adapter."""
        return () if self._view is None else policy.progress(self._view, self._memory)

    async def stop(self) -> None:
        """Begin nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        """Do step after step, each after another look at the engine, until there is none."""
        while self._act and self._view is not None:
            view = self._view
            step = policy.next_step(view, self._memory)
            if step is None or not await self._do(step, view):
                return
            now = await self._engine.state()
            if now is None or now.pid != view.engine or now.weights is None or base_key(now.weights) != view.base:
                return
            self._view = replace(self._view, loaded=now.adapters)

    async def _do(self, step: policy.AdapterStep, view: AdapterView) -> bool:
        """Do one step; return whether it is done, or else has to wait for another look."""
        try:
            match step:
                case policy.TellNames(table):
                    await self._api.tell(table)
                    self._memory = replace(self._memory, told=(view.engine, table))
                case policy.UnloadAdapter(adapter):
                    return not await self._api.unload(adapter)
                case policy.LoadAdapter(adapter):
                    await self._load(adapter, view)
                case policy.VerifyAdapter():
                    await self._verify(step, view)
        except EngineError as error:
            logger.warning("%s", error)
            return False
        return True

    async def _load(self, adapter: EngineAdapter, view: AdapterView) -> None:
        self._note(adapter)
        try:
            error = await self._api.load(adapter)
        except EngineError as failed:
            await self._raise_ended(adapter, view.engine)
            error = str(failed)
        self._memory = policy.after_load(self._memory, adapter, engine=view.engine, error=error)
        self._ends.write(self._memory.ends)

    async def _verify(self, step: policy.VerifyAdapter, view: AdapterView) -> None:
        self._note(step.adapter)
        verdict = AdapterVerdict(view.engine, view.base, step.golden, tries=step.tries)
        try:
            verdict = replace(verdict, results=await self._ask(step))
        except EngineError as failed:
            await self._raise_ended(step.adapter, view.engine)
            verdict = replace(verdict, error=str(failed))
        now = await self._engine.state()
        if now is not None and now.weights is not None and (now.pid, base_key(now.weights)) == (view.engine, view.base):
            self._memory = policy.after_verification(self._memory, step.adapter, verdict)
        self._ends.write(self._memory.ends)

    async def _ask(self, step: policy.VerifyAdapter) -> tuple[GoldenResult, ...]:
        """Ask the golden prompts of an adapter by its internal name; one token where there are none."""
        weights = self._config.weights.model_copy(update={"served_name": step.adapter.internal_name})
        subject = EngineUnderTest(weights=weights, context_length=self._config.context_length, stage_digests=())
        if not step.golden:
            body = {"model": step.adapter.internal_name, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
            await self._api.ask("/v1/completions", body)
        return await golden_results(self._api.ask, subject, step.golden)

    async def _raise_ended(self, adapter: EngineAdapter, engine: int) -> None:
        """Count an engine that is gone, and raise; one that merely did not answer stays.

        A replica notices within a second that its engine core ended, and ends.
        """
        for look in range(_SILENT):
            now = await self._engine.state()
            if now is not None and now.pid == engine and look >= _ALIVE:
                return
            if now is not None and now.pid != engine:
                break
            await self._sleep(_LOOK)
        self._memory = policy.after_end(self._memory, adapter)
        raise EngineError(f"the engine ended while it loaded or tried adapter {adapter.name}")

    def _note(self, adapter: EngineAdapter) -> None:
        """Note the adapter as one that ends its engine, should this process not live to see it."""
        self._ends.write(policy.after_end(self._memory, adapter).ends)


def _wanted(desired: DesiredState | None) -> tuple[WantedAdapter, ...]:
    return () if desired is None else desired.adapters


def _view(
    config: CellConfig,
    wanted: tuple[WantedAdapter, ...],
    *,
    replica: ReplicaState | None,
    stages: Mapping[int, StageView],
) -> AdapterView:
    weights = None if replica is None else replica.weights
    return AdapterView(
        desired=tuple(_desired(item, stages) for item in wanted),
        loaded=() if replica is None else replica.adapters,
        engine=0 if replica is None else replica.pid,
        base="" if weights is None else base_key(weights),
        limits=config.adapters,
        capacity=0 if config.adapters is None else capacity(config.adapters),
    )


def _desired(wanted: WantedAdapter, stages: Mapping[int, StageView]) -> DesiredAdapter:
    fault = policy.staging_fault(wanted.adapter.digest, stages) if stages else policy.NO_ENGINE
    return DesiredAdapter(
        adapter=engine_adapter(wanted.adapter),
        rank=wanted.adapter.rank,
        golden=wanted.golden,
        fault=fault,
    )
