"""Many LlamaDeployments of one group each: how long until all are ready, and what it costs.

    python -m benchmarks.scale 30 100 300

For each number: a real API server and etcd (the contract tests' ones), the real ``python -m llama_operator`` with the
chart's rights and the view of the cluster, 100 made-up nodes. Scheduler, kubelets, Jobs and supervisors are fakes that
do at once what they are asked, over real HTTP (world.py). There is no controller manager.

Printed: seconds until all are ready; CPU of the operator; its highest resident memory; requests by verb, from the API
server's audit log; answers of /live that came late (5 s) or were bad, and the slowest; then CPU at rest.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._machine import watched_cores
from benchmarks.scale.world import World, deployment, world_of
from llama_operator.adapters.api_calls import Call, items_of
from llama_operator.api import API_VERSION, KIND, PLURAL
from testbed.audit import events
from tests.contract.support.apiserver import ApiServer, client_of, control_plane
from tests.contract.support.operators import OperatorProcess, operator, until
from tests.contract.support.stand import ACCOUNT, Stand, give_rights

LIVE_TIMEOUT = 5.0  # seconds, as in the chart
LONGEST = 900.0  # seconds
REST = 60.0  # seconds over which the CPU at rest is taken
SETTLE = 20.0  # seconds before that
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Liveness:
    """What the kubelet's probe would have seen."""

    asked: int = 0
    failed: int = 0
    slowest: float = 0.0

    async def probe(self, one: OperatorProcess) -> None:
        """Ask once a second for ever."""
        while True:
            begun = time.monotonic()
            good = await asyncio.to_thread(self._ask, one)
            took = time.monotonic() - begun
            self.asked += 1
            self.failed += not good
            self.slowest = max(self.slowest, took)
            await asyncio.sleep(max(0.0, 1 - took))

    def _ask(self, one: OperatorProcess) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/live", timeout=LIVE_TIMEOUT) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass
class Row:
    """What was measured for one number of deployments."""

    wanted: int
    ready: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0  # MiB
    rest: float = 0.0  # share of a core
    machine: str = ""
    verbs: Counter[str] = field(default_factory=Counter)
    live: Liveness = field(default_factory=Liveness)

    def __str__(self) -> str:
        often = ", ".join(f"{what} {one / self.wanted:.1f}" for what, one in self.verbs.most_common(12))
        lists = self.verbs["list nodes"] + self.verbs["list pods"]
        verbs = f"{often}; lists of nodes and pods in all {lists}"
        return (
            f"{self.wanted:>4}: {self.ready} ready in {self.seconds:.1f} s; operator {self.cpu:.1f} CPU s, "
            f"{self.peak:.0f} MiB at most, {self.rest:.1%} of a core at rest; requests a deployment: {verbs}; "
            f"/live {self.live.failed} of {self.live.asked} failed, slowest {self.live.slowest:.2f} s; {self.machine}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each number in a control plane of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("numbers", type=int, nargs="+", help="numbers of LlamaDeployments")
    numbers: list[int] = parser.parse_args(arguments).numbers
    for number in numbers:
        with control_plane("scale") as server, tempfile.TemporaryDirectory() as folder:
            row = asyncio.run(measured(server, number, folder=Path(folder)))
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    return 0


async def measured(server: ApiServer, number: int, *, folder: Path) -> Row:
    """Bring up ``number`` deployments."""
    namespace, row = server.fresh_namespace(), Row(number)
    give_rights(server, namespace)
    async with await client_of(server) as api:
        stand, world = Stand(server, namespace, api), await world_of(api, namespace)
        kubeconfig = stand.kubeconfig_of(ACCOUNT, folder / "kubeconfig")
        async with world.running(), watched_cores() as cores:
            with operator(kubeconfig, namespace, folder=folder) as one:
                await _until_it_serves(one, namespace)
                probing = asyncio.create_task(row.live.probe(one))
                since, begun, before = datetime.now(UTC), time.monotonic(), cpu_seconds(one)
                await _create(world, number)
                row.ready = await _wait(world, number, begun + LONGEST)
                row.seconds, row.cpu = time.monotonic() - begun, cpu_seconds(one) - before
                row.machine = str(cores.between(begun, time.monotonic()))
                row.verbs = requests(server, namespace, since)
                await asyncio.sleep(SETTLE)
                before = cpu_seconds(one)
                await asyncio.sleep(REST)
                row.rest = (cpu_seconds(one) - before) / REST
                row.peak = peak_memory(one)
                probing.cancel()
                if row.ready < number:
                    sys.stderr.write(one.log.read_text()[-3000:])
    return row


async def _until_it_serves(one: OperatorProcess, namespace: str) -> None:
    await asyncio.to_thread(until, lambda: one.serves(namespace), "the operator serves", operators=(one,))


async def _create(world: World, number: int) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{world.namespace}/{PLURAL}"
    for one in range(number):
        body = {"apiVersion": API_VERSION, "kind": KIND, **deployment(f"model-{one}", one)}
        await world.calls.send("POST", path, Call(body=body))


async def _wait(world: World, number: int, end: float) -> int:
    """Wait until all are ready; return how many are."""
    path = f"/apis/{API_VERSION}/namespaces/{world.namespace}/{PLURAL}"
    while True:
        found = items_of(await world.calls.send("GET", path))
        ready = len([one for one in found if one.get("status", {}).get("readyReplicas", 0) >= 1])
        if ready >= number or time.monotonic() > end:
            return ready
        await asyncio.sleep(0.5)


def cpu_seconds(one: OperatorProcess) -> float:
    """Return the CPU that the operator has used so far."""
    fields = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_memory(one: OperatorProcess) -> float:
    """Return the highest resident memory of the operator so far, in MiB."""
    lines = Path(f"/proc/{one.process.pid}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def requests(server: ApiServer, namespace: str, since: datetime) -> Counter[str]:
    """Count the operator's requests by verb and resource."""
    log = server.kubeconfig.parent / "audit.log"
    who = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    mine = (event for event in events(log, since) if event["user"]["username"] == who)
    return Counter(f"{event['verb']} {event['objectRef']['resource']}" for event in mine if "objectRef" in event)


if __name__ == "__main__":
    sys.exit(main())
