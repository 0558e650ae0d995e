"""What an upgrade of the weights costs its users, beside what else one could do, on the two-node test bed.

``python -m benchmarks.rollout [--requests 100000] [--rate 20]``. Two groups of two stages of a tiny model answer an
open load of short greedy requests, streamed and plain. In turn, on the same pods and with the same load:

==============  ====================================================================================================
steady          nothing happens
in place        ``spec.model.revision`` is edited back and forth, upgrade after upgrade
weights read    the Job alone that begins each upgrade, for a `LlamaWeights` that nothing uses: no group leaves rotation
kubernetes      clients use a plain Service on the leaders; pods of a group are deleted with their grace period (the
                container's SIGTERM waits for requests in flight), when they are Ready again those of the next
no drain        the same with ``--grace-period=0 --force``: the negative control, which must show failures
one group       nothing happens, but one group carries the load: what is left while the other one loads weights
ray serve       two replicas of ``ray.serve.llm``'s own application on this machine, behind Serve's proxy; each update
                is a ``serve.run`` with the other weights (the pods of the bed are gone by then)
with surge      the same with ``max_surge_percent=100``: new replicas before old ones go
==============  ====================================================================================================

Failures are requests without a whole answer. The ratio is p99 of the time to the first byte against the steady one of
the same way in (gateway, plain Service, Serve's proxy). "Peak" is the largest number of stage pods seen at a time, in
groups; for Ray Serve, of replicas that had begun and not ended. After each row stand what the cores did and where the
slowest hundredth of its answers lies.
"""

import argparse
import asyncio
import contextlib
import math
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from benchmarks._machine import Cores, watched_cores
from benchmarks._proxies import serving_program
from testbed.ports import free_port
from testbed.progress import step
from tests.e2e.support.bed import NAMESPACE, Bed, manifest, most_pods, running_bed, tiny_models
from tests.e2e.support.load import Answer, OpenLoad

NAME = "bench"
STAGES, GROUPS = 2, 2
REVISIONS = ("tiny-1", "tiny-2")
TOKENS = 2  # a stream has two events to lose; with more, 100,000 requests take hours on two cores
BURST = 5.0  # slow answers less than so many seconds apart have a common cause
STEADY, IN_PLACE, WEIGHTS_READ, ONE_GROUP = "steady", "in place", "weights read", "one group"
KUBERNETES, NO_DRAIN = "kubernetes", "no drain"
RAY_SERVE, RAY_SERVE_SURGE = "ray serve", "ray serve, with surge"

Change = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Span:
    """Seconds on the clock of ``time.monotonic``."""

    start: float
    end: float

    def holds(self, moment: float) -> bool:
        """Whether this moment lies in it."""
        return self.start <= moment < self.end


@dataclass
class Row:
    """One way, and what its load saw."""

    way: str
    url: str
    answers: list[Answer] = field(default_factory=list)
    changes: list[Span] = field(default_factory=list)  # upgrades or replacements
    peak: float = 1  # groups at a time, as a multiple of those that are wanted
    cores: Cores = field(default_factory=Cores)

    @property
    def failures(self) -> int:
        """Requests without a whole answer."""
        return sum(not answer.whole for answer in self.answers)

    def first_byte(self, share: float) -> float:
        """Quantile of the time to the first byte, in seconds; NaN when nobody was answered."""
        found = sorted(answer.first_byte for answer in self.answers if answer.first_byte is not None)
        return found[min(int(share * len(found)), len(found) - 1)] if found else math.nan


@dataclass(frozen=True)
class Way:
    """How requests come in, how many, and what changes meanwhile, if anything does."""

    name: str
    url: str
    requests: int
    change: Change | None = None


async def under_load(way: Way, *, rate: float, counting: AbstractAsyncContextManager[list[int]], groups: int) -> Row:
    """Load until so many requests have an end; meanwhile change something again and again."""
    row, number = Row(way.name, way.url), 0
    async with (
        watched_cores() as row.cores,
        OpenLoad(way.url, NAME, rate=rate, tokens=TOKENS) as load,
        counting as counts,
    ):
        await load.finished(min(way.requests, 50), within=300)
        while len(load.answers) < way.requests:
            started = time.monotonic()
            if way.change is None:
                await load.finished(min(200, way.requests), within=600)
            else:
                await way.change(number)
                row.changes.append(Span(started, time.monotonic()))
            number += 1
            print(f"{way.name}: {len(load.answers)} of {way.requests} requests, {load.summary()[:160]}", flush=True)
    row.answers, row.peak = load.answers, max(counts) / groups
    print(table([row]), *slow_bursts(row), sep="\n", flush=True)  # a run takes long: what is known is shown
    return row


def plain_service(bed: Bed) -> str:
    """Make a Service straight on the leaders, as one would without a gateway; return its URL."""
    labels = {"llama-operator.dev/deployment": NAME, "llama-operator.dev/stage": "0"}
    bed.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{NAME}-plain", "namespace": NAMESPACE},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"{NAME}-plain", "namespace": NAMESPACE},
            "spec": {"podSelector": {"matchLabels": labels}, "ingress": [{"ports": [{"port": 8000}]}]},
        },
    )
    return bed.service_url(f"{NAME}-plain")


def replace_group(bed: Bed, group: int, *options: str) -> None:
    """Delete the pods of a group and wait until new ones serve."""
    labels = f"llama-operator.dev/deployment={NAME},llama-operator.dev/group={group}"
    bed.kubectl("delete", "pods", "-l", labels, "--wait=true", *options)
    all_there = f"{GROUPS}/{GROUPS}"  # as the status says until the operator has seen that they are not
    bed.wait_for(NAME, lambda found: found["status"]["groupsReady"] != all_there, within=60, what="one group short")
    bed.wait_serving(NAME, GROUPS)


async def on_the_bed(bed: Bed, *, requests: int, replacements: int, rate: float) -> list[Row]:
    """Measure the rows of the test bed, one after the other."""
    gateway, plain = bed.service_url(NAME), plain_service(bed)

    async def upgrade(number: int) -> None:
        await asyncio.to_thread(bed.upgrade, NAME, REVISIONS[(number + 1) % 2], within=600)

    async def politely(number: int) -> None:
        await asyncio.to_thread(replace_group, bed, number % GROUPS)

    async def by_force(number: int) -> None:
        await asyncio.to_thread(replace_group, bed, number % GROUPS, "--grace-period=0", "--force")

    async def read_weights(number: int) -> None:
        model = manifest(NAME)["spec"]["model"] | {"revision": REVISIONS[number % 2]}
        await asyncio.to_thread(bed.read_weights, f"{NAME}-read", model)
        await asyncio.to_thread(bed.kubectl, "delete", "llamaweights", f"{NAME}-read", "--wait=true")

    steady = max(replacements, requests // 20)
    ways = (
        Way(STEADY, gateway, steady),
        Way(IN_PLACE, gateway, requests, upgrade),
        Way(WEIGHTS_READ, gateway, replacements, read_weights),
        Way(f"{STEADY}, plain Service", plain, steady),
        Way(KUBERNETES, plain, replacements, politely),
        Way(NO_DRAIN, plain, replacements, by_force),
    )

    async def measured(way: Way) -> Row:
        return await under_load(way, rate=rate, counting=most_pods(bed, NAME), groups=STAGES * GROUPS)

    rows = [await measured(way) for way in ways]
    fewer = bed.edit(NAME, {"replicas": 1})
    await asyncio.to_thread(bed.settled, NAME, fewer, within=300)
    return [*rows, await measured(Way(ONE_GROUP, gateway, steady))]


async def on_ray_serve(*, requests: int, rate: float, surge: bool) -> list[Row]:
    """Two rows: Ray Serve undisturbed, and in its own rolling updates."""
    port = free_port()
    arguments = [str(port), str(tiny_models()), NAME, REVISIONS[0], *(["--surge"] if surge else [])]
    with serving_program("benchmarks._serve_rollout", *arguments, within=120) as process:
        counts = [GROUPS]

        def told() -> None:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(
                    f"Ray Serve ended with {process.wait(60)}: LLAMA_BENCH_LOG=1 shows what its replicas say"
                )
            counts.append(int(line.split()[-1]))

        async def update(number: int) -> None:
            assert process.stdin is not None
            process.stdin.write(f"{REVISIONS[(number + 1) % 2]}\n")
            process.stdin.flush()
            await asyncio.to_thread(told)

        @contextlib.asynccontextmanager
        async def counted() -> AsyncIterator[list[int]]:
            yield counts

        with step("two replicas of Ray Serve"):
            await asyncio.to_thread(told)
        name, url = RAY_SERVE_SURGE if surge else RAY_SERVE, f"http://127.0.0.1:{port}"
        ways = (Way(f"{STEADY}, {name}", url, requests), Way(name, url, requests, update))
        return [await under_load(way, rate=rate, counting=counted(), groups=GROUPS) for way in ways]


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = (
        "| way | requests | failed | changes | seconds each | peak / N | p50 first byte | p99 first byte | to steady |"
    )
    lines = [head, "|" + "---|" * 9]
    steady: dict[str, float] = {}  # by way in; one that comes later may have the port of one that is gone
    for row in rows:
        if row.way.startswith(STEADY):
            steady[row.url] = row.first_byte(0.99)
        ratio = f"{row.first_byte(0.99) / steady[row.url]:.2f}" if row.url in steady else ""
        each = f"{statistics.median(one.end - one.start for one in row.changes):.1f}" if row.changes else ""
        lines.append(
            f"| {row.way} | {len(row.answers)} | {row.failures} | {len(row.changes)} | {each} "
            f"| {row.peak:.2f} | {row.first_byte(0.5) * 1000:.0f} ms "
            f"| {row.first_byte(0.99) * 1000:.0f} ms | {ratio} |"
        )
    return "\n".join(lines)


def first_byte(answer: Answer) -> float:
    """Seconds to the first byte; NaN, which is above no limit, when none came."""
    return math.nan if answer.first_byte is None else answer.first_byte


def slow_bursts(row: Row, *, longest: int = 10) -> list[str]:
    """Where the slowest hundredth of the answers lies: bursts of them, the worst first, one line each."""
    limit = row.first_byte(0.99)
    slow = sorted((a for a in row.answers if first_byte(a) >= limit), key=lambda answer: answer.start)
    bursts: list[list[Answer]] = []
    for answer in slow:
        if bursts and answer.start - bursts[-1][-1].start < BURST:
            bursts[-1].append(answer)
        else:
            bursts.append([answer])
    bursts.sort(key=lambda burst: max(map(first_byte, burst)), reverse=True)
    lines = [f"{row.way}: {row.cores.between(-math.inf, math.inf)}; {len(slow)} slow answers in {len(bursts)} bursts"]
    for burst in bursts[:longest]:
        start, end = burst[0].start, burst[-1].end
        when = [f"{start - one.start:.1f} s into change {n}" for n, one in enumerate(row.changes) if one.holds(start)]
        groups = dict(Counter(f"group {answer.group}, {answer.weights[:12]}" for answer in burst))
        lines.append(
            f"  at {start - row.answers[0].start:.0f} s ({', '.join(when) or 'no change'}): {len(burst)} answers, "
            f"the slowest after {max(map(first_byte, burst)):.2f} s, {groups}, {row.cores.between(start, end)}"
        )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="requests during the upgrades")
    parser.add_argument("--replacements", type=int, default=2000, help="requests during each way of replacing pods")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument(
        "--stage-cpu", default="500m", help="CPU that a stage's pod asks for, which is its weight where cores are short"
    )
    parser.add_argument("--part", choices=("bed", "ray-serve"), help="one half of the rows; absent: both")
    asked = parser.parse_args()
    rows: list[Row] = []
    if asked.part != "ray-serve":
        rows += bed_rows(asked.requests, replacements=asked.replacements, rate=asked.rate, stage_cpu=asked.stage_cpu)
    for surge in () if asked.part == "bed" else (False, True):
        try:
            rows += asyncio.run(on_ray_serve(requests=asked.replacements, rate=asked.rate, surge=surge))
        except RuntimeError as error:
            print(f"Ray Serve{' with surge' if surge else ''}: {error}")
    print(table(rows))


def bed_rows(requests: int, *, replacements: int, rate: float, stage_cpu: str) -> list[Row]:
    """Two groups on the test bed, measured and taken away; ``stage_cpu``: what each of their pods asks for."""
    bed = running_bed()
    with step("two groups"):
        groups = manifest(NAME, replicas=GROUPS)
        groups["spec"]["resources"]["cpu"] = stage_cpu
        bed.kubectl.apply(groups)
        bed.wait_serving(NAME, GROUPS)
    try:
        return asyncio.run(on_the_bed(bed, requests=requests, replacements=replacements, rate=rate))
    finally:
        bed.kubectl("delete", "llamadeployment", NAME, "--wait=true")
        bed.kubectl("delete", "service,networkpolicy", f"{NAME}-plain", "--ignore-not-found")


if __name__ == "__main__":
    main()
