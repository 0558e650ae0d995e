"""What the gateway costs, with and without keys, beside the upstream directly, HAProxy and Ray Serve's HTTP proxy.

``python -m benchmarks.gateway``. All run at the same time and are loaded in turn, round after round, so that whatever
else the machine does meets all of them. Figures are medians over the rounds; the spread of the direct runs is the
machine's noise. "Per core" means per second of CPU time that the proxy's process used (all its threads, from /proc),
not per second of the clock. ``STREAM_PACE_S`` in the environment: seconds between the events of one stream.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import _proxies
from benchmarks._load import LATENCY, PASSED, STREAM, THROUGHPUT, run
from benchmarks._proxies import Endpoint, MissingError

DIRECT, GATEWAY, KEYS, HAPROXY, RAY = "direct", "gateway", "gateway with keys", "haproxy", "ray serve proxy"


@dataclass
class Samples:
    """One value per round: seconds, or units per CPU second."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    events: list[float] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)


async def measure(endpoint: Endpoint, samples: Samples) -> None:
    """Load one proxy once in each way."""
    latency = await run(LATENCY, endpoint.port)
    samples.p50.append(latency.quantile(0.5))
    samples.p99.append(latency.quantile(0.99))
    runs = ((THROUGHPUT, samples.requests), (STREAM, samples.events), (PASSED, samples.passed))
    for load, values in runs:
        before = endpoint.cpu()
        result = await run(load, endpoint.port)
        used = endpoint.cpu() - before
        if used:
            values.append((result.events or len(result.seconds)) / used)


async def rounds(endpoints: dict[str, Endpoint], count: int) -> dict[str, Samples]:
    """Load all proxies in turn, ``count`` times after one round that is not counted."""
    for endpoint in endpoints.values():
        await measure(endpoint, Samples())
    table = {name: Samples() for name in endpoints}
    for number in range(count):
        names = list(endpoints)
        # Another order each time: who comes after a heavy one must not always be the same.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            await measure(endpoints[name], table[name])
        print(f"round {number + 1} of {count}", file=sys.stderr)
    return table


def start(stack: contextlib.ExitStack) -> tuple[dict[str, Endpoint], dict[str, str]]:
    """Start everything; return the endpoints, and for each proxy that is missing how to get it."""
    behind = stack.enter_context(_proxies.upstream())
    endpoints = {DIRECT: behind, GATEWAY: stack.enter_context(_proxies.gateway(behind.port))}
    endpoints[KEYS] = stack.enter_context(_proxies.gateway_with_keys(behind.port))
    missing: dict[str, str] = {}
    for name, proxy in ((HAPROXY, _proxies.haproxy(behind.port)), (RAY, _proxies.ray_serve())):
        try:
            endpoints[name] = stack.enter_context(proxy)
        except MissingError as error:
            missing[name] = str(error)
    return endpoints, missing


def report(table: dict[str, Samples], missing: dict[str, str]) -> list[str]:
    """Return the lines of the report."""
    direct = table[DIRECT]
    noise = [1e3 * (max(values) - min(values)) for values in (direct.p50, direct.p99)]
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}",
        f"noise: over the rounds the direct p50 spread by {noise[0]:.2f} ms, the direct p99 by {noise[1]:.2f} ms",
        "",
        "| | p50 ms | p99 ms | added p50 ms | added p99 ms | requests/s per core | streamed events/s per core |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, samples in table.items():
        added = [f"{1e3 * value:.2f}" for value in added_latency(samples, direct)] if name != DIRECT else ["", ""]
        cells = [f"{1e3 * statistics.median(values):.2f}" for values in (samples.p50, samples.p99)]
        lines.append(f"| {' | '.join([name, *cells, *added, rate(samples.requests), rate(samples.events)])} |")
    lines += [f"| {name} | {how} | | | | | |" for name, how in missing.items()]
    return [*lines, "", *ratios(table)]


def added_latency(samples: Samples, direct: Samples) -> tuple[float, float]:
    """Return the medians of what was added to the direct run of the same round, in seconds."""
    pairs = ((samples.p50, direct.p50), (samples.p99, direct.p99))
    p50, p99 = (statistics.median(a - b for a, b in zip(*pair, strict=True)) for pair in pairs)
    return p50, p99


def rate(values: list[float]) -> str:
    """Return the median with its range."""
    if not values:
        return ""
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def ratios(table: dict[str, Samples]) -> list[str]:
    """Return a sentence for each proxy that the gateway can be compared with."""
    own = table[GATEWAY]
    lines = []
    for name, samples in table.items():
        if name not in (DIRECT, GATEWAY, KEYS):
            requests = statistics.median(own.requests) / statistics.median(samples.requests)
            events = statistics.median(own.events) / statistics.median(samples.events)
            lines.append(f"gateway / {name}: {requests:.2f} x requests/s per core, {events:.2f} x events/s per core")
    if KEYS in table:
        pairs = zip(table[KEYS].requests, own.requests, strict=True)
        more = statistics.median(1e6 / keys - 1e6 / without for keys, without in pairs)
        lines.append(f"keys, limits and ledger: {more:.1f} us of CPU a request")
    if own.passed:
        share = statistics.median(a / b for a, b in zip(own.events, own.passed, strict=True))
        lines.append(f"gateway, streams that it keeps / only passes on: {share:.2f} x events/s per core")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="also write all samples there")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        endpoints, missing = start(stack)
        table = asyncio.run(rounds(endpoints, options.rounds))
    print("\n".join(report(table, missing)))
    if options.json:
        samples = {name: vars(of_one) for name, of_one in table.items()}
        Path(options.json).write_text(json.dumps(samples, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
