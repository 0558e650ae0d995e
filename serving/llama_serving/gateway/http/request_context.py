"""What is known about one request, for the metrics and the log."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from llama_serving.gateway.access.visit import Visit
from llama_serving.gateway.http.relay import Relay
from llama_serving.gateway.http.sse_keepalive import SseKeepAlive
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.telemetry.log import LOGGER, fields
from llama_serving.gateway.telemetry.metrics import Metrics

CLIENT_CLOSED = 499


@dataclass(slots=True)
class RequestContext:
    """One request; times in seconds of the gateway's clock, ``body_size`` in bytes held for it.

    ``group`` and ``weights`` are those of the last attempt; ``sent`` is when the attempt began that was answered.
    ``cors``: headers of whatever is answered. ``may_wait``: it is to wait for a group if there is none now.
    ``wants_stream``: the client asked for a stream, so SSE comments can keep it alive, which ``keep_alive`` does.
    ``is_stream``: the answer is a stream; ``continued``: another group continued it; ``not_continuable``: why none can.
    ``unread``: why its body's fields were not looked at, as a clause; empty where they were, or were not wanted.
    ``size``: None for a request that is no work for a group; ``adapter``: that it is for, None for the base.
    ``visit``: the client, None where none is told apart; ``relay`` then has its answer, once it has begun.
    ``used`` and ``tokens``: the seconds that it held a slot of a group, and the tokens that the client got for them.
    ``code`` is the status that the client got, if only inside a stream; ``outcome`` one of ``Metrics.TOTALS``, or empty
    for any other rejection; ``reason`` a clause when something went wrong.
    """

    request: web.BaseRequest
    request_id: str
    started: float
    cors: Mapping[str, str] = field(default_factory=dict)
    may_wait: bool = True
    body_size: int = 0
    unread: str = ""
    group: str = ""
    weights: str = ""
    sent: float = 0.0
    is_stream: bool = False
    continued: bool = False
    not_continuable: str = ""
    code: int = CLIENT_CLOSED
    outcome: str = ""
    reason: str = ""
    waited: float = 0.0
    retries: int = 0
    first_byte: float | None = None
    wants_stream: bool = False
    keep_alive: SseKeepAlive | None = None
    size: RequestSize | None = None
    adapter: str | None = None
    adapter_id: str = ""  # of the group that is asked now
    visit: Visit | None = None
    relay: Relay | None = None
    used: float = 0.0
    tokens: int = 0

    def finish(self, metrics: Metrics, *, now: float, access_log: bool) -> None:
        """Count the request; log it if it went wrong or if every request is to be logged."""
        metrics.codes[self.code] += 1
        metrics.duration.observe(now - self.started)
        metrics.wait.observe(self.waited)
        if self.first_byte is not None:
            metrics.first_byte.observe(self.first_byte - self.started)
        if self.outcome:
            metrics.totals[self.outcome] += 1
        self._count_answer(metrics)
        if self.outcome == "finished" and self.size is not None:
            metrics.workload.count_served(self.size, tokens=self.tokens, seconds=self.used)
        metrics.totals["continued"] += self.continued and self.outcome == "finished"
        if self.reason and self.outcome != "cancelled":
            self._log(logging.WARNING, "request failed", now)
        elif access_log:
            self._log(logging.INFO, "request", now)

    def _count_answer(self, metrics: Metrics) -> None:
        first_byte = self.first_byte if self.is_stream else None
        if first_byte is None and self.outcome not in ("finished", "broken"):
            return
        for count in metrics.counts_of(self.weights, self.adapter_id):
            if first_byte is not None:
                count.observe(first_byte - self.sent)
            count.finished += self.outcome == "finished"
            count.broken += self.outcome == "broken"
            count.continued += self.continued and self.outcome == "finished"

    def _log(self, level: int, message: str, now: float) -> None:
        named = {} if self.adapter is None else {"adapter": self.adapter}
        named |= {} if self.visit is None else {"key": self.visit.account.name}
        extra = fields(
            **named,
            request_id=self.request_id,
            method=self.request.method,
            path=self.request.path,
            status=self.code,
            outcome=self.outcome,
            group=self.group,
            reason=self.reason,
            retries=self.retries,
            waited=round(self.waited, 4),
            seconds=round(now - self.started, 4),
        )
        LOGGER.log(level, message, extra=extra)
