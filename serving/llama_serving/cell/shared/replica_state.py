"""What the replica says of itself on ``GET /llama/state`` of the engine's port, to its own supervisor."""

from pydantic import Field

from llama_serving.cell.shared.adapters.engine_adapter import LoadedAdapter
from llama_serving.config.cell import Frozen, WeightsRef
from llama_serving.config.desired import SwapState


class RankReport(Frozen):
    """One rank of the engine: the layers ``[first, end)`` that it holds, where, and of which weights."""

    rank: int = Field(ge=0)
    host: str
    pid: int
    layers: tuple[int, int]
    digest: str = Field(default="", description="of the verified weights that it loaded; empty: nobody verified them")
    bytes: int = Field(default=0, ge=0, description="of tensors that it read in its last load; 0 after a start")
    error: str = Field(default="", description="why its last load failed, in one sentence")


class ReplicaState(Frozen):
    """State of the engine as its replica sees it."""

    deployment: str
    group: int
    pod_hash: str
    pid: int = Field(description="process of the replica: another one is another engine")
    served_name: str
    weights: WeightsRef | None = Field(description="what all stages hold; None after a failed weight swap")
    target: WeightsRef | None = Field(default=None, description="what the last weight swap was to")
    swap: SwapState | None = Field(default=None, description="the last weight swap")
    failures: int = Field(default=0, ge=0, description="weight swaps that failed in a row")
    unswappable: str = Field(
        default="", description="quantization method that keeps the weights from being swapped; empty: nothing does"
    )
    in_flight: int = Field(ge=0, description="OpenAI requests that have not ended")
    running: int | None = Field(default=None, ge=0, description="requests in the engine's batch; None when unknown")
    waiting: int | None = Field(default=None, ge=0, description="requests that the engine has not begun")
    unfinished: int = Field(default=0, ge=0, description="requests, the idle probe too, that the engine has not ended")
    engine_pid: int | None = Field(default=None, description="process of the engine core; None while it is not known")
    engine_seconds_ago: float = Field(ge=0, description="seconds since the engine core last answered the replica")
    stages: tuple[RankReport, ...] = ()
    timings: dict[str, float] = Field(default_factory=dict, description="seconds of the steps of the replica's start")
    adapters: tuple[LoadedAdapter, ...] = Field(default=(), description="LoRA adapters that all ranks hold")
