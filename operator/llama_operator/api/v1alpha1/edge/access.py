"""Who may call a deployment, and how much: ``spec.access``. The keys themselves lie in Secrets (observe/access.py)."""

from typing import Final, Literal

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, one_of, rules
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.placement import LabelValue, selector_rules
from llama_serving.config.access.rules import AccessLimits
from llama_serving.config.names import LABEL_ACCESS_KEY

_SELECTS: Final = Rule(
    "size(self.matchLabels) > 0",
    "access.keys.selector.matchLabels must name at least one label, or every key of the namespace could call: leave "
    "selector out for the keys that carry the label llama-operator.dev/deployment with this deployment's name",
    field="matchLabels",
)
#: Headers that hold a secret: their values would be names of clients in metrics.
_SECRET_HEADERS: Final = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
_HEADER: Final = (
    Rule(
        "self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9_-]*$')",
        "access.clients.header must be the name of a request header, such as x-user: letters, digits, - and _",
    ),
    Rule(
        f"!(self.lowerAscii() in {one_of(_SECRET_HEADERS)})",
        "access.clients.header must not be a header that holds a secret, because its values name the clients in "
        "metrics: take mode keys, or a header that your proxy sets",
    ),
)
_MODES: Final = (
    Rule(
        "self.mode == 'keys' || !has(self.keys)",
        "access.keys is for access.mode keys: set that mode, or remove access.keys",
        field="keys",
    ),
    Rule(
        "self.mode == 'open' || !has(self.clients)",
        "access.clients is for access.mode open: with mode keys each key has the limits that its Secret names",
        field="clients",
    ),
    Rule(
        "self.mode == 'keys' || has(self.clients)",
        "access.mode open without access.clients limits nobody: set access.clients, or remove access",
        field="clients",
    ),
)
_LIMITS_SOMETHING: Final = Rule(
    "has(self.tokensPerMinute) || has(self.requestsPerMinute) || has(self.concurrentRequests) || self.header != ''",
    "access.clients must name a limit, such as requestsPerMinute, or the header that tells clients apart",
)


class ClientsSpec(ApiModel):
    """What one client may take while the mode is open, over all gateway pods together."""

    model_config = ConfigDict(json_schema_extra=rules(_LIMITS_SOMETHING))

    header: str = Field(
        default="",
        max_length=128,
        description="Request header whose value tells clients apart, set by a proxy that clients cannot pass by. If "
        "empty, their address, which behind a proxy is that of the proxy.",
        json_schema_extra=rules(*_HEADER),
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, le=10**12, description="Tokens of prompts and answers. If absent, no limit."
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=10**9, description="Requests that are taken. If absent, no limit."
    )
    concurrent_requests: int | None = Field(
        default=None, ge=1, le=10**6, description="Requests that wait or are answered. If absent, no limit."
    )

    def limits(self) -> AccessLimits:
        """Return the limits as gateways take them."""
        return AccessLimits(
            tokens_per_minute=self.tokens_per_minute,
            requests_per_minute=self.requests_per_minute,
            concurrent_requests=self.concurrent_requests,
        )


class KeySelector(ApiModel):
    """Which Secrets of the namespace hold keys of this deployment."""

    model_config = ConfigDict(json_schema_extra=rules(_SELECTS))

    match_labels: dict[str, LabelValue] = Field(
        default={},
        description=f"Labels that a Secret must have, beside {LABEL_ACCESS_KEY}, without which no Secret is read.",
        json_schema_extra=rules(*selector_rules("access.keys.selector.matchLabels"), maxProperties=8),
    )


class KeysSpec(ApiModel):
    """Where the keys are."""

    selector: KeySelector | None = Field(
        default=None,
        description="Secrets that hold keys, by their labels. If absent, those whose label "
        "llama-operator.dev/deployment is this deployment's name.",
    )


class AccessSpec(ApiModel):
    """Who may call the API, and how much."""

    model_config = ConfigDict(json_schema_extra=rules(*_MODES))

    mode: Literal["open", "keys"] = Field(
        description="keys: a request needs a key (Authorization: Bearer KEY), each with limits of its own. open: "
        "everybody may call, and each client has the limits of clients."
    )
    keys: KeysSpec | None = Field(default=None, description="Where the keys are, with mode keys.")
    clients: ClientsSpec | None = Field(default=None, description="What one client may take, with mode open.")
