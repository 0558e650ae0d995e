"""What gateways of one deployment tell each other: ``GET :9000/usage``, asked once a second by each of the others."""

from typing import Final

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen

ROUTE_USAGE: Final = "/usage"
#: Bytes of an answer that are read.
LONGEST_USAGE: Final = 1 << 20
#: Clients in an answer: those that used something lately.
MOST_CLIENTS_TOLD: Final = 4096


class ClientUsage(Frozen):
    """What one client took of one gateway since that gateway started; tokens and requests less what was given back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens: float = 0
    requests: float = 0
    in_flight: int = Field(default=0, ge=0, description="requests that wait or are answered now")
    tokens_left: float | None = Field(default=None, description="of its limit per minute, as this gateway counts")
    requests_left: float | None = None


class GatewayUsage(Frozen):
    """All clients that used something within the last minutes. ``instance`` changes with each start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    instance: str = Field(max_length=64)
    clients: dict[str, ClientUsage] = Field(default_factory=dict, max_length=MOST_CLIENTS_TOLD)
