"""The cells of a small world: supervisors, stagers and engines, one record a pod; a tick is a second."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llama_operator.ports import Manifest, SupervisorAnswer
from llama_serving.config import names
from llama_serving.config.desired import (
    AdapterRef,
    DesiredState,
    GoldenPrompt,
    GoldenResult,
    Measurement,
    StagedWeights,
    StagingState,
    SwapState,
    TextQuality,
    Verify,
    WeightsArtifact,
)
from llama_serving.config.reasons import CellReason
from llama_serving.config.state import AdapterProgress, CellState, Phase
from tests.fakes.models import Behaviour

SPEED = 20.0  # tokens per second of one request


@dataclass
class FakeCell:
    """One stage; of a leader also its engine."""

    wish: DesiredState | None = None
    staged: dict[str, int] = field(default_factory=dict)  # digest -> seconds of work
    seconds: int = 0  # with all stages running and staged
    joined: bool = False  # a worker is part of its leader's cluster, as it has last noticed
    engine: WeightsArtifact | None = None  # what the engine answers with; None before it does
    asked: Verify | None = None  # what the verdict was measured with
    verdict: Measurement | None = None
    swap: SwapState | None = None
    adapters: dict[str, str] = field(default_factory=dict)  # name -> digest that the engine answers with
    adapter_seconds: dict[str, int] = field(default_factory=dict)  # digest -> seconds of work on it

    def serve(self, file: WeightsArtifact) -> str:
        """Digest of what is to be served."""
        return self.wish.serve.digest if self.wish else file.weights.digest

    def wanted(self, file: WeightsArtifact) -> tuple[WeightsArtifact, ...]:
        """What is to lie ready."""
        return self.wish.staged if self.wish else (file,)


def _golden(asked: GoldenPrompt, behaves: Behaviour) -> GoldenResult:
    if asked.expect_call is None:
        return GoldenResult(prompt=asked.prompt, passed=behaves.golden, answer="Paris" if behaves.golden else "banana")
    name, arguments = asked.expect_call.name, asked.expect_call.arguments
    if behaves.tools:
        return GoldenResult(prompt=asked.prompt, passed=True, answer="", call=name, arguments=arguments)
    problem = f'expected a call of {name} with {arguments}, got text "It is sunny."'
    return GoldenResult(prompt=asked.prompt, passed=False, answer="It is sunny.", problem=problem)


@dataclass
class FakeCells:
    """All cells, by the uid of the pod. ``known`` tells what is wrong with the weights of a digest."""

    known: dict[str, Behaviour] = field(default_factory=dict)
    start_seconds: int = 5
    stage_seconds: int = 1
    cells: dict[str, FakeCell] = field(default_factory=dict)
    bad_adapters: set[tuple[int, str]] = field(default_factory=set)  # ordinal, and digest that its engine refuses
    stray: dict[int, str] = field(default_factory=dict)  # ordinal -> another greedy answer than the others'
    refused_adapters: dict[str, str] = field(default_factory=dict)  # name -> what the leader says of it
    swaps: list[tuple[str, str]] = field(default_factory=list)  # leader and digest of all exchanges
    texts: str = "texts-1"  # the quality texts of the serving image; empty: it is older than their hash

    def behaviour(self, digest: str) -> Behaviour:
        """Weights of which nothing is said behave well."""
        return self.known.get(digest) or Behaviour()

    def of(self, pod: Manifest) -> FakeCell:
        return self.cells.setdefault(pod["metadata"]["uid"], FakeCell())

    def step(self, pods: list[Manifest], file: WeightsArtifact, *, whole: bool, good: bool) -> None:
        """A second of one group; ``pods`` in the order of stages."""
        cells = [self.of(pod) for pod in pods]
        for cell in cells:
            self._stage(cell, file)
        leader, name = cells[0], pods[0]["metadata"]["name"]
        for cell in cells[1:]:
            cell.joined = whole
        if not whole:
            leader.seconds, leader.engine, leader.verdict, leader.swap = 0, None, None, None
            leader.adapters, leader.adapter_seconds = {}, {}
            return
        serve = leader.serve(file)
        ready = all(self._is_staged(cell, serve) for cell in cells) and self._agreed(cells)
        if leader.engine is None:
            self._start(leader, serve, file, ready=ready and good)
        elif (ready and leader.engine.weights.digest != serve) or (leader.swap and leader.swap.outcome != "done"):
            self._swap(leader, name, serve, file=file)
        else:
            self._measure(leader, pods[0])
            self._load_adapters(leader, int(pods[0]["metadata"]["labels"][names.LABEL_GROUP]))

    def _load_adapters(self, leader: FakeCell, ordinal: int) -> None:
        """One at a time, two seconds each, beside what answers; what is not wished for goes."""
        wished = {one.adapter.name: one.adapter.digest for one in (leader.wish.adapters if leader.wish else ())}
        leader.adapters = {name: digest for name, digest in leader.adapters.items() if name in wished}
        for name, digest in wished.items():
            done = leader.adapters.get(name) == digest or leader.adapter_seconds.get(digest, 0) > 1
            if done or name in self.refused_adapters:
                continue
            leader.adapter_seconds[digest] = leader.adapter_seconds.get(digest, 0) + 1
            if leader.adapter_seconds[digest] > 1 and (ordinal, digest) not in self.bad_adapters:
                leader.adapters[name] = digest
                del leader.adapter_seconds[digest]
            return

    def _progress(self, leader: FakeCell) -> tuple[AdapterProgress, ...]:
        return tuple(self._of_adapter(one.adapter, leader) for one in (leader.wish.adapters if leader.wish else ()))

    def _of_adapter(self, adapter: AdapterRef, leader: FakeCell) -> AdapterProgress:
        base = leader.engine.weights.digest if leader.engine else ""
        if said := self.refused_adapters.get(adapter.name, ""):
            return AdapterProgress(name=adapter.name, digest=adapter.digest, outcome="refused", message=said)
        if leader.adapters.get(adapter.name) == adapter.digest:
            return AdapterProgress(name=adapter.name, digest=adapter.digest, outcome="ready", base=base)
        refused = leader.adapter_seconds.get(adapter.digest, 0) > 1
        now = ("refused", "its golden prompt fails") if refused else ("loading", "it loads")
        return AdapterProgress(name=adapter.name, digest=adapter.digest, outcome=now[0], message=now[1])

    def _agreed(self, cells: list[FakeCell]) -> bool:
        return len({cell.wish.serve.digest if cell.wish else "" for cell in cells}) == 1

    def _stage(self, cell: FakeCell, file: WeightsArtifact) -> None:
        for one in cell.wanted(file):
            digest = one.weights.digest
            if cell.staged.get(digest, 0) < self.stage_seconds:
                cell.staged[digest] = cell.staged.get(digest, 0) + 1
                return

    def _is_staged(self, cell: FakeCell, digest: str) -> bool:
        return cell.staged.get(digest, 0) >= self.stage_seconds and self.behaviour(digest).staging is None

    def _start(self, leader: FakeCell, serve: str, file: WeightsArtifact, *, ready: bool) -> None:
        if not ready or not self.behaviour(serve).starts:
            leader.seconds = min(leader.seconds, 1) if ready else 0
            return
        leader.seconds += 1
        if leader.seconds >= self.start_seconds:
            leader.engine, leader.verdict = self._named(leader, serve, file), None

    def _named(self, leader: FakeCell, digest: str, file: WeightsArtifact) -> WeightsArtifact:
        return next(one for one in (*leader.wanted(file), file) if one.weights.digest == digest)

    def _swap(self, leader: FakeCell, name: str, serve: str, *, file: WeightsArtifact) -> None:
        """One second running, then done or failed; a failed one is not tried again until the wish changes."""
        swap = leader.swap
        if swap is None or swap.digest != serve:
            leader.swap, leader.verdict = SwapState(digest=serve, outcome="running", message="it runs"), None
            leader.adapters, leader.adapter_seconds = {}, {}  # they are verified anew on the other base
            self.swaps.append((name, serve))
        elif swap.outcome == "running":
            failed = self.behaviour(serve).swap
            if failed:
                leader.swap = SwapState(digest=serve, outcome="failed", message=failed, seconds=1)
            else:
                leader.swap = SwapState(digest=serve, outcome="done", seconds=1)
                leader.engine = self._named(leader, serve, file)

    def _measure(self, leader: FakeCell, pod: Manifest) -> None:
        asked = leader.wish.verify if leader.wish else Verify()
        if leader.engine is None or (leader.verdict and leader.asked == asked):
            return
        leader.asked = asked
        leader.verdict = self._verdict(leader.engine, asked, int(pod["metadata"]["labels"][names.LABEL_GROUP]))

    def _verdict(self, engine: WeightsArtifact, asked: Verify, ordinal: int) -> Measurement:
        weights = engine.weights
        behaves = self.behaviour(weights.digest)
        answer = self.stray.get(ordinal) or hashlib.sha256(weights.digest.encode()).hexdigest()[:16]
        by_text = (
            TextQuality(language="English", mean_logprob=behaves.logprob, tokens=300),
            TextQuality(language="Thai", mean_logprob=behaves.thai, tokens=100),
        )
        found: dict[str, Any] = {"checks": asked.key, "texts": self.texts, "by_text": by_text} if self.texts else {}
        return Measurement(
            digest=weights.digest, id=weights.id, stage_digests=(weights.digest,),
            golden=tuple(_golden(one, behaves) for one in asked.golden),
            mean_logprob=behaves.logprob, answer_hash=answer, error=behaves.error, seconds=0.5, **found,
        )  # fmt: skip

    # -- what a supervisor says ----------------------------------------------------------------------------------------

    def answers(self, cell: FakeCell) -> bool:
        """The leader's engine answers requests."""
        running = cell.swap is not None and cell.swap.outcome != "done"
        return cell.engine is not None and cell.verdict is not None and not running

    def state(self, pod: Manifest, leader: Manifest | None, *, stages: int, whole: bool) -> SupervisorAnswer:
        labels, cell = pod["metadata"]["labels"], self.of(pod)
        head = self.of(leader) if leader else FakeCell()
        mine = int(labels[names.LABEL_STAGE]) == 0
        phase, reason = self._phase(head, whole=whole) if mine else self._of_worker(cell)
        return SupervisorAnswer(
            CellState(
                deployment=labels[names.LABEL_DEPLOYMENT],
                group=int(labels[names.LABEL_GROUP]),
                stage=int(labels[names.LABEL_STAGE]),
                pod_hash=labels[names.LABEL_POD_HASH],
                weights=head.engine.weights.id if head.engine and mine else "",
                phase=phase,
                reason=reason,
                message=f"{phase} for {head.seconds} s",
                phase_seconds=head.seconds,
                uptime_seconds=head.seconds,
                stages_joined=stages if head.seconds else 1,
                stages_total=stages,
                ready=self.answers(head),
                desired=cell.wish.key if cell.wish else "",
                staging=self._staging(cell),
                swap=cell.swap if mine else None,
                measurement=cell.verdict if mine else None,
                adapters=self._progress(cell) if mine else (),
                tokens_per_second=SPEED if mine and cell.engine else None,
            )
        )

    def without_devices(
        self, pod: Manifest, answer: SupervisorAnswer, fault: tuple[CellReason, str], *, now: datetime
    ) -> SupervisorAnswer:
        """What the supervisor of this pod says in place of an answer when it may not have its devices."""
        assert answer.state is not None
        uptime = (now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds()
        said = {"phase": Phase.STARTING, "reason": fault[0], "message": fault[1], "ready": False}
        return SupervisorAnswer(answer.state.model_copy(update={**said, "uptime_seconds": uptime}))

    def _phase(self, head: FakeCell, *, whole: bool) -> tuple[Phase, CellReason]:
        if head.engine is None:
            if whole and head.seconds > 0:
                return Phase.LOADING, CellReason.ENGINE_STARTING
            return Phase.JOINING, CellReason.STAGES_NOT_JOINED
        if head.swap and head.swap.outcome != "done":
            failed = head.swap.outcome == "failed"
            return Phase.SERVING, CellReason.SWAP_FAILED if failed else CellReason.SWAPPING
        return Phase.SERVING, CellReason.SERVING if head.verdict else CellReason.VERIFYING

    def _of_worker(self, cell: FakeCell) -> tuple[Phase, CellReason]:
        return (Phase.SERVING, CellReason.SERVING) if cell.joined else (Phase.JOINING, CellReason.LEADER_NOT_REACHED)

    def _staging(self, cell: FakeCell) -> StagingState:
        wanted = {one.weights.digest: one.weights.id for one in (cell.wish.staged if cell.wish else ())}
        return StagingState(
            weights=tuple(self._staged(digest, wanted.get(digest, ""), done) for digest, done in cell.staged.items())
        )

    def _staged(self, digest: str, name: str, done: int) -> StagedWeights:
        refused = self.behaviour(digest).staging
        if refused:
            return StagedWeights(digest=digest, id=name, outcome="refused", reason=refused[0], message=refused[1])
        outcome = "ready" if done >= self.stage_seconds else "working"
        share = 1000 * done // self.stage_seconds
        return StagedWeights(digest=digest, id=name, outcome=outcome, bytes_done=share, bytes_total=1000)
