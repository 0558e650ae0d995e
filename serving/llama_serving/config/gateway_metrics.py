"""The metrics of a gateway: one row each, with where its values come from.

They are read at a scrape of ``GET :9000/metrics`` from a snapshot of the gateway's counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_serving.config.access.metrics import ACCESS_METRICS, AccessSnapshot
from llama_serving.config.gateway import AdapterLoad, GatewayLoad, GroupLoad
from llama_serving.config.metrics import Distribution, Metric, Samples, single


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What a process uses; ``started`` in seconds since 1970."""

    cpu_seconds: float
    resident_bytes: int
    open_fds: int
    started: float


@dataclass(frozen=True, slots=True)
class GatewaySnapshot:
    """All counts of a gateway at one time.

    ``codes``: requests by status; ``faults``: failed attempts by kind; distributions are in seconds,
    ``stream_first_byte`` by weights. ``served_seconds``: ``load.served.seconds``, not rounded. ``connections`` of
    clients; ``closed``: those that the gateway closed, by reason; ``held``: bytes of memory by what holds them.
    ``loop_load``: part of the time that the event loop works; ``paused``: connections that are not read meanwhile.
    """

    load: GatewayLoad
    codes: Mapping[int, int]
    faults: Mapping[str, int]
    wait: Distribution
    first_byte: Distribution
    duration: Distribution
    stream_first_byte: Mapping[str, Distribution]
    served_seconds: float
    process: ProcessUsage
    connections: int
    closed: Mapping[str, int]
    held: Mapping[str, int]
    loop_load: float
    paused: int
    access: AccessSnapshot = field(default_factory=AccessSnapshot)


def _codes(snapshot: GatewaySnapshot) -> Samples:
    return [((str(code),), count) for code, count in sorted(snapshot.codes.items())]


def _faults(snapshot: GatewaySnapshot) -> Samples:
    return [((kind,), count) for kind, count in sorted(snapshot.faults.items())]


def _closed(snapshot: GatewaySnapshot) -> Samples:
    return [((reason,), count) for reason, count in sorted(snapshot.closed.items())]


def _held(snapshot: GatewaySnapshot) -> Samples:
    return [((holder,), size) for holder, size in sorted(snapshot.held.items())]


def _answers(snapshot: GatewaySnapshot) -> Samples:
    return [
        ((weights, outcome), getattr(counts, outcome))
        for weights, counts in sorted(snapshot.load.by_weights.items())
        for outcome in ("finished", "failed", "continued", "broken")
    ]


def _stream_first_byte(snapshot: GatewaySnapshot) -> Samples:
    return [((weights,), distribution) for weights, distribution in sorted(snapshot.stream_first_byte.items())]


def _per_adapter(value: Callable[[AdapterLoad], int]) -> Callable[[GatewaySnapshot], Samples]:
    return lambda snapshot: [((name,), value(load)) for name, load in snapshot.load.adapters.items()]


def _per_group(value: Callable[[GroupLoad], int]) -> Callable[[GatewaySnapshot], Samples]:
    return lambda snapshot: [((group.name,), value(group)) for group in snapshot.load.groups]


def _total(name: str) -> Callable[[GatewaySnapshot], Samples]:
    return single(lambda snapshot: snapshot.load.totals[name])


def _of_access(metric: Metric[AccessSnapshot]) -> Metric[GatewaySnapshot]:
    def read(snapshot: GatewaySnapshot) -> Samples:
        return metric.read(snapshot.access)

    return Metric(metric.name, metric.type, metric.help, read, labels=metric.labels)


METRICS: Final[tuple[Metric[GatewaySnapshot], ...]] = (
    Metric(
        "llama_gateway_requests_total",
        "counter",
        "Requests by the status that the client got; 499: it disconnected before the answer ended",
        _codes,
        labels=("code",),
    ),
    Metric(
        "llama_gateway_attempt_faults_total",
        "counter",
        "Failed attempts on groups by kind:"
        " connect, local, reset, protocol_error, status, read_timeout, stream_broken, differs or adapter_absent",
        _faults,
        labels=("kind",),
    ),
    Metric("llama_gateway_finished_total", "counter", "Requests answered completely", _total("finished")),
    Metric("llama_gateway_retried_total", "counter", "Attempts that were retried", _total("retried")),
    Metric("llama_gateway_continued_total", "counter", "Streams continued by another group", _total("continued")),
    Metric(
        "llama_gateway_rejected_full_total",
        "counter",
        "Requests rejected because the queue was full",
        _total("rejected_full"),
    ),
    Metric(
        "llama_gateway_rejected_late_total",
        "counter",
        "Requests rejected because they would have waited longer than gateway.shedAfterSeconds",
        _total("rejected_late"),
    ),
    Metric(
        "llama_gateway_rejected_deadline_total",
        "counter",
        "Requests rejected because no group became available in time",
        _total("rejected_deadline"),
    ),
    Metric("llama_gateway_cancelled_total", "counter", "Requests whose client disconnected", _total("cancelled")),
    Metric("llama_gateway_broken_total", "counter", "Answers that broke after their first byte", _total("broken")),
    Metric(
        "llama_gateway_wait_seconds",
        "histogram",
        "Total time that a request waited for a group",
        single(lambda snapshot: snapshot.wait),
    ),
    Metric(
        "llama_gateway_first_byte_seconds",
        "histogram",
        "Time from the request's arrival to the first byte of its answer",
        single(lambda snapshot: snapshot.first_byte),
    ),
    Metric(
        "llama_gateway_duration_seconds",
        "histogram",
        "Time from the request's arrival to the end of its answer",
        single(lambda snapshot: snapshot.duration),
    ),
    Metric(
        "llama_gateway_answers_total",
        "counter",
        "Answers by weights and outcome; failed counts attempts",
        _answers,
        labels=("weights", "outcome"),
    ),
    Metric(
        "llama_gateway_stream_first_byte_seconds",
        "histogram",
        "Time from sending a request for a stream to a group to the first byte of its answer",
        _stream_first_byte,
        labels=("weights",),
    ),
    Metric(
        "llama_gateway_waiting",
        "gauge",
        "Requests that wait for a group",
        single(lambda snapshot: snapshot.load.waiting),
    ),
    Metric(
        "llama_gateway_oldest_wait_seconds",
        "gauge",
        "Wait of the request that has waited longest",
        single(lambda snapshot: snapshot.load.oldest_wait),
    ),
    Metric("llama_gateway_draining", "gauge", "1 after SIGTERM", single(lambda snapshot: int(snapshot.load.draining))),
    Metric(
        "llama_gateway_arrived_total",
        "counter",
        "Requests that needed a group, each counted once",
        single(lambda snapshot: snapshot.load.arrived.requests),
    ),
    Metric(
        "llama_gateway_arrived_prompt_tokens_total",
        "counter",
        "Estimated prompt tokens of the requests that arrived",
        single(lambda snapshot: snapshot.load.arrived.prompt_tokens),
    ),
    Metric(
        "llama_gateway_arrived_answer_tokens_total",
        "counter",
        "Answer tokens that the requests that arrived asked for",
        single(lambda snapshot: snapshot.load.arrived.answer_tokens),
    ),
    Metric(
        "llama_gateway_waiting_prompt_tokens",
        "gauge",
        "Estimated prompt tokens of the requests that wait",
        single(lambda snapshot: snapshot.load.waits.prompt_tokens),
    ),
    Metric(
        "llama_gateway_waiting_answer_tokens",
        "gauge",
        "Expected answer tokens of the requests that wait",
        single(lambda snapshot: snapshot.load.waits.answer_tokens),
    ),
    Metric(
        "llama_gateway_served_total",
        "counter",
        "Requests answered completely, with any status",
        single(lambda snapshot: snapshot.load.served.requests),
    ),
    Metric(
        "llama_gateway_served_prompt_tokens_total",
        "counter",
        "Estimated prompt tokens of the requests served",
        single(lambda snapshot: snapshot.load.served.prompt_tokens),
    ),
    Metric(
        "llama_gateway_served_answer_tokens_total",
        "counter",
        "Answer tokens of the requests served",
        single(lambda snapshot: snapshot.load.served.answer_tokens),
    ),
    Metric(
        "llama_gateway_served_seconds_total",
        "counter",
        "Seconds that the requests served held a slot of a group, added up",
        single(lambda snapshot: snapshot.served_seconds),
    ),
    Metric(
        "llama_gateway_in_flight",
        "gauge",
        "Requests in flight on a group",
        _per_group(lambda group: group.in_flight),
        labels=("group",),
    ),
    Metric(
        "llama_gateway_group_ready",
        "gauge",
        "1 if discovery reports the group as ready",
        _per_group(lambda group: int(group.ready)),
        labels=("group",),
    ),
    Metric(
        "llama_gateway_group_ejected",
        "gauge",
        "1 while the group gets no requests after failures",
        _per_group(lambda group: int(group.ejected)),
        labels=("group",),
    ),
    Metric(
        "llama_gateway_adapter_arrived_total",
        "counter",
        "Requests for a LoRA adapter, each counted once; begins anew when the adapter comes back after it was gone",
        _per_adapter(lambda load: load.arrived),
        labels=("adapter",),
    ),
    Metric(
        "llama_gateway_adapter_waiting",
        "gauge",
        "Requests that wait for a group with this LoRA adapter",
        _per_adapter(lambda load: load.waiting),
        labels=("adapter",),
    ),
    Metric(
        "llama_gateway_adapter_in_flight",
        "gauge",
        "Requests for this LoRA adapter in flight on groups",
        _per_adapter(lambda load: load.in_flight),
        labels=("adapter",),
    ),
    *map(_of_access, ACCESS_METRICS),
    Metric(
        "llama_gateway_connections",
        "gauge",
        "Connections of clients",
        single(lambda snapshot: snapshot.connections),
    ),
    Metric(
        "llama_gateway_connections_closed_total",
        "counter",
        "Connections of clients that the gateway closed by reason: full or peer_full (too many), slow_head,"
        " slow_reader, pipelined (too much behind a request), left (its client, while no more was read) or memory",
        _closed,
        labels=("reason",),
    ),
    Metric(
        "llama_gateway_held_bytes",
        "gauge",
        "Bytes of memory held: bodies, answers (that are read whole), streams (to continue them) or connections"
        " (long heads, requests behind one, what clients do not take)",
        _held,
        labels=("by",),
    ),
    Metric(
        "llama_gateway_loop_load",
        "gauge",
        "Part of the last second in which the gateway's event loop worked, 0 to 1; from 0.7 on addresses are kept to"
        " their share of it",
        single(lambda snapshot: round(snapshot.loop_load, 3)),
    ),
    Metric(
        "llama_gateway_connections_paused",
        "gauge",
        "Connections that are not read for a moment, because their address takes more than its share of the event loop",
        single(lambda snapshot: snapshot.paused),
    ),
    Metric(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the gateway",
        single(lambda snapshot: snapshot.process.cpu_seconds),
    ),
    Metric(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the gateway",
        single(lambda snapshot: snapshot.process.resident_bytes),
    ),
    Metric(
        "process_open_fds",
        "gauge",
        "Open files and sockets of the gateway",
        single(lambda snapshot: snapshot.process.open_fds),
    ),
    Metric(
        "process_start_time_seconds",
        "gauge",
        "Start time in seconds since 1970",
        single(lambda snapshot: snapshot.process.started),
    ),
)
