"""What the replica says of itself on ``GET /llama/state`` of the engine's port, to its own supervisor."""

from pydantic import Field

from llama_serving.config.cell import Frozen


class StageLayers(Frozen):
    """One rank of the engine: the layers ``[first, end)`` that it holds, and where."""

    rank: int = Field(ge=0)
    host: str
    pid: int
    layers: tuple[int, int]


class ReplicaState(Frozen):
    """State of the engine as its replica sees it."""

    deployment: str
    group: int
    revision: str
    pid: int = Field(description="process of the replica: another one is another engine")
    served_name: str
    weights: str = Field(description="id of the weights that the engine answers with")
    swapping: bool = Field(description="weights are being exchanged: requests wait")
    in_flight: int = Field(ge=0, description="OpenAI requests that have not ended")
    engine_seconds_ago: float = Field(ge=0, description="seconds since the engine core last answered the replica")
    stages: tuple[StageLayers, ...] = ()
    timings: dict[str, float] = Field(default_factory=dict, description="seconds of the steps of the replica's start")
