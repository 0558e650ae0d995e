"""Is the in-place reload right and fast on a GPU? ``PYTHONPATH=serving python -m benchmarks.gpu.reload``, without vLLM.

Two checkpoints of one rank of a Llama lie in a RAM disk. Checked: a reload equals an independent load bit for bit; no
parameter moves; no memory of the device is taken; graphs that were captured before (of the plain function, and of a
compiled one) compute with the new weights. Timed, besides the reload: the same through two pinned buffers, the copies
that bound it (pinned and pageable memory), and a load into new parameters.

    python -m benchmarks.gpu.reload --size 8b --layers 32                     # 16 GB, the whole model
    python -m benchmarks.gpu.reload --size 405b --layers 4 --tensor 8 --rank 3  # 34 GB of files, an eighth of them
    python -m benchmarks.gpu.reload --device cpu --size tiny --layers 2       # dry run on any machine

Prints a line of JSON for each step; ends with 1 where a check failed. README.md says what has been run.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.gpu.tensor_rank import SIZES, TensorRank

_PINNED: Final = 256 << 20  # bytes of a buffer; there are two
_BLOCK: Final = 1 << 30
_ROWS: Final = 8  # of the input of a graph


class Report:
    """What is printed, and whether a check failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def say(self, step: str, **values: object) -> None:
        """Print a line."""
        print(json.dumps({"step": step, **values}), flush=True)

    def check(self, step: str, *, right: bool, **values: object) -> None:
        """Print a line, and keep in mind where it is wrong."""
        self.say(step, right=right, **values)
        if not right:
            self.failed.append(step)


def sync(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(device: torch.device, work: Callable[[], object], *, rounds: int) -> list[float]:
    """Return the seconds of each round, sorted."""
    seconds = []
    for _ in range(rounds):
        sync(device)
        began = time.perf_counter()
        work()
        sync(device)
        seconds.append(round(time.perf_counter() - began, 4))
    return sorted(seconds)


class Captured:
    """A graph of a function of one input."""

    def __init__(self, rank: TensorRank, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._rank = rank
        self._input = torch.randn(_ROWS, rank.size.hidden, device=rank.device, dtype=torch.bfloat16)
        with torch.no_grad():
            self._warm_up(function)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._output = function(self._input)

    def _warm_up(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                function(self._input)
        torch.cuda.current_stream().wait_stream(side)

    def replay(self) -> torch.Tensor:
        """Return what the graph computes now."""
        self._graph.replay()
        torch.cuda.synchronize()
        return self._output.clone()

    def eager(self) -> torch.Tensor:
        """Return what the plain function makes of the same input."""
        with torch.no_grad():
            return self._rank.forward(self._input)


class PinnedCopy:
    """Copies through two pinned buffers: one is filled while the other goes to the device."""

    def __init__(self) -> None:
        self._buffers = [torch.empty(_PINNED, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._events = [torch.cuda.Event() for _ in range(2)]
        self._stream = torch.cuda.Stream()
        self._count = 0

    def __call__(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy by pieces of whole rows."""
        rows = max(1, _PINNED // source[0].nbytes)
        for start in range(0, source.shape[0], rows):
            piece, slot = source[start : start + rows], self._count % 2
            self._count += 1
            self._events[slot].synchronize()
            buffer = self._buffers[slot][: piece.nbytes].view(piece.dtype).view(piece.shape)
            buffer.copy_(piece)
            with torch.cuda.stream(self._stream):
                target[start : start + rows].copy_(buffer, non_blocking=True)
                self._events[slot].record(self._stream)


def check(rank: TensorRank, first: Path, second: Path, *, report: Report) -> int:
    """Check a load, a reload and the graphs; return the bytes of a reload."""
    moved = rank.reload(first)
    sync(rank.device)
    report.check("load", right=rank.differences(first) == [], gigabytes=round(moved / 1e9, 3))
    places = {name: tensor.data_ptr() for name, tensor in rank.parameters.items()}
    graphs = _graphs(rank, report)
    before = {name: graph.replay() for name, graph in graphs.items()}
    held = _held(rank.device)
    rank.reload(second)
    sync(rank.device)
    taken = _peak(rank.device) - held
    elsewhere = [name for name, tensor in rank.parameters.items() if tensor.data_ptr() != places[name]]
    report.check("reload", right=elsewhere == [] and taken == 0, moved=elsewhere[:3], device_bytes=taken)
    for name, graph in graphs.items():
        _check_graph(name, graph, before[name], report=report)
    report.check("bit for bit", right=(wrong := rank.differences(second)) == [], differs=wrong[:3])
    return moved


def _graphs(rank: TensorRank, report: Report) -> dict[str, Captured]:
    if rank.device.type != "cuda":
        return {}
    graphs = {"plain": Captured(rank, rank.forward)}
    try:
        graphs["compiled"] = Captured(rank, torch.compile(rank.forward, dynamic=False))
    except Exception as error:  # no compiler on the machine: the other graph is checked all the same
        report.say("compile", skipped=f"{type(error).__name__}: {error}"[:300])
    return graphs


def _check_graph(name: str, graph: Captured, before: torch.Tensor, *, report: Report) -> None:
    now, eager = graph.replay(), graph.eager()
    scale = float(eager.float().abs().max())
    difference = float((now.float() - eager.float()).abs().max())
    right = not torch.equal(before, now) and bool(torch.isfinite(now).all()) and difference <= 0.05 * scale
    report.check(f"graph {name}", right=right, largest_difference=difference, largest_value=scale)


def _held(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _peak(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated()) if device.type == "cuda" else 0


def measure(rank: TensorRank, first: Path, second: Path, *, moved: int, rounds: int, report: Report) -> None:
    """Time the reload and what bounds it, in turn with the two checkpoints."""
    turn = _in_turn(first, second)
    seconds = {"reload": timed(rank.device, lambda: rank.reload(next(turn)), rounds=rounds)}
    if rank.device.type == "cuda":
        pinned = PinnedCopy()
        seconds["through pinned buffers"] = timed(rank.device, lambda: rank.reload(next(turn), pinned), rounds=rounds)
        rank.reload(second, pinned)
        sync(rank.device)
        report.check("pinned, bit for bit", right=rank.differences(second) == [])
        seconds |= _bounds(rank.device, moved, rounds=rounds)
    seconds["into new parameters"] = timed(rank.device, lambda: _anew(rank).reload(next(turn)), rounds=2)
    fastest = {way: round(moved / 1e9 / spent[0], 2) for way, spent in seconds.items()}
    report.say("seconds", gigabytes=round(moved / 1e9, 3), **seconds)
    report.say("GB/s of the fastest", **fastest)


def _in_turn(first: Path, second: Path) -> Iterator[Path]:
    while True:
        yield first
        yield second


def _anew(rank: TensorRank) -> TensorRank:
    return TensorRank(rank.size, rank.layers, rank.tensor, rank.rank, rank.device)


def _bounds(device: torch.device, moved: int, *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of plain copies of as many bytes, from pinned and from pageable memory."""
    there = torch.empty(_BLOCK, dtype=torch.uint8, device=device)
    found = {}
    for name, pin in (("copy of pinned memory", True), ("copy of pageable memory", False)):
        here = torch.ones(_BLOCK, dtype=torch.uint8)
        here = here.pin_memory() if pin else here
        found[name] = timed(device, lambda block=here: _copies(there, block, moved), rounds=rounds)  # type: ignore[misc]
    return found


def _copies(there: torch.Tensor, here: torch.Tensor, size: int) -> None:
    while size > 0:
        part = min(size, _BLOCK)
        there[:part].copy_(here[:part], non_blocking=True)
        size -= part


def main(argv: list[str]) -> int:
    """Command line."""
    options = _parse(argv)
    torch.set_num_threads(options.threads)
    device, report = torch.device(options.device), Report()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    settings: dict[str, Any] = {key: str(value) for key, value in vars(options).items()}
    report.say("machine", torch=torch.__version__, gpu=name, **settings)
    folder = Path(tempfile.mkdtemp(prefix="llama-reload-", dir=options.folder))
    try:
        rank = TensorRank(SIZES[options.size], options.layers, options.tensor, options.rank, device)
        first, second = folder / "first", folder / "second"
        for seed, out in enumerate((first, second)):
            rank.write(out, seed=seed)
        moved = check(rank, first, second, report=report)
        measure(rank, first, second, moved=moved, rounds=options.rounds, report=report)
    finally:
        shutil.rmtree(folder)
    report.say("end", failed=report.failed)
    return 1 if report.failed else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.reload", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="8b")
    parser.add_argument("--layers", type=int, default=32, help="default 32")
    parser.add_argument("--tensor", type=int, default=1, help="tensor parallel size (default 1)")
    parser.add_argument("--rank", type=int, default=0, help="which of them this is (default 0)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="room for two checkpoints")
    parser.add_argument("--rounds", type=int, default=4, help="default 4")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; Ray gives an actor one (default 1)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
