"""What staging costs: bytes read against bytes needed, and bytes per second beside plain programs.

``python -m benchmarks.staging --size 400``. A Llama of random tensors lies behind an HTTP server with ranges on
loopback (a process of its own). For PP 2 and 4, tied and untied, the stager of every stage brings its share into a
folder; then a new stager verifies what lies there, as after a restart. In the same round the same bytes are read by
``cat``, hashed by ``sha256sum``, and copied to the disk by four ``curl``. All of them read from the page cache. Figures
are medians over the rounds, with their range.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from benchmarks import _llama_folder
from llama_serving.config.cell import WeightsRef
from llama_serving.config.desired import StagedWeights, WeightsArtifact
from llama_serving.config.names import weights_path
from llama_serving.config.weights import Manifest
from llama_serving.weights.resolve.progress import ReadProgress
from llama_serving.weights.resolve.resolve import ResolveRequest, resolve
from llama_serving.weights.source.factory import open_source
from llama_serving.weights.source.local import LocalSource
from llama_serving.weights.source.retry import RetryPolicy
from llama_serving.weights.staging.dependencies import STREAMS, StagePod, StagerDependencies
from llama_serving.weights.staging.io.control_files import DesiredFiles, StateFile
from llama_serving.weights.staging.io.disk import LocalDisk
from llama_serving.weights.staging.io.trusted_desired import TrustPaths
from llama_serving.weights.staging.stager import Stager
from testbed.ports import free_port

DEADLINE = 600.0  # seconds for one share
MB = 1_000_000


@dataclass
class Row:
    """One way of doing it: MB per second per round."""

    rates: list[float] = field(default_factory=list)

    def note(self, count: int, seconds: float) -> None:
        """So many bytes in so many seconds."""
        self.rates.append(count / MB / seconds)

    def __str__(self) -> str:
        return f"{statistics.median(self.rates):.0f} ({min(self.rates):.0f}-{max(self.rates):.0f})"


@dataclass
class Case:
    """A model cut in one way."""

    name: str
    stages: int
    read: dict[int, int] = field(default_factory=dict)  # stage -> bytes read from the source
    needed: dict[int, int] = field(default_factory=dict)
    bringing: Row = field(default_factory=Row)
    verifying: Row = field(default_factory=Row)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Return the URL of the folder on a server in another process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.staging", "--serve", str(folder), "--port", str(port)]
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{url}/config.json"], check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server of {folder} does not answer")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


async def manifest_of(folder: Path) -> Manifest:
    """As the resolver makes it."""
    silent = ReadProgress(lambda _: None)
    found = await resolve(
        LocalSource(folder, revision=""), ResolveRequest(location=str(folder)), retry=RetryPolicy(), progress=silent
    )
    if found.manifest is None:
        raise RuntimeError(found.report.message)
    return found.manifest


@contextlib.asynccontextmanager
async def stager(root: Path, item: WeightsArtifact, *, stage: int, stages: int) -> AsyncIterator[Stager]:
    """One stage's stager, told what its pod starts with."""
    (root / "weights").mkdir(parents=True, exist_ok=True)
    (root / "next.json").write_text(item.model_dump_json())
    with ThreadPoolExecutor(STREAMS + 2) as pool:
        deps = StagerDependencies(open_source=open_source, disk=LocalDisk(), pool=pool, retry=RetryPolicy())
        paths = TrustPaths(
            key=root / "stager-key" / "token", signed=root / "signed", memory=root / "memory", pod="benchmark"
        )
        desired_files = DesiredFiles(desired=root / "desired.json", configured=root / "next.json", paths=paths)
        pod = StagePod(mount=root / "weights", stage=stage, stages=stages, holder="benchmark")
        one = Stager(pod=pod, deps=deps, desired_files=desired_files, state_file=StateFile(root / "staging.json"))
        try:
            yield one
        finally:
            await one.close()


async def until_ready(one: Stager) -> tuple[StagedWeights, float]:
    """Return what is reported at the end, and the seconds until then."""
    begun = time.monotonic()
    while time.monotonic() - begun < DEADLINE:
        await one.step()
        if one.state and one.state.weights:
            staged = one.state.weights[0]
            if staged.outcome == "ready":
                return staged, time.monotonic() - begun
            if staged.outcome == "refused":
                raise RuntimeError(staged.message)
        await asyncio.sleep(0.005)
    raise RuntimeError(f"not ready within {DEADLINE} s: {one.state}")


async def measure(case: Case, item: WeightsArtifact, root: Path) -> None:
    """Every stage once: bring, then verify as after a restart."""
    bytes_, seconds, again = 0, 0.0, 0.0
    for stage in range(case.stages):
        pod = root / f"stage-{stage}"
        async with stager(pod, item, stage=stage, stages=case.stages) as one:
            staged, took = await until_ready(one)
        async with stager(pod, item, stage=stage, stages=case.stages) as one:
            _, verified = await until_ready(one)
        shutil.rmtree(pod)
        case.read[stage], case.needed[stage] = staged.bytes_read, staged.bytes_total
        bytes_, seconds, again = bytes_ + staged.bytes_total, seconds + took, again + verified
    case.bringing.note(bytes_, seconds)
    case.verifying.note(bytes_, again)


def plain(folder: Path, url: str, root: Path) -> dict[str, float]:
    """Seconds that programs take for the tensors' files."""
    files = sorted(folder.glob("*.safetensors"))
    urls = [part for file in files for part in (f"{url}/{file.name}", "-o", str(root / file.name))]
    commands = {
        "cat > /dev/null": ["cat", *map(str, files)],
        "sha256sum": ["sha256sum", *map(str, files)],
        "curl, four at a time, to the disk": [
            "curl",
            "-f",
            "--no-progress-meter",
            "--parallel",
            "--parallel-max",
            "4",
            *urls,
        ],
    }
    seconds = {}
    for name, command in commands.items():
        begun = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds[name] = time.monotonic() - begun
    for file in files:
        (root / file.name).unlink()
    return seconds


async def run(*, size: int, rounds: int, place: Path) -> list[str]:
    """Measure; return the lines of the report."""
    cases: list[Case] = []
    programs: dict[str, Row] = {}
    peak = 0
    for tied in (False, True):
        folder, kind = place / f"tied-{tied}", "tied" if tied else "untied"
        _llama_folder.make(folder, size=size, tied=tied)
        manifest = await manifest_of(folder)
        total = sum(file.size for file in manifest.files if file.path.endswith(".safetensors"))
        with served(folder) as url:
            weights = WeightsRef(path=weights_path(manifest.digest), id="x", served_name="x", digest=manifest.digest)
            item = WeightsArtifact(weights=weights, source=url, manifest=manifest)
            mine = [Case(f"{kind}, {total / MB:.0f} MB", stages) for stages in (2, 4)]
            cases += mine
            plain(folder, url, place)  # not counted: fills the page cache
            before = forget_peak()
            for number in range(rounds):
                for name, seconds in plain(folder, url, place).items():
                    programs.setdefault(name, Row()).note(total, seconds)
                for case in mine:
                    await measure(case, item, place / "pods")
                print(f"{kind}: round {number + 1} of {rounds}", file=sys.stderr)
            peak = max(peak, status_bytes("VmHWM") - before)
        shutil.rmtree(folder)
    return report(cases, programs, peak)


def forget_peak() -> int:
    """Begin a new peak of this process's memory; returns what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def status_bytes(name: str) -> int:
    """Return a size in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def report(cases: list[Case], programs: dict[str, Row], peak: int) -> list[str]:
    """Return the lines of the report."""
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}; memory grew by at most {peak / MB:.0f} MB",
        "",
        "| | stages | read / needed, worst stage | all stages | brought, MB/s | verified again, MB/s |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        worst = max(case.read[stage] / case.needed[stage] for stage in case.read)
        whole = sum(case.read.values()) / sum(case.needed.values())
        lines.append(
            f"| {case.name} | {case.stages} | {worst:.4f} | {whole:.4f} | {case.bringing} | {case.verifying} |"
        )
    lines += ["", "| the same files | MB/s |", "|---|---|"]
    return lines + [f"| {name} | {row} |" for name, row in programs.items()]


def serve(folder: Path, port: int) -> None:
    """Serve the folder; it answers ranges."""
    app = web.Application()
    app.router.add_static("/", folder)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.staging", description=__doc__)
    parser.add_argument("--size", type=int, default=400, help="MB of tensors (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    with tempfile.TemporaryDirectory(prefix="llama-staging-") as place:
        lines = asyncio.run(run(size=options.size * MB, rounds=options.rounds, place=Path(place)))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
