"""One simulated group: its pods, its stager, its engine and its gate, by the times that are set."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache

from llama_operator.observe.pods import PodView, Waiting, pod_view
from llama_operator.plan.naming import GroupId
from llama_operator.ports import SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import (
    DesiredState,
    GoldenPrompt,
    GoldenResult,
    Measurement,
    StagedWeights,
    StagingState,
    SwapState,
    Verify,
    WeightsArtifact,
    texts_hash,
)
from llama_serving.config.reasons import CellReason, StagingReason
from llama_serving.config.state import CellState, Phase

RESTARTS = 9  # of an engine that does not start


@dataclass(frozen=True)
class Spans:
    """How long things take, in seconds."""

    stage: int = 60  # weights of one version into the pods of a group
    start: int = 120  # from the pods made to the engine's first answer, staging not counted
    swap: int = 5
    verify: int = 2
    requests: int = 10  # until the requests of a group that left the rotation have ended
    end: int = 5  # until pods that were deleted are gone
    recheck: int = 1  # of weights that are on the disk and wanted again
    read_lag: int = 0  # until stager and engine have read a new desired state
    rehearse: int = 0  # until image and configuration of new pods were tried
    kubelet_lag: int = 0  # until a kubelet has seen a gate and shows it in its pod's readiness


@dataclass(frozen=True)
class Faults:
    """Ids of weights, or revisions of pods, for which something goes wrong; ``{step: "v2"}`` in a file."""

    staging: str = ""
    swap: str = ""
    verify: str = ""
    start: str = ""
    canary: str = ""

    def slow_for(self, weights: str) -> bool:
        """Return whether the first byte comes late from these weights."""
        return hits(self.canary, weights)


def hits(fault: str, weights: str) -> bool:
    """Return whether the fault names these weights, by their revision."""
    return bool(fault) and weights.partition("@")[0] == fault


def _golden_result(asked: GoldenPrompt, *, bad: bool) -> GoldenResult:
    """Return what an engine gives; a bad one does not call functions."""
    call = asked.expect_call
    if call is None:
        return GoldenResult(prompt=asked.prompt, passed=True, answer=asked.expect)
    if not bad:
        return GoldenResult(prompt=asked.prompt, passed=True, answer="", call=call.name, arguments=call.arguments)
    arguments = f" with {call.arguments}" if call.arguments else ""
    problem = f"expected a call of {call.name}{arguments}, got no text and no call"
    return GoldenResult(prompt=asked.prompt, passed=False, answer="", problem=problem)


@lru_cache(maxsize=1024)  # asked for in each second of a simulation
def _bare_pod(name: str) -> PodView:
    return pod_view({"metadata": {"name": name, "uid": name}})


@dataclass
class SimulatedGroup:
    """A simulated group: all its pods have one pod hash."""

    id: GroupId
    stages: int
    file: WeightsArtifact
    spans: Spans
    faults: Faults
    made: datetime
    desired: list[tuple[datetime, DesiredState]] = field(
        default_factory=list
    )  # of its stages, and when they have read them
    staged: dict[str, datetime] = field(default_factory=dict)  # digest -> when it is ready
    starts: datetime | None = None  # when the engine comes up
    engine: WeightsArtifact | None = None
    swapping: WeightsArtifact | None = None
    swap: SwapState | None = None
    until: datetime | None = None  # end of the swap
    measured: datetime | None = None  # when the verdict is there
    gate: bool | None = None
    gate_since: datetime | None = None
    gateway_weights: str = ""  # weights as the gateways know them
    leaves: datetime | None = None
    shown: list[tuple[datetime, bool]] = field(default_factory=list)  # readiness, and from when the kubelet shows it

    # -- what is done to it --------------------------------------------------------------------------------------------

    def rotate(self, now: datetime, *, open_: bool, weights: str) -> None:
        """Set the gate."""
        self.gate, self.gate_since = open_, now
        self.gateway_weights = weights or self.gateway_weights
        self._notice(now)

    def leave(self, now: datetime) -> None:
        """Delete its pods."""
        if self.leaves is None:
            busy = self.spans.requests if self.gateway_weights else 0
            self.leaves = now + timedelta(seconds=self.spans.end + busy)

    def put_desired(self, desired: DesiredState, now: datetime) -> None:
        """Give its stages their desired state."""
        if desired == self._last_desired:
            return
        before = {one.weights.digest for one in self._to_stage}
        read = now + timedelta(seconds=self.spans.read_lag)
        self.desired = [*(one for one in self.desired if one[0] <= now), (read, desired)]  # one not read yet is lost
        self._stage(self._to_stage, read, before)

    @property
    def _last_desired(self) -> DesiredState | None:
        """The last desired state that it was given."""
        return self.desired[-1][1] if self.desired else None

    @property
    def _to_stage(self) -> tuple[WeightsArtifact, ...]:
        return self._last_desired.staged if self._last_desired else (self.file,)

    def _stage(self, wanted: tuple[WeightsArtifact, ...], now: datetime, before: Collection[str]) -> None:
        """Stage what is wanted; what is on the disk but was not wanted ``before`` is checked again."""
        for digest in (one.weights.digest for one in wanted):
            fresh = digest not in self.staged
            if fresh or (digest not in before and self.staged[digest] <= now):
                self.staged[digest] = now + timedelta(seconds=self.spans.stage if fresh else self.spans.recheck)

    # -- time ----------------------------------------------------------------------------------------------------------

    def step(self, now: datetime) -> None:
        """End what has ended by now."""
        self._work(now)
        self._notice(now)

    def _work(self, now: datetime) -> None:
        self._stage((self.file,), now, {self.file.weights.digest})
        serve = self._serve(now)
        if self.engine is None:
            self._start(serve, now)
            return
        if self.until and now >= self.until:
            self._swapped(now)
        target = self.swapping or self.engine
        if serve.weights.digest != target.weights.digest or (self._swap_failed() and self._is_other(serve)):
            self.swapping, self.until = serve, now + timedelta(seconds=self.spans.swap)
            self.swap = SwapState(digest=serve.weights.digest, outcome="running")
            self.measured = None

    def _is_other(self, serve: WeightsArtifact) -> bool:
        return self.swap is not None and self.swap.digest != serve.weights.digest

    def _swap_failed(self) -> bool:
        return self.swap is not None and self.swap.outcome == "failed"

    def _swapped(self, now: datetime) -> None:
        wanted, self.until = self.swapping, None
        if wanted is None:
            return
        if hits(self.faults.swap, wanted.weights.id):
            self.swap = SwapState(digest=wanted.weights.digest, outcome="failed", message="a stage could not read them")
            return
        self.engine, self.swapping = wanted, None
        self.swap = SwapState(digest=wanted.weights.digest, outcome="done", seconds=self.spans.swap)
        self.measured = now + timedelta(seconds=self.spans.verify)

    def _start(self, serve: WeightsArtifact, now: datetime) -> None:
        if not self._is_staged(serve, now) or self._fails(now):
            return
        if self.starts is None:
            self.starts = now + timedelta(seconds=self.spans.start)
        if now >= self.starts:
            self.engine, self.measured = serve, now + timedelta(seconds=self.spans.verify)

    def _fails(self, now: datetime) -> bool:
        return hits(self.faults.start, self._serve(now).weights.id)

    def _serve(self, now: datetime) -> WeightsArtifact:
        desired = self._read(now)
        if desired is None:
            return self.file
        found = (one for one in desired.staged if one.weights.digest == desired.serve.digest)
        return next(found, self.file)

    def _read(self, now: datetime) -> DesiredState | None:
        """Return the last desired state that stager and engine have read."""
        return next((desired for read, desired in reversed(self.desired) if read <= now), None)

    def _is_staged(self, serve: WeightsArtifact, now: datetime) -> bool:
        ready = self.staged.get(serve.weights.digest)
        return ready is not None and now >= ready and not hits(self.faults.staging, serve.weights.id)

    def _notice(self, now: datetime) -> None:
        """Let the kubelet show, after a while, what is true now."""
        if not self.shown or self.shown[-1][1] != self.ready:
            self.shown.append((now + timedelta(seconds=self.spans.kubelet_lag), self.ready))

    def due(self, now: datetime) -> Iterator[datetime]:
        """Yield the moments at which something ends by itself."""
        crash = self._crash_time if self._fails(now) else None
        late = (moment for moment, _ in (*self.shown, *self.desired))
        found = (self.starts, self.until, self.measured, self.leaves, crash, *self.staged.values(), *late)
        yield from (moment for moment in found if moment and moment > now)
        if self.gate is False and self.gate_since:
            yield self.gate_since + timedelta(seconds=self.spans.kubelet_lag + self.spans.requests)

    def gone(self, now: datetime) -> bool:
        """Return whether its pods are no more."""
        return self.leaves is not None and now >= self.leaves

    # -- what is seen --------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """The leader is ready: its gate is open and its engine answers."""
        return bool(self.gate) and self.engine is not None and self.swapping is None and self.leaves is None

    def shows_ready(self, now: datetime) -> bool:
        """Return whether the leader's pod is ready, as everybody sees it: a while after it became so."""
        return next((ready for moment, ready in reversed(self.shown) if moment <= now), False)

    def busy(self, now: datetime) -> bool:
        """Return whether requests still run that began before the gateways saw it leave the rotation."""
        if self.gate is not False or not self.gateway_weights or self.gate_since is None:
            return False
        return now < self.gate_since + timedelta(seconds=self.spans.kubelet_lag + self.spans.requests)

    def pods(self, now: datetime) -> Iterator[PodView]:
        """Yield its pods."""
        for stage in range(self.stages):
            yield replace(
                _bare_pod(self.id.pod(stage)),
                component=names.COMPONENT_STAGE,
                group=self.id.ordinal,
                stage=stage,
                pod_hash=self.id.pod_hash,
                phase="Running",
                node=f"node of group {self.id.ordinal}",
                ip=self.id.pod(stage),
                created=self.made,
                gone_by=self.leaves,
                ready=stage == 0 and self.shows_ready(now),
                in_rotation=self.gate if stage == 0 else None,
                rotation_since=self.gate_since,
                weights=self.gateway_weights if stage == 0 else "",
                restarts=RESTARTS if self._crashes(now) and stage == 0 else 0,
                waiting=Waiting("stage", "CrashLoopBackOff", "") if self._crashes(now) and stage == 0 else None,
            )

    def _crashes(self, now: datetime) -> bool:
        return self.engine is None and self._fails(now) and now >= self._crash_time

    @property
    def _crash_time(self) -> datetime:
        return self.made + timedelta(seconds=self.spans.stage + self.spans.start)

    def answers(self, now: datetime, deployment: str) -> dict[str, SupervisorAnswer]:
        """Return what its supervisors answer."""
        return {
            self.id.pod(stage): SupervisorAnswer(self._state(stage, now, deployment)) for stage in range(self.stages)
        }

    def _state(self, stage: int, now: datetime, deployment: str) -> CellState:
        up, desired = self.engine is not None, self._last_desired
        verdict = self.measurement(now) if stage == 0 else None
        return CellState(
            deployment=deployment,
            group=self.id.ordinal,
            stage=stage,
            pod_hash=self.id.pod_hash,
            weights=self.engine.weights.id if self.engine and stage == 0 else "",
            phase=Phase.SERVING if up else Phase.LOADING,
            reason=CellReason.SERVING if up else CellReason.ENGINE_STARTING,
            message="the engine answers" if up else "the engine starts",
            phase_seconds=0,
            uptime_seconds=0,
            stages_total=self.stages,
            ready=up and verdict is not None and self.swapping is None,
            desired=desired.key if desired else "",
            staging=self._staging(now),
            swap=self.swap if stage == 0 else None,
            measurement=verdict,
            timings={"start": self.spans.start} if up else {},
        )

    def _staging(self, now: datetime) -> StagingState:
        """Return how far staging is, by the last desired state that the stager has read."""
        desired = self._read(now)
        items = desired.staged if desired else (self.file,)
        return StagingState(
            desired=desired.key if desired else "", weights=tuple(self._staged(item, now) for item in items)
        )

    def _staged(self, item: WeightsArtifact, now: datetime) -> StagedWeights:
        digest, name = item.weights.digest, item.weights.id
        if hits(self.faults.staging, name):
            return StagedWeights(
                digest=digest,
                id=name,
                outcome="refused",
                reason=StagingReason.DIGEST_DIFFERS,
                message="the bytes differ",
            )
        return StagedWeights(digest=digest, id=name, outcome="ready" if now >= self.staged[digest] else "working")

    def measurement(self, now: datetime) -> Measurement | None:
        """Return what its leader measured of the weights that it has; None while it measures."""
        if self.engine is None or self.measured is None or now < self.measured:
            return None
        desired, weights = self._last_desired, self.engine.weights
        asked = desired.verify if desired else Verify()
        bad = hits(self.faults.verify, weights.id)
        golden = tuple(_golden_result(one, bad=bad) for one in asked.golden)
        return Measurement(
            digest=weights.digest,
            id=weights.id,
            checks=asked.key,
            golden=golden,
            mean_logprob=-9.0 if bad else -3.0,
            texts=texts_hash(asked.quality_texts),
            answer_hash=weights.digest[7:23],
            seconds=self.spans.verify,
        )
