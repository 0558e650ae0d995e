"""Prometheus' text format."""

import re

from llama_serving.config.gateway import FIRST_BYTE_BOUNDS, GatewayLoad
from llama_serving.gateway.telemetry.metrics import Histogram, Metrics, WeightsCount, labelled

SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+')


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram()
    for seconds in (0.0005, 0.001, 0.002, 700.0):
        histogram.observe(seconds)
    lines = list(histogram.lines("h"))
    assert lines[0] == 'h_bucket{le="0.001"} 2'
    assert lines[1] == 'h_bucket{le="0.005"} 3'
    assert lines[-3:] == ['h_bucket{le="+Inf"} 4', "h_sum 700.003500", "h_count 4"]


def test_every_line_is_a_sample_or_a_comment_and_every_sample_has_a_type() -> None:
    metrics = Metrics()
    metrics.codes[200] += 3
    metrics.faults["reset"] += 1
    metrics.wait.observe(0.1)
    metrics.weights["w1"].observe(0.1)
    lines = list(metrics.lines())
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            assert SAMPLE.fullmatch(line), line
            name = re.sub(r"_(bucket|sum|count)$", "", re.split(r"[ {]", line)[0])
            assert name in typed, line
    assert 'llama_gateway_requests_total{code="200"} 3' in lines


def test_the_totals_are_those_of_the_contract() -> None:
    described = GatewayLoad.model_fields["totals"].description
    assert described == ", ".join(Metrics.TOTALS)


def test_groups_are_labelled() -> None:
    assert list(labelled("g", "text", [("a", 1), ("b", True)]))[2:] == ['g{group="a"} 1', 'g{group="b"} 1']


def test_times_to_the_first_byte_are_counted_per_class() -> None:
    count = WeightsCount()
    for seconds in (0.0, 0.05, 0.051, 120.0, 121.0):
        count.observe(seconds)
    assert count.counts().first_byte == (2, 1, *[0] * (len(FIRST_BYTE_BOUNDS) - 3), 1, 1)
    lines = list(count.lines("h", "w1"))
    assert lines[1] == 'h_bucket{weights="w1",le="0.1"} 3'
    assert lines[-3:] == [
        'h_bucket{weights="w1",le="+Inf"} 5',
        'h_sum{weights="w1"} 241.101000',
        'h_count{weights="w1"} 5',
    ]
