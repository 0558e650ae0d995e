"""What was found of the keys of a deployment. No key is in it, nor a part or a hash of one."""

from typing import Final

from pydantic import Field

from llama_operator.api.v1alpha1.base import ApiModel

#: Refused Secrets that a status names.
MOST_NAMED: Final = 16


class RefusedKey(ApiModel):
    """A Secret whose key may not call."""

    secret: str = Field(description="Name of the Secret.")
    reason: str = Field(description="Machine word for why.")
    message: str = Field(description="Sentence for why, with the remedy.")


class AccessStatus(ApiModel):
    """Who may call."""

    mode: str = Field(default="", description="open or keys; empty: spec.access was removed, and gateways follow.")
    keys_ready: int = Field(default=0, ge=0, description="Keys that may call.")
    keys_expired: int = Field(default=0, ge=0, description="Keys whose time is over; they are answered 401.")
    keys_refused: int = Field(default=0, ge=0, description="Secrets whose key may not call.")
    refused: tuple[RefusedKey, ...] = Field(default=(), description=f"The first {MOST_NAMED} of them, by name.")
