"""What users notice of hostile clients, and what these make a gateway take: ``python -m benchmarks.storm``.

A gateway of the default size runs in a memory cgroup. Users ask while nothing else happens, and again while hostile
clients of every kind do their worst (``attacks.py``). Printed per round: the quantiles of both, the peak of the
memory, and the longest time in which the admin port answered. Two calm parts around each storm show the machine's
noise. Exit status 1 where a user got no good answer, the gateway died, or the ratio of the medians of p99 is above 3.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Final

from benchmarks._machine import watched_cores
from benchmarks.storm.attacks import ATTACKS
from benchmarks.storm.confined import DEFAULT_MEMORY, Confined, confined
from benchmarks.storm.users import Seen, ask
from testbed.ports import free_port

#: p99 of users in a storm, in those of a calm.
TARGET: Final = 3.0
#: So many requests are in flight at once that slots of the engine are not what is measured.
SLOTS: Final = 4096


@contextlib.contextmanager
def child(module: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module until the block ends."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments]) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def engine() -> Iterator[int]:
    """Run the engine; return its port once it listens."""
    port = free_port()
    with child("benchmarks.storm.engine", str(port)):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        yield port


async def longest_admin(gateway: Confined, seconds: float) -> float:
    """Ask the admin port for some seconds, each time on a new connection; return the longest answer in seconds."""
    url, longest = f"http://127.0.0.1:{gateway.admin_port}/live", 0.0

    def once() -> float:
        begun = time.monotonic()
        with urllib.request.urlopen(url, timeout=30) as response:
            response.read()
        return time.monotonic() - begun

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        longest = max(longest, await asyncio.to_thread(once))
        await asyncio.sleep(0.25)
    return longest


async def one_round(gateway: Confined, seed: int, options: argparse.Namespace) -> tuple[list[Seen], float]:
    """Return what users saw before, in and after a storm, and the admin port's longest answer in it."""
    before = await ask(gateway.port, options.calm)
    with child("benchmarks.storm.attacks", f"127.0.0.1:{gateway.port}", str(seed), str(options.scale), *options.kinds):
        await asyncio.sleep(options.warm_up)
        storm, admin = await asyncio.gather(ask(gateway.port, options.storm), longest_admin(gateway, options.storm))
    await asyncio.sleep(3)
    return [before, storm, await ask(gateway.port, options.calm)], admin


async def measure(options: argparse.Namespace) -> int:
    """Run all rounds and print them."""
    ratios, noise, bad = [], [], 0
    with engine() as behind, confined(behind, memory=options.memory << 20, max_in_flight_per_group=SLOTS) as gateway:
        async with watched_cores() as cores:
            for number in range(options.rounds):
                begun = time.monotonic()
                seen, admin = await one_round(gateway, number, options)
                calm = min(seen[0].quantile(0.99), seen[2].quantile(0.99))
                ratios.append(seen[1].quantile(0.99) / calm)
                noise.append(max(seen[0].quantile(0.99), seen[2].quantile(0.99)) / calm)
                bad += sum(sum(part.bad.values()) for part in seen)
                for name, part in zip(("calm", "storm", "calm"), seen, strict=True):
                    p50, p99 = (1e3 * part.quantile(q) for q in (0.5, 0.99))
                    print(f"{name}: {len(part.seconds)} answers, p50 {p50:.2f} ms, p99 {p99:.2f} ms, bad {part.bad}")
                print(
                    f"round {number + 1}: {memory_of(gateway)}; admin port at most {1e3 * admin:.0f} ms; "
                    f"{cores.between(begun, time.monotonic())}",
                    flush=True,
                )
                if not gateway.is_alive():
                    return 1
    ratio = statistics.median(ratios)
    print(
        f"{os.cpu_count()} cores; p99 storm / calm: {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f}), "
        f"calm / calm {statistics.median(noise):.2f}; requests of users without a good answer: {bad}"
    )
    return int(bad > 0 or ratio > TARGET)


def memory_of(gateway: Confined) -> str:
    """Say what the gateway took, as a clause."""
    if not gateway.is_alive():
        return f"the gateway ended with {gateway.process.returncode}"
    peak = gateway.cgroup.peak()
    cgroup = "no cgroup" if peak is None else f"cgroup at most {peak / 2**20:.0f} MiB"
    return (
        f"resident at most {gateway.resident(peak=True) / 2**20:.0f} MiB, now {gateway.resident() / 2**20:.0f} MiB; "
        f"{cgroup}; {gateway.descriptors()} descriptors"
    )


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calm", type=float, default=10, help="seconds of each calm part")
    parser.add_argument("--warm-up", type=float, default=6, help="seconds of storm before users are counted")
    parser.add_argument("--storm", type=float, default=20, help="seconds of each storm")
    parser.add_argument("--scale", type=float, default=1, help="factor of the number of hostile clients")
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY >> 20, help="MiB of the gateway")
    parser.add_argument("kinds", nargs="*", choices=[[], *ATTACKS], help="kinds of hostile clients; all if absent")
    return asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
