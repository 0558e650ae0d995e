"""Takes the measurement of the engine that a leader has in sight."""

import time

from llama_serving.cell.policy.leader_memory import LeaderMemory, current_measurement
from llama_serving.cell.policy.measurement import MeasuredEngine, is_same_engine, next_measurement, reusable
from llama_serving.cell.supervisor.ports import EngineApi
from llama_serving.cell.supervisor.verification import EngineUnderTest, measure, stage_digests
from llama_serving.config.cell import CellConfig
from llama_serving.config.desired import Verify


async def measure_engine(
    engine: EngineApi, memory: LeaderMemory, *, config: CellConfig, verify: Verify
) -> MeasuredEngine | None:
    """Measure the engine of the last look; None where another engine, or other weights, may have answered a part."""
    replica = memory.replica
    if replica is None or replica.weights is None:
        return None
    last = current_measurement(memory)
    subject = EngineUnderTest(
        weights=replica.weights,
        context_length=config.context_length,
        stage_digests=stage_digests([report.digest for report in replica.stages], tensor=config.layout.tensor),
    )
    taken = await measure(engine.ask, subject, verify, before=reusable(last), clock=time.monotonic)
    if not is_same_engine(replica, await engine.state()):
        return None
    return next_measurement(last, MeasuredEngine(replica.pid, replica.weights, taken))
