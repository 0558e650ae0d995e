"""Who may call a deployment and how much: what the operator writes and its gateways watch.

The operator keeps an ``AccessRules`` in the Secret ``access_secret(deployment)`` under the key ``ACCESS_FILE``.
Gateways watch that one Secret through the API server, because a mounted one is only read again a minute later: a key
that is revoked has to stop within two seconds. No key is in it, only the SHA-256 of each.
"""

from typing import Any, Final, Literal

from pydantic import ConfigDict, Field

from llama_serving.config.cell import Frozen

ACCESS_FILE: Final = "access.json"

#: Bytes of an AccessRules that a gateway reads; a Secret has at most 1 MiB.
LONGEST_ACCESS: Final = 768 << 10
#: Keys of a deployment.
MOST_KEYS: Final = 2048


def access_secret(deployment: str) -> str:
    """Return the name of the Secret with a deployment's AccessRules."""
    return f"{deployment}-access"


class AccessLimits(Frozen):
    """What one client may take, over all gateways of the deployment together; None: no limit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens_per_minute: int | None = Field(default=None, ge=1, description="of prompts and answers")
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent_requests: int | None = Field(default=None, ge=1, description="that wait or are answered")
    weight: int = Field(default=1, ge=1, le=1000, description="share of the groups' tokens while requests wait")
    priority: int = Field(default=0, ge=-100, le=100, description="of two that wait, the higher goes first")


class AccessKey(AccessLimits):
    """One key that may call."""

    name: str = Field(min_length=1, max_length=253, description="of its Secret: how metrics and the ledger call it")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the key's UTF-8 bytes")
    models: tuple[str, ...] = Field(
        default=(), max_length=128, description="names in the OpenAI API (base and adapters) it may ask for; empty: all"
    )
    expires: float | None = Field(default=None, description="Unix time in seconds; None: never")


class AccessRules(Frozen):
    """Who may call. A gateway without this file is open to all and limits none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Literal["open", "keys"] = "open"
    keys: tuple[AccessKey, ...] = Field(default=(), max_length=MOST_KEYS)
    client: AccessLimits = Field(default=AccessLimits(), description="of each client while the mode is open")
    client_header: str = Field(
        default="", max_length=128, description="request header that tells clients apart; empty: their address"
    )

    def to_file(self) -> dict[str, Any]:
        """Return the rules as they are written."""
        return self.to_wire()
