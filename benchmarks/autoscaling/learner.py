"""CPU and memory of learning which rule to follow: ``python -m benchmarks.autoscaling.learner [--deployments 100]``.

Each deployment has a learner and an uneven load of its own, one reading a second in virtual time. A figure is the CPU
of a reading in a process that does nothing else, of all deployments in turn, so that no cache holds the arrays of one.
Memory is what tracemalloc counts for the learners, numpy's arrays included. The last row is the formula alone on the
same readings.
"""

import argparse
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from llama_operator.plan.autoscaling.inputs import GroupCounts, Limits
from llama_operator.plan.autoscaling.learning.learner import FAMILY, Learner, PromiseTerms
from llama_operator.plan.autoscaling.load import Load
from llama_operator.plan.autoscaling.policy import decide
from llama_operator.plan.autoscaling.state import DurableState, PolicyState

NOW = datetime(2026, 11, 30, tzinfo=UTC)
SLOTS, SERVICE, GROUPS = 8, 8.7, 8
DELAY = 300.0  # seconds: the longest array of starts
ROUNDS = 5


class Deployment:
    """A load whose bursts come by chance, on GROUPS groups."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._requests = 0.0

    def reading(self) -> Load:
        """Return the next second."""
        arrived = round(self._draw.gammavariate(0.2, 25.0))
        busy = min(self._requests, SLOTS * GROUPS)
        served = round(min(busy, self._draw.gammavariate(4.0, busy / SERVICE / 4.0))) if busy else 0
        self._requests += arrived - served
        return Load(
            known=True, span=1.0, waiting=round(self._requests - busy), in_flight=round(busy), arrived=arrived,
            served=served, served_seconds=served * SERVICE, served_answer_tokens=served * 211,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling.learner", description=__doc__)
    parser.add_argument("--deployments", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60, help="readings of each deployment in a round")
    given = parser.parse_args(arguments)
    loads = [Deployment(seed) for seed in range(given.deployments)]
    limits = Limits(floor=1, ceiling=64, slots=SLOTS, start=DELAY)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    learners = [Learner(PromiseTerms(SLOTS, 5.0, 0.99), delay=DELAY, groups=GROUPS) for _ in loads]
    _observe_all(learners, loads, limits)
    memory = (tracemalloc.get_traced_memory()[0] - before) / len(loads) / 1e6
    tracemalloc.stop()
    states = [PolicyState(DurableState(target=GROUPS)) for _ in loads]

    def formula(load: Load, place: int) -> None:
        groups = GroupCounts(serving=GROUPS)
        states[place] = decide(load, groups, state=states[place], limits=limits, now=NOW).state

    second = [0] * len(loads)

    def learn(load: Load, place: int) -> None:
        second[place] += 1
        at = NOW + timedelta(days=1, seconds=second[place])
        learners[place].observe(load, limits=limits, delay=DELAY, prefer_cost=False, at=at)

    sys.stdout.write(f"{len(loads)} deployments, {len(FAMILY)} rules, starts of {DELAY:.0f} s\n\n")
    sys.stdout.write("| on each reading | CPU | share of a core | noise | memory of each |\n|---|---|---|---|---|\n")
    for name, act, size in (("learning", learn, f"{memory:.2f} MB"), ("the formula alone", formula, "")):
        runs = [_microseconds(act, loads, given.seconds) for _ in range(ROUNDS)]
        cost = statistics.median(runs)
        noise = (max(runs) - min(runs)) / cost
        sys.stdout.write(f"| {name} | {cost:.0f} us | {cost / 1e4:.3f} % | {100 * noise:.0f} % | {size} |\n")
        sys.stdout.flush()
    return 0


def _observe_all(learners: Sequence[Learner], loads: Sequence[Deployment], limits: Limits) -> None:
    for second in range(30):
        for learner, load in zip(learners, loads, strict=True):
            at = NOW + timedelta(seconds=second)
            learner.observe(load.reading(), limits=limits, delay=DELAY, prefer_cost=False, at=at)


def _microseconds(act: Callable[[Load, int], None], loads: Sequence[Deployment], seconds: int) -> float:
    """Return the CPU of one reading, the making of the readings left out."""
    spent = 0.0
    for _ in range(seconds):
        for place, load in enumerate(loads):
            reading = load.reading()
            begin = time.process_time()
            act(reading, place)
            spent += time.process_time() - begin
    return spent / seconds / len(loads) * 1e6


if __name__ == "__main__":
    sys.exit(main())
