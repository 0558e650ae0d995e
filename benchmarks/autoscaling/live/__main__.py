"""An hour of bursts on the real operator and gateway, and what the replay says of the same requests.

    python -m benchmarks.autoscaling.live [--trace gamma:2,8,3600,21] [--start 60]

A real API server and etcd, the real operator with the chart's rights, one real gateway with its own; scheduler,
kubelet, supervisors and engines are fakes (groups.py), over real HTTP. A pod takes ``--start`` seconds to get its
containers, an answer what the replay's parameters say. A client's wait is what its answer took longer than that. The
replay gets the same requests and the starts that were measured, and begins with as many groups.

Printed: the share of requests that waited no longer than promised, and GPU-seconds, as the clients measured them and
as the replay has them, of the whole trace and of its second half; and what the status says.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._machine import watched_cores
from benchmarks.autoscaling.live.gateway import ADDRESS, gateway_of
from benchmarks.autoscaling.live.groups import SlowWorld
from benchmarks.autoscaling.live.load import OpenLoad
from benchmarks.scale.world import DEVICE, deployment
from llama_operator.adapters.api_calls import ApiCalls
from llama_operator.api import API_VERSION, KIND
from llama_operator.replay.ours import ours
from llama_operator.replay.parameters import Parameters
from llama_operator.replay.report import quantile, summary
from llama_operator.replay.simulate import first_groups, simulate
from llama_operator.replay.traces import Trace, load
from llama_serving.config import names
from tests.contract.support.apiserver import ApiServer, client_of, control_plane
from tests.contract.support.operators import OperatorProcess, operator, until
from tests.contract.support.stand import ACCOUNT, Stand, give_rights

NAME = "live"
TOLD_EVERY = 60  # seconds
FIRST_START = 300.0  # seconds until the first groups serve, at most


@dataclass
class Seen:
    """What the deployment's status said, once a second; a second is missed where the API server is slow."""

    group_seconds: list[tuple[float, float]] = field(default_factory=list)  # time since the beginning, group-seconds
    rules: list[tuple[float, str]] = field(default_factory=list)  # followed from when on

    def between(self, begin: float, end: float) -> float:
        """Return the group-seconds of a part of the run."""
        return sum(seconds for at, seconds in self.group_seconds if begin <= at < end)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trace once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling.live", description=__doc__)
    parser.add_argument("--trace", default="gamma:2,8,3600,21", help="as of llama-operator replay")
    parser.add_argument("--start", type=float, default=60.0, help="seconds that a pod takes to get its containers")
    given = parser.parse_args(arguments)
    trace, parameters = load(given.trace), Parameters(startDelay=given.start, gpus=1, maxReplicas=40)
    with control_plane("live") as server, tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(server, trace, parameters=parameters, folder=Path(folder)))
    return 0


async def measure(server: ApiServer, trace: Trace, *, parameters: Parameters, folder: Path) -> None:
    """Bring up the deployment, send the trace, print the table."""
    namespace, groups = server.fresh_namespace(), first_groups(trace, parameters)
    give_rights(server, namespace)
    async with await client_of(server) as api, watched_cores() as cores:
        stand = Stand(server, namespace, api)
        world = SlowWorld(namespace, ApiCalls(api), start=parameters.startDelay, parameters=parameters)
        kubeconfig = stand.kubeconfig_of(ACCOUNT, folder / "kubeconfig")
        async with world.running():
            with operator(kubeconfig, namespace, folder=folder) as one:
                await asyncio.to_thread(until, lambda: one.serves(namespace), "the operator serves", operators=(one,))
                await asyncio.to_thread(stand.create, _deployment(parameters, groups))
                async with _in_thread(gateway_of(stand, NAME, folder)):
                    await _first_groups(stand, one, groups)
                    begun = time.monotonic()
                    sent, seen = await _send(stand, trace, parameters)
                    status = await asyncio.to_thread(_status, stand)
        await world.close()
    for line in table(sent, seen, status, groups=groups):
        print(line)
    print(f"machine: {cores.between(begun, time.monotonic())}; latest request sent {sent.late_sent:.3f} s too late")


@asynccontextmanager
async def _in_thread(block: Any) -> AsyncIterator[None]:
    """Enter and leave a block of calls that wait in a thread: the fakes answer meanwhile."""
    await asyncio.to_thread(block.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(block.__exit__, *sys.exc_info())


def _deployment(parameters: Parameters, groups: int) -> dict[str, Any]:
    body = deployment(NAME, 1)
    mine = {
        "replicas": groups, "sharding": {"pipeline": 1, "tensor": 1}, "device": {"resource": DEVICE, "count": 1},
        "maxConcurrentRequests": parameters.slots, "gateway": {"replicas": 1},
    }  # fmt: skip
    return {"apiVersion": API_VERSION, "kind": KIND, **body, "spec": body["spec"] | mine}


def _status(stand: Stand) -> dict[str, Any]:
    found: dict[str, Any] = stand.get(KIND, NAME).get("status", {})
    return found


async def _first_groups(stand: Stand, one: OperatorProcess, groups: int) -> None:
    end = time.monotonic() + FIRST_START
    while (status := await asyncio.to_thread(_status, stand)).get("readyReplicas") != groups:
        if time.monotonic() > end:
            raise TimeoutError(f"{groups} groups: not within {FIRST_START} s; {status}\n{one.log.read_text()[-3000:]}")
        await asyncio.sleep(0.5)


async def _send(stand: Stand, trace: Trace, parameters: Parameters) -> tuple[OpenLoad, Seen]:
    """Let the number of groups follow the load from now on, and send it."""
    target = {"waitSeconds": parameters.wait}
    auto = {"minReplicas": parameters.minReplicas, "maxReplicas": parameters.maxReplicas, "target": target}
    await asyncio.to_thread(stand.change, KIND, NAME, {"spec": {"autoscaling": auto}})
    sent, seen = OpenLoad(f"http://{ADDRESS}:{names.PORT_GATEWAY}", NAME, trace, parameters), Seen()
    watching = asyncio.create_task(_watch(stand, sent, seen))
    await sent.run()
    watching.cancel()
    await asyncio.wait([watching])
    return sent, seen


async def _watch(stand: Stand, sent: OpenLoad, seen: Seen) -> None:
    begun = before = told = time.monotonic()
    while True:
        status = await asyncio.to_thread(_status, stand)
        now = time.monotonic()
        seen.group_seconds.append((now - begun, status.get("replicas", 0) * (now - before)))
        before = now
        auto = status.get("autoscaling") or {}
        rule = (auto.get("promise") or {}).get("rule", "")
        if rule and (not seen.rules or seen.rules[-1][1] != rule):
            seen.rules.append((now - begun, rule))
        if now - told >= TOLD_EVERY:
            told = now
            share = _share(sent, list(sent.waits.values()))
            sys.stderr.write(
                f"{now - begun:5.0f} s: {len(sent.waits)} answers, {share:.2%} in time; {auto.get('target')} groups "
                f"wanted, {status.get('readyReplicas')} serve; {rule}\n"
            )
        await asyncio.sleep(max(0.0, 1 - (time.monotonic() - now)))


def _share(sent: OpenLoad, waits: Sequence[float]) -> float:
    return sum(one <= sent.parameters.wait for one in waits) / max(1, len(waits))


def table(sent: OpenLoad, seen: Seen, status: dict[str, Any], *, groups: int) -> Iterator[str]:
    """Yield the lines of what is printed."""
    starts = (status.get("autoscaling") or {}).get("starts") or [sent.parameters.startDelay]
    start = statistics.median(starts)
    parameters = sent.parameters.model_copy(update={"startDelay": start})
    yield f"starts took {min(starts):.0f} to {max(starts):.0f} s, {start:.1f} s in the median"
    yield f"{len(sent.failed)} of {len(sent.waits)} requests failed"
    yield from sent.failed[:3]
    yield "| | in time | p50 | p99 | group-seconds |"
    yield "|---|---|---|---|---|"
    for what, begin in (("whole", 0.0), ("second half", sent.trace.seconds / 2)):
        policy = ours(parameters, groups)
        replayed = summary("", simulate(sent.trace, parameters, policy, initial=groups, warmup=begin), parameters)
        waits = sorted(sent.waits[number] for number, one in enumerate(sent.trace.requests) if one.arrival >= begin)
        spent = seen.between(begin, sent.trace.seconds)
        figures = f"{quantile(waits, 0.5):.1f} s | {quantile(waits, 0.99):.1f} s | {spent:.0f}"
        yield f"| {what}, measured | {_share(sent, waits):.2%} | {figures} |"
        figures = f"{replayed.p50:.1f} s | {replayed.p99:.1f} s | {replayed.gpu_seconds:.0f}"
        yield f"| {what}, replayed | {replayed.share:.2%} | {figures} |"
    promise = (status.get("autoscaling") or {}).get("promise")
    yield f"the status: {promise}"
    yield f"rules followed: {seen.rules}"
    yield f"rules of the replay: {[(round(one.time), one.why) for one in policy.followed]}"


if __name__ == "__main__":
    sys.exit(main())
