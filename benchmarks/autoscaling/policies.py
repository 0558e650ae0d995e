"""The table "Autoscaling policies" of docs/benchmarks/: ``python -m benchmarks.autoscaling.policies``.

Seven loads, three start delays, each policy with its defaults and tuned, beside the clairvoyant bound. Every trace is
replayed whole: its first half is the warm-up, on which each rule is tuned and ours learns, and the second half is
judged. Azure is left out where its file is not given. A second table says of each cell whether ours did what it is to
do: keep 99 % in time where any other rule does, for no more than 3 % above the cheapest of those; elsewhere have the
largest share of all elastic rules, or one within a point of it for half its cost.

Rows come as lines of JSON in ``--out``, load by load; with ``--reuse`` the rows of such a file are taken for all
policies but ours, where it has all of them: after a run that was broken off, or when only our policy has changed since.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llama_operator.replay.bound import bound
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.registry import OURS, written
from llama_operator.replay.traces import Trace, load
from llama_operator.replay.tuning import SHARE, attempt, tune

DELAYS = (5.0, 60.0, 300.0)  # seconds
RULES: dict[str, dict[str, float]] = {"knative": {}, "hpa": {}, "keda": {}, "ray": {}}
SHIPPED: dict[str, dict[str, float]] = {"formula": {}, **RULES}
MADE_UP = {
    "Gamma CV 1": "gamma:6,1,2400,21",
    "Gamma CV 2": "gamma:6,2,2400,21",
    "Gamma CV 4": "gamma:6,4,2400,21",
    "Gamma CV 8": "gamma:6,8,2400,21",
    "step 1 to 10 to 1": "step:1,10,3600,21",
    "three days": "day:0.2,2,259200,21",
}
MARGIN = 1.03  # of the cheapest rule's cost


@dataclass(frozen=True)
class Cell:
    """One load with one start delay, and which of its rows are asked for."""

    load: str
    delay: float
    azure: str | None
    only_ours: bool = False

    def trace(self) -> Trace:
        """Return the whole trace."""
        return load(MADE_UP.get(self.load) or self.azure or "")


def rows(cell: Cell) -> list[dict[str, Any]]:
    """All rows of a cell; the bound is a row, too."""
    trace = cell.trace()
    half = trace.seconds / 2
    parameters = Parameters(startDelay=cell.delay)

    def row(name: str, form: str, settings: dict[str, float]) -> dict[str, Any]:
        judged = attempt(name, settings, trace=trace, parameters=parameters, warmup=half)
        return {**asdict(judged), "policy": name, "form": form, "settings": written(name, settings)}

    found = [row("ours", "default", {})]
    if not cell.only_ours:
        tuning = trace.part(0.0, half)
        least = bound(trace.part(half, trace.seconds), parameters) * parameters.gpus
        found.append({"policy": "bound", "form": "", "settings": "", "gpu_seconds": least, "share": SHARE})
        found += [row(name, "default", settings) for name, settings in SHIPPED.items()]
        found += [row(name, "tuned", tune(name, tuning, parameters)) for name in (*RULES, "static")]
    return [{"load": cell.load, "delay": cell.delay, **one} for one in found]


def verdict(ours: dict[str, Any], other: dict[str, Any]) -> str:
    """Ours has won where it has as good a share, or the asked one, and costs less."""
    enough = ours["share"] >= min(SHARE, other["share"])
    cheaper = ours["gpu_seconds"] < other["gpu_seconds"]
    if enough and cheaper:
        return "won"
    if other["share"] >= min(SHARE, ours["share"]) and not cheaper:
        return "lost"
    return "cheaper, more late" if cheaper else "dearer, fewer late"


def outcome(cell: Sequence[dict[str, Any]]) -> tuple[bool, str]:
    """Return whether ours did in a cell what it is to do, and the figures that decide it."""
    ours = next(one for one in cell if one["policy"] == "ours")
    others = [one for one in cell if one["policy"] not in (*OURS, "bound")]
    keep = [one for one in others if one["share"] >= SHARE]
    if keep:
        best = min(keep, key=lambda one: float(one["gpu_seconds"]))
        cost = ours["gpu_seconds"] / best["gpu_seconds"]
        said = f"{100 * ours['share']:.2f} % for {cost:.2f} of {best['settings']}"
        return ours["share"] >= SHARE and cost <= MARGIN, said
    best = max((one for one in others if one["policy"] != "static"), key=lambda one: float(one["share"]))
    cost = ours["gpu_seconds"] / best["gpu_seconds"]
    said = f"none keeps 99 %; {100 * ours['share']:.2f} % for {cost:.2f} of {best['settings']}"
    said += f" with {100 * best['share']:.2f} %"
    return ours["share"] >= best["share"] or (ours["share"] >= best["share"] - 0.01 and cost <= 0.5), said


def outcomes(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the second table."""
    yield "| load | start | done | ours, beside the cheapest other rule that keeps 99 % |"
    yield "|---|---|---|---|"
    for load_, delay in _cells_of(found):
        done, said = outcome(_of(found, load_, delay))
        yield f"| {load_} | {delay:.0f} s | {'yes' if done else '**no**'} | {said} |"


def _cells_of(found: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    return list(dict.fromkeys((one["load"], one["delay"]) for one in found))


def markdown(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table as it stands in the documentation."""
    yield "| load | start | policy | settings | GPU-seconds | / bound | in time | p50 | p99 | turns | ours |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for load_, delay in _cells_of(found):
        cell = _of(found, load_, delay)
        ours = next(one for one in cell if one["policy"] == "ours")
        least = next(one["gpu_seconds"] for one in cell if one["policy"] == "bound")
        for one in sorted(cell, key=_place):
            yield f"| {load_} | {delay:.0f} s | {_cells(one, ours, least)} |"


def _place(row: dict[str, Any]) -> tuple[bool, bool, bool, str]:
    """Ours first, then the bound, then the formula alone."""
    policy = row["policy"]
    return policy != "ours", policy != "bound", policy != "formula", row["form"]


def _cells(one: dict[str, Any], ours: dict[str, Any], least: float) -> str:
    name = f"{one['policy']}, {one['form']}" if one["form"] else "**bound**"
    cost = f"{one['gpu_seconds']:.0f} | {one['gpu_seconds'] / least:.2f} | {100 * one['share']:.2f} %"
    if one["policy"] == "bound":
        return f"{name} | | {cost} | | | |"
    settings = one["settings"].partition(":")[2].replace(":", ", ")
    figures = f"{one['p50']:.1f} s | {one['p99']:.1f} s | {one['turns']}"
    return f"{name} | {settings} | {cost} | {figures} | {'' if one is ours else verdict(ours, one)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the table; figures are seconds of virtual time, so the machine's speed does not matter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling.policies", description=__doc__)
    parser.add_argument("--azure", help="AzureLLMInferenceTrace_conv.csv")
    parser.add_argument("--processes", type=int, choices=[1, 2], default=1)
    parser.add_argument("--out", type=Path, help="all rows as lines of JSON")
    parser.add_argument("--reuse", type=Path, help="rows of an earlier --out for everything but ours")
    given = parser.parse_args(arguments)
    kept = [one for one in (_read(given.reuse) if given.reuse else []) if one["policy"] != "ours"]
    loads = [*(["Azure"] if given.azure else []), *MADE_UP]
    cells = [Cell(one, delay, given.azure, _whole(kept, one, delay)) for one in loads for delay in DELAYS]
    with multiprocessing.Pool(given.processes) as pool:
        found: list[dict[str, Any]] = []
        for cell, more in zip(cells, _progress(pool.imap(rows, cells), len(cells)), strict=True):
            found += more + (_of(kept, cell.load, cell.delay) if cell.only_ours else [])
            if given.out:
                given.out.write_text("".join(f"{json.dumps(one)}\n" for one in found))
    print("\n".join([*markdown(found), "", *outcomes(found)]))
    return 0


def _of(kept: Sequence[dict[str, Any]], load_: str, delay: float) -> list[dict[str, Any]]:
    return [one for one in kept if (one["load"], one["delay"]) == (load_, delay)]


def _whole(kept: Sequence[dict[str, Any]], load_: str, delay: float) -> bool:
    return len(_of(kept, load_, delay)) == 2 * len(RULES) + 3  # each rule twice, a fixed number, the formula, the bound


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _progress(results: Iterable[list[dict[str, Any]]], total: int) -> Iterator[list[dict[str, Any]]]:
    begin = time.monotonic()
    for number, one in enumerate(results, 1):
        cell = f"{one[0]['load']}, {one[0]['delay']:.0f} s"
        sys.stderr.write(f"{number}/{total} {cell} ({time.monotonic() - begin:.0f} s)\n")
        yield one


if __name__ == "__main__":
    sys.exit(main())
