"""CPU of one pass of one deployment: observe, plan, manifests and status, without any read or write.

    python -m benchmarks.operator_pass                        # this checkout
    python -m benchmarks.operator_pass --against ../other     # and another one, in alternation: old / new

The deployment serves and nothing changes, which is what most passes see. It is brought up in the cluster of the tests
(tests/fakes), so each checkout is measured with the objects, answers and names that it has itself. A figure is the
median of the runs; a run is a process of its own and takes the median of its passes. The noise is the spread of the
runs: (largest - smallest) / median.
"""

import argparse
import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]
GROUPS = (1, 8, 100)
RUNS = 5
SECONDS = 2.0  # that a run passes over and over, after one pass that fills the caches
LONGEST_SETTLE = 2000  # seconds of the fake cluster

Pass = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """Milliseconds of CPU of one pass."""

    groups: int
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.runs)

    @property
    def noise(self) -> float:
        """Spread of the runs, as a share of the median."""
        return (max(self.runs) - min(self.runs)) / self.median


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure this checkout and, with ``--against``, another one; or, with ``--run``, one run of this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator_pass", description=__doc__)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout of this repository")
    parser.add_argument("--groups", type=int, nargs="+", default=list(GROUPS), help="numbers of groups")
    parser.add_argument("--runs", type=int, default=RUNS, help="processes for each figure")
    parser.add_argument("--run", type=int, metavar="GROUPS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run is not None:
        sys.stdout.write(json.dumps(milliseconds(options.run)))
        return 0
    checkouts = [HERE, *([options.against.resolve()] if options.against else [])]
    for groups in options.groups:
        sys.stdout.write(f"{line(measured(checkouts, groups, runs=options.runs))}\n")
        sys.stdout.flush()
    return 0


def measured(checkouts: Sequence[Path], groups: int, *, runs: int) -> list[Figure]:
    """Run the checkouts in alternation, so that a change of the machine's speed meets all of them."""
    found: list[list[float]] = [[] for _ in checkouts]
    for _ in range(runs):
        for place, checkout in enumerate(checkouts):
            found[place].append(one_run(checkout, groups))
    return [Figure(groups, tuple(one)) for one in found]


def one_run(checkout: Path, groups: int) -> float:
    """Measure in a process of its own, with the sources of the checkout."""
    paths = [str(checkout / "operator"), str(checkout / "serving"), str(checkout)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *sys.path])}
    command = [sys.executable, str(Path(__file__).resolve()), "--run", str(groups)]
    out = subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True, text=True).stdout
    return float(json.loads(out))


def line(figures: Sequence[Figure]) -> str:
    """Say what was measured for one number of groups."""
    new = figures[0]
    text = f"{new.groups:>4} groups: {new.median:8.2f} ms a pass, noise {new.noise:4.0%}"
    if len(figures) == 1:
        return text
    old = figures[1]
    return f"{text}; against {old.median:8.2f} ms, noise {old.noise:4.0%}; old / new {old.median / new.median:.2f}"


def milliseconds(groups: int) -> float:
    """Bring a deployment up, then pass over it again and again; return the median CPU of one pass."""
    one_pass = asyncio.run(settled_pass(groups))
    one_pass()
    spans: list[float] = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or len(spans) < 3:
        begin = time.process_time()
        one_pass()
        spans.append((time.process_time() - begin) * 1000)
    return statistics.median(spans)


async def settled_pass(groups: int) -> Pass:
    """Return one pass over a deployment that serves. Raises AssertionError when it does not come to serve."""
    fakes = importlib.import_module("tests.fakes.world")
    world = fakes.World(fakes.spec_of(replicas=groups))
    await world.settle(LONGEST_SETTLE)
    assert world.status.groups_ready == f"{groups}/{groups}"
    bodies = world.cluster.bodies(fakes.KEY)
    seen = importlib.import_module("llama_operator.reconcile").snapshot(bodies)
    cells = {pod.name: await world.nodes.state(pod.ip) for pod in seen.stages}
    loads = {pod.name: await world.nodes.load(pod.ip) for pod in seen.gateways}
    decide = _decide(world.settings, world.cluster.now)
    snapshot = importlib.import_module("llama_operator.reconcile").snapshot
    return lambda: decide(replace(snapshot(bodies), cells=cells, loads=loads))


def _decide(settings: Any, now: Any) -> Callable[[Any], object]:
    """Return plan, manifests and status of this checkout."""
    context = importlib.import_module("llama_operator.manifests.common").Context
    changes = importlib.import_module("llama_operator.manifests.changes").changes
    plan = importlib.import_module("llama_operator.plan.planner").plan
    try:
        plan_state = importlib.import_module("llama_operator.plan.groups.state").plan_state
    except ModuleNotFoundError:  # before the plan had one state object
        report = importlib.import_module("llama_operator.status").report

        def decide_on_snapshot(seen: Any) -> object:
            decided = plan(seen, settings, now)
            due = changes(decided, seen, context(seen.key, seen.uid, seen.spec, settings))
            return due, report(seen, decided, (), now)

        return decide_on_snapshot
    status = importlib.import_module("llama_operator.status.deployment").deployment_status

    def decide(seen: Any) -> object:
        state = plan_state(seen, settings, now)
        decided = plan(state)
        due = changes(decided, state, context(seen.key, seen.uid, seen.spec, settings))
        return due, status(state, decided, ())

    return decide


if __name__ == "__main__":
    sys.exit(main())
