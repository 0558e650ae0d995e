"""The file from which a gateway starts, and what it says on its internal port."""

from pydantic import Field

from llama_serving.config.cell import Frozen


class GatewayConfig(Frozen):
    """One gateway process. Times in seconds, sizes in bytes."""

    deployment: str
    namespace: str
    max_in_flight_per_group: int = Field(default=64, ge=1, description="this gateway's share of a group's batch")
    max_waiting: int = Field(default=1000, ge=0, description="requests that may wait; more get 429")
    max_wait: float = Field(default=300, gt=0, description="longest wait of a request for a group; then 503")
    connect_timeout: float = Field(default=2, gt=0)
    first_byte_timeout: float = Field(default=600, gt=0, description="from the request sent to the response's head")
    idle_timeout: float = Field(default=300, gt=0, description="between two pieces of a response")
    max_body: int = Field(default=32 << 20, ge=1, description="largest request body; more gets 413")
    max_held: int = Field(
        default=1 << 30, ge=1, description="all request bodies held at a time, or what memory allows; more get 429"
    )
    max_retries: int = Field(default=10, ge=0, description="further groups tried before the first byte")
    ejection: float = Field(default=1, gt=0, description="first pause of a group after a failure; doubles up to 30 s")
    lame_duck: float = Field(default=5, ge=0, description="on SIGTERM: still accepts, until no Service sends here")
    drain: float = Field(default=300, gt=0, description="on SIGTERM: until requests in flight have ended")


class GroupLoad(Frozen):
    """One group as this gateway sees it."""

    name: str = Field(description="name of the leader pod")
    group: int
    weights: str
    ready: bool
    ejected: bool
    in_flight: int


class GatewayLoad(Frozen):
    """Answer of ``GET :9000/load``."""

    waiting: int
    oldest_wait: float = Field(description="seconds; 0 when nothing waits")
    in_flight: int
    draining: bool
    groups: tuple[GroupLoad, ...]
    totals: dict[str, int] = Field(description="finished, retried, rejected_full, rejected_deadline, cancelled, broken")
