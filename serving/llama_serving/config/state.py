"""What a stage says of itself on ``GET :8080/llama/state``, from its first second on. Read by the operator."""

from enum import StrEnum
from typing import Final

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen
from llama_serving.config.desired import GoldenResult, Measurement, StagingState, SwapState
from llama_serving.config.reasons import CellReason

#: What NCCL takes between nodes where it finds nothing faster: TCP.
NCCL_SOCKET: Final = "NET/Socket"


class Phase(StrEnum):
    """Where the start of a stage stands. A leader passes all of them; a worker STARTING, JOINING, SERVING."""

    STARTING = "starting"  # Ray comes up
    JOINING = "joining"  # leader: waits for the other stages; worker: waits for the leader
    LOADING = "loading"  # leader: the app is deployed, the engine starts and loads weights
    SERVING = "serving"  # leader: the engine has answered; worker: it is part of the leader's cluster
    FAILED = "failed"  # will not get better without a change of spec, weights or node; the reason says why
    DRAINING = "draining"  # SIGTERM: no new requests, those in flight end


class RankProgress(Frozen):
    """What one rank of a stage did last, as its supervisor sees it. Counters begin with each engine."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rank: int = Field(ge=0)
    pid: int = Field(description="in its pod")
    step: int = Field(default=0, ge=0, description="steps of the model that it has begun")
    begun: int = Field(
        default=0, ge=0, description="calls of the engine that it has begun; ranks can be compared by it"
    )
    ended: int = Field(default=0, ge=0, description="calls of the engine that it has ended")
    doing: str = Field(default="", description="the call that it is in, or was in last")
    seconds_ago: float = Field(default=0, ge=0, description="since it last began or ended a call")
    longest_seconds: float = Field(default=0, ge=0, description="the longest call so far, loads left out")
    quiet_seconds: float = Field(
        default=0, ge=0, description="for how long it was watched without a call, computing or waiting for a core"
    )


class Hang(Frozen):
    """A process that does nothing although it should."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: int = Field(ge=0)
    process: str = Field(description="in words: rank 3, the engine core")
    pid: int = Field(description="in the pod of its stage")
    message: str = Field(description="one clause with numbers: what it did last, and since when it does nothing")
    outage: bool = Field(default=True, description="false: the engine serves without it")


class AdapterOutcome(StrEnum):
    """How far a group is with one LoRA adapter."""

    STAGING = "staging"  # its files do not lie ready on all stages
    LOADING = "loading"  # on the ranks
    VERIFYING = "verifying"  # its golden prompts are asked
    READY = "ready"  # the group answers with it
    REFUSED = "refused"  # not before its bytes, its prompts, the base or the engine is another


class AdapterProgress(Frozen):
    """How far a group is with one LoRA adapter: its leader speaks for all stages."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    digest: str
    outcome: str = Field(description="AdapterOutcome; a newer cell may know others")
    reason: str = Field(default="", description="machine word of a refusal or a wait")
    message: str = Field(default="", description="one sentence with numbers")
    golden: tuple[GoldenResult, ...] = ()
    base: str = Field(default="", description="digest of the base on which it was verified; empty before that")


class CellState(Frozen):
    """State of one stage; the leader's speaks for its group. A newer cell may say more than its reader knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    deployment: str
    group: int
    stage: int
    pod_hash: str
    weights: str = Field(description="id of the weights that the engine answers with; empty before it does")
    phase: Phase
    reason: CellReason
    message: str = Field(description="one sentence with numbers")
    phase_seconds: float = Field(ge=0, description="seconds in this phase so far")
    uptime_seconds: float = Field(ge=0, description="seconds since this container's supervisor started")
    session: str = Field(
        default="", description="random word of this start of the supervisor: another one, another start"
    )
    timings: dict[str, float] = Field(default_factory=dict, description="seconds that each finished step took")
    stages_joined: int = Field(default=0, ge=0)
    stages_total: int = Field(default=0, ge=0)
    in_flight: int | None = Field(default=None, description="requests in the engine; None when unknown")
    running: int | None = Field(default=None, description="leader: requests in the engine's batch; None when unknown")
    waiting: int | None = Field(default=None, description="leader: requests that the engine has not begun")
    ready: bool = Field(default=False, description="leader: the engine answered within the last seconds")
    desired: str = Field(
        default="", description="key of the desired state that this stage holds; empty: it has only its config"
    )
    staging: StagingState | None = Field(default=None, description="what lies in the pod; None: no stager runs in it")
    swap: SwapState | None = Field(default=None, description="leader: the last weight swap")
    measurement: Measurement | None = Field(default=None, description="leader: of the weights that the engine now has")
    adapters: tuple[AdapterProgress, ...] = Field(default=(), description="leader: the adapters that are desired")
    cache_fault: str = Field(
        default="", description="why the engine's caches do not lie where engine.cache says; empty: they do, or none is"
    )
    tokens_per_second: float | None = Field(default=None, description="leader: that one request gets, measured")
    work_due: bool = Field(default=False, description="leader: the engine has requests, or owes the replica an answer")
    ranks: tuple[RankProgress, ...] = Field(default=(), description="heartbeat of the ranks on this stage")
    hang: Hang | None = Field(
        default=None,
        description="what hangs on this stage; said by the leader, on any; until the engine is replaced",
    )
    transports: tuple[str, ...] = Field(
        default=(), description="what NCCL took between this stage's ranks and others, such as NET/IB/GDRDMA"
    )
    fabric: tuple[str, ...] = Field(
        default=(), description="resources of a network between nodes that the pod asked for"
    )
