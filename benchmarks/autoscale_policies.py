"""The table "Autoscaling policies" of docs/benchmarks/: ``python -m benchmarks.autoscale_policies``.

Five loads, three start delays, each policy with its defaults and tuned, beside the clairvoyant bound. Every rule is
tuned for each load and delay on another trace of the same kind (another seed; the first half of the Azure trace), ours
has its defaults (docs/benchmarks/2026-11-27-autoscaling-policies.md). Azure is left out where its file is not
given. Rows come as lines of JSON in ``--out``, load by load; with ``--reuse`` the rows of such a file are taken for all
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
from llama_operator.replay.registry import written
from llama_operator.replay.traces import Trace, load
from llama_operator.replay.tuning import SHARE, attempt, tune

DELAYS = (5.0, 60.0, 300.0)  # seconds
RULES: dict[str, dict[str, float]] = {"knative": {}, "hpa": {}, "keda": {}, "ray": {}}
MADE_UP = {
    "Gamma CV 1": ("gamma:6,1,2400,{}", 1, 21),
    "Gamma CV 4": ("gamma:6,4,2400,{}", 1, 21),
    "Gamma CV 8": ("gamma:6,8,2400,{}", 1, 21),
    "step 1 to 10 to 1": ("step:1,10,3600,{}", 1, 21),
}


@dataclass(frozen=True)
class Cell:
    """One load with one start delay, and which of its rows are asked for."""

    load: str
    delay: float
    azure: str | None
    only_ours: bool = False

    def traces(self) -> tuple[Trace, Trace]:
        """For tuning, and for judging."""
        if self.load in MADE_UP:
            name, tuning, judging = MADE_UP[self.load]
            return load(name.format(tuning)), load(name.format(judging))
        whole = load(self.azure or "")
        return whole.half(second=False), whole.half(second=True)


def rows(cell: Cell) -> list[dict[str, Any]]:
    """All rows of a cell; the bound is a row, too."""
    tuning, judging = cell.traces()
    parameters = Parameters(startDelay=cell.delay)

    def row(name: str, form: str, settings: dict[str, float]) -> dict[str, Any]:
        judged = attempt(name, settings, trace=judging, parameters=parameters)
        return {**asdict(judged), "policy": name, "form": form, "settings": written(name, settings)}

    found = [row("ours", "default", {})]
    if not cell.only_ours:
        least = bound(judging, parameters) * parameters.gpus
        found.append({"policy": "bound", "form": "", "settings": "", "gpu_seconds": least, "share": SHARE})
        found += [row(name, "default", settings) for name, settings in RULES.items()]
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


def markdown(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table as it stands in the documentation."""
    yield "| load | start | policy | settings | GPU-seconds | / bound | in time | p50 | p99 | turns | ours |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for load_, delay in dict.fromkeys((one["load"], one["delay"]) for one in found):
        cell = [one for one in found if (one["load"], one["delay"]) == (load_, delay)]
        ours = next(one for one in cell if one["policy"] == "ours")
        least = next(one["gpu_seconds"] for one in cell if one["policy"] == "bound")
        for one in sorted(cell, key=lambda row: (row["policy"] != "ours", row["policy"] != "bound", row["form"])):
            yield f"| {load_} | {delay:.0f} s | {_cells(one, ours, least)} |"


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale_policies", description=__doc__)
    parser.add_argument("--azure", help="AzureLLMInferenceTrace_conv.csv")
    parser.add_argument("--processes", type=int, choices=[1, 2], default=1)
    parser.add_argument("--out", type=Path, help="all rows as lines of JSON")
    parser.add_argument("--reuse", type=Path, help="rows of an earlier --out for everything but ours")
    given = parser.parse_args(arguments)
    kept = [one for one in (_read(given.reuse) if given.reuse else []) if one["policy"] != "ours"]
    loads = [*(["Azure, second half"] if given.azure else []), *MADE_UP]
    cells = [Cell(one, delay, given.azure, _whole(kept, one, delay)) for one in loads for delay in DELAYS]
    with multiprocessing.Pool(given.processes) as pool:
        found: list[dict[str, Any]] = []
        for cell, more in zip(cells, _progress(pool.imap(rows, cells), len(cells)), strict=True):
            found += more + (_of(kept, cell.load, cell.delay) if cell.only_ours else [])
            if given.out:
                given.out.write_text("".join(f"{json.dumps(one)}\n" for one in found))
    print("\n".join(markdown(found)))
    return 0


def _of(kept: Sequence[dict[str, Any]], load_: str, delay: float) -> list[dict[str, Any]]:
    return [one for one in kept if (one["load"], one["delay"]) == (load_, delay)]


def _whole(kept: Sequence[dict[str, Any]], load_: str, delay: float) -> bool:
    return len(_of(kept, load_, delay)) == 2 * len(RULES) + 2  # each rule twice, the fixed number, the bound


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
