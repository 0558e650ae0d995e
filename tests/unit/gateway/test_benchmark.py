"""The arithmetic of the benchmark's report."""

import pytest

from benchmarks._load import Result
from benchmarks.gateway import DIRECT, GATEWAY, HAPROXY, RAY, Samples, added_latency, report

TABLE = {
    DIRECT: Samples(p50=[0.001, 0.002, 0.003], p99=[0.01, 0.01, 0.01]),
    GATEWAY: Samples(p50=[0.002, 0.002, 0.005], p99=[0.02, 0.03, 0.01], requests=[4, 5, 6], events=[50, 40, 60]),
    RAY: Samples(p50=[0.01, 0.01, 0.01], p99=[0.1, 0.1, 0.1], requests=[1, 2, 1], events=[10, 10, 10]),
}


def test_added_latency_is_the_median_over_rounds_of_the_difference_within_a_round() -> None:
    assert added_latency(TABLE[GATEWAY], TABLE[DIRECT]) == pytest.approx((0.001, 0.01))


def test_the_report_has_noise_rows_what_is_missing_and_ratios() -> None:
    lines = report(TABLE, {HAPROXY: "needs HAProxy"})
    assert "direct p50 spread by 2.00 ms, the direct p99 by 0.00 ms" in lines[1]
    assert "| gateway | 2.00 | 20.00 | 1.00 | 10.00 | 5 (4-6) | 50 (40-60) |" in lines
    assert any(line.startswith("| haproxy | needs HAProxy |") for line in lines)
    assert lines[-1] == "gateway / ray serve proxy: 5.00 x requests/s per core, 5.00 x events/s per core"


def test_quantiles() -> None:
    result = Result(seconds=[float(number) for number in range(100)])
    assert (result.quantile(0.5), result.quantile(0.99), result.quantile(1.0)) == (50.0, 99.0, 99.0)
