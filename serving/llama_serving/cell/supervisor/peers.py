"""What the other supervisors of a group say of their desired state and their staged weights, to its leader."""

import asyncio

from llama_serving.cell.policy.staging import StageView
from llama_serving.cell.shared.identity import Identity
from llama_serving.cell.supervisor.ports import StageApi, StageUnreachableError


class Peers:
    """The other stages of a group."""

    def __init__(self, me: Identity, stages: StageApi) -> None:
        self._hosts = dict(enumerate(me.config.stage_hosts))
        self._own = me.stage
        self._stages = stages

    async def look(self, own: StageView) -> dict[int, StageView]:
        """Return the view of every stage, with the leader's own."""
        others = [stage for stage in self._hosts if stage != self._own]
        views = await asyncio.gather(*(self._one(stage) for stage in others))
        return {self._own: own, **dict(zip(others, views, strict=True))}

    async def _one(self, stage: int) -> StageView:
        try:
            _, state = await self._stages.state(self._hosts[stage])
        except StageUnreachableError as error:
            return StageView(error=str(error))
        return StageView(desired=state.desired, staging=state.staging)
