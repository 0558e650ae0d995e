"""Metrics in Prometheus' text format: every name, label and value that dashboards may read."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, GatewayConfig, GatewayLoad
from llama_serving.config.gateway_metrics import METRICS
from llama_serving.gateway.admin import AdminApi
from llama_serving.gateway.connections.fair_share import FairShare
from llama_serving.gateway.connections.limits import connection_limits
from llama_serving.gateway.connections.table import ConnectionTable
from llama_serving.gateway.dispatcher import Dispatcher
from llama_serving.gateway.http.memory_budget import MemoryBudget
from llama_serving.gateway.routing.endpoint import Endpoint
from llama_serving.gateway.routing.request_size import RequestSize
from llama_serving.gateway.routing.router import Limits, Router
from llama_serving.gateway.server_state import ServerState
from llama_serving.gateway.telemetry.metrics import Histogram, Metrics, WeightsCount

RECORDED = Path(__file__).parent / "recorded" / "metrics.prom"
CHAT = "/v1/chat/completions"
COUNTED = {
    "finished": 5,
    "retried": 2,
    "continued": 1,
    "rejected_full": 3,
    "rejected_late": 8,
    "rejected_deadline": 4,
    "cancelled": 6,
    "broken": 7,
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Parse the samples; the values of the process, which differ from run to run, become 0."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = 0.0 if sample.name.startswith("process_") else sample.value
    return found


def counted() -> Metrics:
    """Return metrics with something in every one."""
    metrics = Metrics()
    metrics.codes.update({200: 3, 429: 1, 499: 2})
    metrics.faults.update({"reset": 1, "connect": 4})
    metrics.totals.update(COUNTED)
    for histogram, values in (
        (metrics.wait, (0.0005, 0.001, 0.3, 700.0)),
        (metrics.first_byte, (0.02, 0.25, 1 / 3)),
        (metrics.duration, (2.5, 61.0)),
        (metrics.weights["w1"], (0.0, 0.05, 0.051, 121.0)),
        (metrics.weights['odd "w\\2'], (1.25,)),
    ):
        for seconds in values:
            histogram.observe(seconds)
    metrics.weights["w1"].finished, metrics.weights["w1"].failed = 4, 1
    metrics.weights['odd "w\\2'].continued, metrics.weights['odd "w\\2'].broken = 2, 1
    metrics.workload.count_arrival(CHAT, b'{"max_tokens": 30}')
    metrics.workload.count_arrival(CHAT, b"{}" * 10)
    metrics.workload.count_served(RequestSize(11, 22), tokens=21, seconds=1.23456789)
    return metrics


def admin() -> AdminApi:
    """Return the admin port of a gateway with two ready groups, one of them ejected, and two waiting requests."""
    now = [100.0]
    config = GatewayConfig(deployment="d", namespace="n")
    limits = Limits(1, 10, config.queue_timeout, max_retries=10, ejection=1)
    dispatcher = Dispatcher(Router(limits), lambda: now[0])
    table = ConnectionTable(connection_limits(config, memory=None, descriptors=1024))
    table.count, table.held = 3, 70
    table.closed.update({"slow_head": 2})
    budget = MemoryBudget(1 << 20)
    budget.bodies, budget.answers, budget.streams = 10, 20, 30
    share = FairShare(clock=lambda: now[0], idle=lambda: now[0])
    share.load = 0.8125
    api = AdminApi(
        dispatcher=dispatcher, metrics=counted(), state=ServerState(), table=table, share=share, budget=budget
    )
    dispatcher.update(
        Endpoint(name, name, 0, weights="w1", host="10.0.0.1", port=8000, ready=name != "d-1")
        for name in ("d-0", "d-1", "d-2")
    )
    for _ in range(4):
        dispatcher.admit(RequestSize(10, 20))
    dispatcher.router.backends["d-2"].health.unreachable(epoch=0, now=now[0])
    now[0] += 7.25
    return api


def test_names_labels_and_values_are_those_that_dashboards_read() -> None:
    assert samples(admin().metrics_text().decode()) == samples(RECORDED.read_text())


def test_every_metric_has_its_help_and_its_type_and_no_other_has() -> None:
    lines = admin().metrics_text().decode().splitlines()
    assert [line for line in lines if line.startswith("# HELP")] == [f"# HELP {one.name} {one.help}" for one in METRICS]
    assert [line for line in lines if line.startswith("# TYPE")] == [f"# TYPE {one.name} {one.type}" for one in METRICS]
    assert not any("_created" in line for line in lines)


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram()
    for seconds in (0.0005, 0.001, 0.002, 700.0):
        histogram.observe(seconds)
    distribution = histogram.distribution()
    buckets = distribution.buckets()
    assert buckets[0] == ("0.001", 2)
    assert buckets[1] == ("0.005", 3)
    assert (buckets[-1], distribution.total) == (("+Inf", 4), 700.0035)


def test_the_totals_are_those_of_the_contract() -> None:
    described = GatewayLoad.model_fields["totals"].description
    assert described == ", ".join(Metrics.TOTALS)
    assert tuple(COUNTED) == Metrics.TOTALS


def test_times_to_the_first_byte_are_counted_per_class() -> None:
    count = WeightsCount()
    for seconds in (0.0, 0.05, 0.051, 120.0, 121.0):
        count.observe(seconds)
    assert count.counts().first_byte == (2, 1, *[0] * (len(FIRST_BYTE_BOUNDS) - 3), 1, 1)
    distribution = count.distribution()
    assert distribution.buckets()[1] == ("0.1", 3)
    assert (distribution.buckets()[-1], distribution.total) == (("+Inf", 5), 241.101)
