"""A stage in an image for other devices says so from its first look on, starts nothing, and ends with its pod only."""

from llama_serving.cell.supervisor.loop import Supervisor
from llama_serving.cell.supervisor.refused import RefusedRole
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import Phase
from tests.unit.cell.fakes import FakeControl, FakeWatch
from tests.unit.cell.worlds import identity


async def test_it_says_why_and_never_ends_by_itself() -> None:
    now = [0.0]
    me, control, watch = identity(device="gpu"), FakeControl(), FakeWatch()
    supervisor = Supervisor(me, RefusedRole("why"), control=control, watch=watch, clock=lambda: now[0])
    for _ in range(500):
        assert await supervisor.step() is None
        now[0] += 10
    state = supervisor.state()
    assert (state.phase, state.reason, state.message) == (Phase.FAILED, CellReason.IMAGE_REFUSED, "why")
    assert state.phase_seconds == 5000
    assert supervisor.is_live()
    assert not supervisor.is_ready()
    supervisor.request_stop()
    assert await supervisor.step() == 0
