"""The metrics of who calls a gateway: one row each. Their labels are bounded by the number of keys.

Clients without a key are counted together, under the name ``OPEN``: their addresses are no labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_serving.config.metrics import Metric, Samples, single

OPEN: Final = "(open)"


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """What one key used since the start of a gateway; ``refused``: requests by the limit that held them off."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    in_flight: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """Who may call and what was used. ``is_open``: requests come in at all; ``rules``: there are rules.

    ``denials``: requests without a key that lets them in, by code. ``ledger_lost``: rows that are on no disk.
    """

    is_open: bool = True
    rules: bool = False
    keys: Mapping[str, KeyCounts] = field(default_factory=dict)
    denials: Mapping[str, int] = field(default_factory=dict)
    gateways: int = 0
    gateways_reached: int = 0
    ledger_rows: int = 0
    ledger_lost: int = 0


def _per_key(value: Callable[[KeyCounts], int]) -> Callable[[AccessSnapshot], Samples]:
    return lambda snapshot: [((name,), value(counts)) for name, counts in sorted(snapshot.keys.items())]


def _refused(snapshot: AccessSnapshot) -> Samples:
    return [
        ((name, limit), count)
        for name, counts in sorted(snapshot.keys.items())
        for limit, count in sorted(counts.refused.items())
    ]


def _denials(snapshot: AccessSnapshot) -> Samples:
    return [((code,), count) for code, count in sorted(snapshot.denials.items())]


def _key_metric(name: str, text: str, value: Callable[[KeyCounts], int]) -> Metric[AccessSnapshot]:
    return Metric(f"llama_gateway_key_{name}_total", "counter", text, _per_key(value), labels=("key",))


ACCESS_METRICS: Final[tuple[Metric[AccessSnapshot], ...]] = (
    Metric(
        "llama_gateway_access_open",
        "gauge",
        "1 if requests come in; 0 while keys are required and have not been read",
        single(lambda snapshot: int(snapshot.is_open)),
    ),
    Metric(
        "llama_gateway_access_rules",
        "gauge",
        "1 if there are rules of who may call",
        single(lambda snapshot: int(snapshot.rules)),
    ),
    Metric(
        "llama_gateway_access_denied_total",
        "counter",
        "Requests without a key that lets them in, by code",
        _denials,
        labels=("code",),
    ),
    _key_metric(
        "requests",
        f"Requests of a key that a group answered; clients without one are {OPEN} together",
        lambda counts: counts.requests,
    ),
    _key_metric("prompt_tokens", "Tokens of their prompts, those cached included", lambda counts: counts.prompt_tokens),
    _key_metric(
        "cached_tokens", "Of those, the tokens that the engine had in its cache", lambda counts: counts.cached_tokens
    ),
    _key_metric("answer_tokens", "Tokens of their answers", lambda counts: counts.answer_tokens),
    Metric(
        "llama_gateway_key_refused_total",
        "counter",
        "Requests that a limit of their key held off, by limit",
        _refused,
        labels=("key", "limit"),
    ),
    Metric(
        "llama_gateway_key_in_flight",
        "gauge",
        "Requests of a key that wait or are answered",
        _per_key(lambda counts: counts.in_flight),
        labels=("key",),
    ),
    Metric(
        "llama_gateway_peers",
        "gauge",
        "Other gateways of the deployment",
        single(lambda snapshot: snapshot.gateways),
    ),
    Metric(
        "llama_gateway_peers_reached",
        "gauge",
        "Of those, the ones that tell what clients use",
        single(lambda snapshot: snapshot.gateways_reached),
    ),
    Metric(
        "llama_gateway_ledger_rows_total",
        "counter",
        "Number of the newest row of the ledger; goes on after a restart of the container",
        single(lambda snapshot: snapshot.ledger_rows),
    ),
    Metric(
        "llama_gateway_ledger_lost_total",
        "counter",
        "Rows of the ledger that could not be written to disk and are in memory alone",
        single(lambda snapshot: snapshot.ledger_lost),
    ),
)
