"""How fast a hang is found, and whether one is seen where there is none: ``python -m benchmarks.hang 200``.

As root, with the serving environment. One cell of two CPU stages in two network namespaces (``tests/serving``).

1. So many times a process is stopped (SIGSTOP): each of each stage in turn, every other time under a request. Printed:
   seconds until it was ended, until the leader was not ready, and until the cell was ready again; at the end a table.
2. ``--saturation`` seconds of twice as many requests as the engine takes at once, beside ``--burners`` processes that
   take the cores. Every look at which the leader names a hang, or is not ready, is counted and printed.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from tests.serving.cells import Cell, cell_config, running_cell
from tests.serving.hangs import Outcome, Victim, state_or_none, stop, victims
from tests.serving.pods import eventually

START: Final = 900.0  # seconds; a start, and a repair
SEQUENCES: Final = 4
BURNER: Final = "while True: pass"


def main(argv: list[str]) -> int:
    """Run both parts; exit code 1 where a hang was not found, or seen where none was."""
    options = _parse(argv)
    with serving() as cell:
        outcomes = [one_hang(cell, number) for number in range(options.hangs)]
        print("\n".join(table(outcomes)), flush=True)
        alarms = saturate(cell, options.saturation, burners=options.burners)
    missed = [one for one in outcomes if one.ended is None or one.replaced is None]
    print(f"{len(outcomes)} hangs, {len(missed)} not repaired; {alarms} false alarms in {options.saturation:.0f} s")
    return 1 if missed or alarms else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hang", description=__doc__)
    parser.add_argument("hangs", type=int, nargs="?", default=200, help="how often a process is stopped")
    parser.add_argument("--saturation", type=float, default=3600, help="seconds of saturation")
    parser.add_argument("--burners", type=int, default=2, help="processes beside the cell that compute for nothing")
    return parser.parse_args(argv)


@contextmanager
def serving() -> Iterator[Cell]:
    """Start a cell with a tiny model and wait until it serves."""
    from testbed.models.tiny import make

    with tempfile.TemporaryDirectory(prefix="bench-hang-") as folder:
        models, files = Path(folder) / "models", Path(folder) / "cell"
        files.mkdir()
        make(models / "one", seed=1)
        config = cell_config(model="one", max_num_seqs=SEQUENCES)
        with running_cell(config, models=models, folder=files) as cell:
            cell.stages("one")
            eventually(lambda: cell.ready() and cell.ready(1), within=START, what="serving", tail=cell.logs)
            yield cell


def one_hang(cell: Cell, number: int) -> Outcome:
    """Stop the next process in turn, idle or busy, and wait for the repair."""
    chosen = _turn(victims(cell), number // 2)
    busy = number % 2 == 1
    with ThreadPoolExecutor() as pool:
        if busy:
            pool.submit(_ask, cell, 400)
            time.sleep(1.0)
        outcome = stop(cell, chosen, within=START)
    print(f"{number + 1} {'busy' if busy else 'idle'} {outcome.line()}", flush=True)
    return outcome


def _turn(found: Sequence[Victim], number: int) -> Victim:
    """Return a process of the ``number``-th kind: every kind of every stage has its turn."""
    kinds: dict[tuple[int, str], Victim] = {}
    for one in found:
        kinds.setdefault((one.stage, one.words), one)
    return kinds[sorted(kinds)[number % len(kinds)]]


def _ask(cell: Cell, tokens: int) -> bool:
    """Ask for so many tokens; whether they came: whoever is asked may be ended meanwhile."""
    with suppress(OSError, ValueError, KeyError):
        return cell.complete("Who waits for the others?", tokens=tokens) == tokens
    return False


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a Markdown table: one row for each kind of process of each stage."""
    kinds: dict[tuple[int, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        kinds[one.victim.stage, one.victim.words].append(one)
    yield "| stage | process | stopped | ended after, s | not ready after, s | ready again after, s |"
    yield "|---|---|---|---|---|---|"
    for (stage, words), found in sorted(kinds.items()):
        ended, unready = _span([one.ended for one in found]), _span([one.unready for one in found])
        replaced = _span([one.replaced for one in found])
        yield f"| {stage} | {words} | {len(found)} | {ended} | {unready} | {replaced} |"


def _span(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{median(known):.1f}, at most {max(known):.1f}" if known else "never"


@dataclass
class Load:
    """Requests without a pause from so many clients."""

    cell: Cell
    over: threading.Event = field(default_factory=threading.Event)
    answered: int = 0
    failed: int = 0

    def client(self) -> None:
        """Ask until it is over."""
        while not self.over.is_set():
            if _ask(self.cell, 60):
                self.answered += 1
            else:
                self.failed += 1


def saturate(cell: Cell, seconds: float, *, burners: int) -> int:
    """Return at how many looks a cell that only has too much to do was called hung or not ready."""
    load, alarms = Load(cell), 0
    with ExitStack() as undo:
        for _ in range(burners):
            burner = subprocess.Popen([sys.executable, "-c", BURNER])
            undo.callback(burner.wait)
            undo.callback(burner.kill)
        pool = undo.enter_context(ThreadPoolExecutor(2 * SEQUENCES))
        undo.callback(load.over.set)
        for _ in range(2 * SEQUENCES):
            pool.submit(load.client)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            state = state_or_none(cell)
            if state is not None and (state["hang"] is not None or not state["ready"]):
                alarms += 1
                print(f"alarm: {state['reason']}: {state['message']}", flush=True)
    print(f"saturation: {load.answered} requests answered, {load.failed} failed", flush=True)
    return alarms


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
