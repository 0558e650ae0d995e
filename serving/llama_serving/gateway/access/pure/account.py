"""What one client may take and has taken: its buckets, its requests that run, its place in the queue."""

from dataclasses import dataclass
from typing import Any, Final

from llama_serving.config.access.rules import AccessLimits
from llama_serving.config.access.usage import ClientUsage
from llama_serving.gateway.access.pure.bucket import EXCHANGE, Bucket
from llama_serving.gateway.routing.fair.flow import Flow

TOKENS: Final = "tokens_per_minute"
REQUESTS: Final = "requests_per_minute"
CONCURRENT: Final = "concurrent_requests"
_OF_REQUESTS, _OF_TOKENS = (
    tuple(f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset")) for kind in ("requests", "tokens")
)


@dataclass(slots=True)
class Totals:
    """What a client used since the start of this gateway; ``refused``: requests per limit that held them off."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    refused: dict[str, int] | None = None

    def refuse(self, limit: str) -> None:
        """Count a request that a limit held off."""
        self.refused = self.refused or {}
        self.refused[limit] = self.refused.get(limit, 0) + 1


@dataclass(frozen=True, slots=True)
class Denial:
    """A limit that holds a request off; ``seconds`` until there may be room."""

    limit: str
    value: int
    message: str
    seconds: float


class Account:
    """One client; times in seconds of the caller's clock. ``visits`` are its requests that run or wait here."""

    def __init__(self, name: str, limits: AccessLimits, now: float) -> None:
        self.name = name
        self.limits = limits
        self.flow = Flow(name=name, weight=limits.weight, priority=limits.priority)
        self.tokens = _bucket(limits.tokens_per_minute, now)
        self.requests = _bucket(limits.requests_per_minute, now)
        self.visits: set[Any] = set()
        self.elsewhere = 0  # requests that run or wait at other gateways, as those said last
        self.last_used = now
        self.totals = Totals()
        self._share = 1.0
        self._part = 1.0
        self._free = limits.concurrent_requests or 0
        self._begun = 0  # since the last exchange

    @property
    def has_limits(self) -> bool:
        """Whether anything is limited."""
        limits = self.limits
        return (limits.tokens_per_minute or limits.requests_per_minute or limits.concurrent_requests) is not None

    def change(self, limits: AccessLimits, now: float) -> None:
        """Take over other limits; what was taken stays taken. Requests that wait keep their place."""
        if limits == self.limits:
            return
        if (limits.weight, limits.priority) != (self.flow.weight, self.flow.priority):
            self.flow = Flow(name=self.name, weight=limits.weight, priority=limits.priority)
        self.tokens = _changed(self.tokens, limits.tokens_per_minute, now)
        self.requests = _changed(self.requests, limits.requests_per_minute, now)
        self._free = limits.concurrent_requests or 0
        self.limits = limits

    def begin(self, now: float) -> Denial | None:
        """Let a request in, or say which limit holds it off; ``visits`` is the caller's to keep."""
        self.last_used = now
        denial = self._over_concurrent()
        if denial is None and self.requests is not None:
            wait = self.requests.take(1, now)
            if wait:
                message = f"the limit of {self.requests.limit} requests per minute is reached"
                denial = Denial(REQUESTS, self.requests.limit, message, wait)
        if denial is None:
            self._begun += 1
        else:
            self.totals.refuse(denial.limit)
        return denial

    def reserve(self, tokens: int, now: float) -> Denial | None:
        """Reserve the tokens that a request is expected to take, or say that there are not so many."""
        bucket = self.tokens
        if bucket is None:
            return None
        wait = bucket.take(tokens, now)
        if not wait:
            return None
        self.totals.refuse(TOKENS)
        left = max(int(bucket.level), 0)
        message = (
            f"the limit of {bucket.limit} tokens per minute is reached: {left} are left and this request is expected"
            f" to take {tokens}"
        )
        return Denial(TOKENS, bucket.limit, message, wait)

    def usage(self, now: float) -> ClientUsage:
        """Return what other gateways are told."""
        for bucket in (self.tokens, self.requests):
            if bucket is not None:
                bucket.refill(now)
        return ClientUsage(
            tokens=0 if self.tokens is None else round(self.tokens.used, 3),
            requests=0 if self.requests is None else round(self.requests.used, 3),
            in_flight=len(self.visits),
            tokens_left=None if self.tokens is None else round(self.tokens.level, 3),
            requests_left=None if self.requests is None else round(self.requests.level, 3),
        )

    def sync(self, now: float, *, peers: int, reached: int, elsewhere: int) -> None:
        """Begin another period between two exchanges."""
        self.elsewhere, self._begun = elsewhere, 0
        self._share, self._part = 1.0 / reached, reached / peers
        self._free = max(self._concurrent() - len(self.visits) - elsewhere, 0)
        for bucket in (self.tokens, self.requests):
            if bucket is not None:
                bucket.sync(now, peers=peers, reached=reached)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's x-ratelimit headers for what is limited per minute."""
        told: dict[str, str] = {}
        for (limit, remaining, reset), bucket in ((_OF_REQUESTS, self.requests), (_OF_TOKENS, self.tokens)):
            if bucket is not None:
                told[limit] = str(bucket.limit)
                told[remaining] = str(int(bucket.level)) if bucket.level > 0 else "0"
                told[reset] = f"{bucket.until_full:.1f}s"
        return told

    def _concurrent(self) -> int:
        """Return how many requests may run here and where this gateway hears of them."""
        return max(int((self.limits.concurrent_requests or 0) * self._part), 1)

    def _over_concurrent(self) -> Denial | None:
        limit = self.limits.concurrent_requests
        if limit is None:
            return None
        here, most = len(self.visits), self._concurrent()
        shared = self._share < 1.0 and self._begun and self._begun >= self._free * self._share
        if here + self.elsewhere < most and not shared:
            return None
        message = (
            f"the limit of {limit} concurrent requests is reached: {here} wait or run at this gateway and"
            f" {self.elsewhere} at others"
        )
        return Denial(CONCURRENT, limit, message, EXCHANGE)


def _bucket(limit: int | None, now: float) -> Bucket | None:
    return None if limit is None else Bucket(limit, now)


def _changed(bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
    if bucket is None or limit is None:
        return _bucket(limit, now)
    bucket.change(limit, now)
    return bucket
