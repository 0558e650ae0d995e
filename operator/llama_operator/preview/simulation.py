"""A rollout without a cluster: the planner against units that behave as they are told, second by second.

Only what a plan can see is simulated: pods that come and go, stagers, engines, gates and gateways. Where nothing is to
be done, time jumps to the next thing that ends. The planner is the operator's own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus, content_of
from llama_operator.observe.deployment import PodView, Snapshot, WeightsView, pod_view
from llama_operator.plan.autoscaling.memory import NOTHING, Recall
from llama_operator.plan.groups.steps import is_serving
from llama_operator.plan.naming import GroupId
from llama_operator.plan.plan import CreateStage, Persisted, Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key, Manifest, NodeCapacity
from llama_operator.preview.simulated_group import Faults, SimUnit, Spans
from llama_serving.config import names
from llama_serving.config import weights as weights_manifest
from llama_serving.config.gateway import AnswerCounts, GatewayLoad, GroupLoad
from llama_serving.config.model import ModelFacts

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings("the operator's serving image", "the operator's gateway image", "llama-system")
NAME = "llama"
GATEWAY = f"{NAME}-gateway-0"
LONGEST = 100_000  # seconds after which a rollout that goes nowhere is left
FAST, SLOW = 3, 13  # classes of the times to the first byte


@dataclass(frozen=True)
class Setting:
    """What there is around the rollout."""

    spans: Spans = field(default_factory=Spans)
    faults: Faults = field(default_factory=Faults)
    rooms: tuple[NodeCapacity, ...] | None = None  # beside what the groups have
    in_flight: int = 0  # requests, all the time
    facts: ModelFacts | None = None


@dataclass(frozen=True)
class Moment:
    """After one pass."""

    second: int
    spec: LlamaDeploymentSpec
    world: Snapshot
    plan: Plan

    @property
    def serving(self) -> int:
        """Groups in rotation."""
        return sum(is_serving(pod) for pod in self.world.stages)

    @property
    def units(self) -> int:
        """Groups that have pods."""
        return len({(pod.group, pod.pod_hash) for pod in self.world.stages})


@dataclass
class Simulation:
    """Groups that serve ``spec``; edits come by setting ``spec``."""

    spec: LlamaDeploymentSpec
    setting: Setting
    now: datetime = START
    memory: Persisted = field(default_factory=Persisted)
    recall: Recall = NOTHING  # of the operator's process; a restart sets it back
    units: dict[GroupId, SimUnit] = field(default_factory=dict)
    files: dict[str, Manifest] = field(default_factory=dict)  # ConfigMaps by name
    models: dict[str, WeightsView] = field(default_factory=dict)
    served: dict[str, list[int]] = field(default_factory=dict)  # by id: finished, failed, slow

    def moments(self, limit: int = LONGEST) -> Iterator[Moment]:
        """Pass after pass, until one that has nothing to do and nothing to wait for."""
        end, before = self.now + timedelta(seconds=limit), self.memory
        while self.now < end:
            moment = self.one_pass()
            changed = moment.plan.memory != before or self._acts(moment.plan)
            before = self.memory
            yield moment
            due = self._due()
            if not changed and due is None:
                return
            then = self.now + timedelta(seconds=1) if changed or due is None else max(due, self.now)
            self._pass_time(max(then, self.now + timedelta(seconds=1)))

    def one_pass(self) -> Moment:
        """What is seen now, what is decided, and that it is done."""
        world = self.snapshot()
        decided = plan(world, SETTINGS, self.now, self.recall)
        self._act(decided)
        return Moment(int((self.now - START).total_seconds()), self.spec, world, decided)

    def second(self) -> Moment:
        """A pass, and a second: autoscaling looks at the gateways all the time."""
        moment = self.one_pass()
        self._pass_time(self.now + timedelta(seconds=1))
        return moment

    # -- what is seen --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What the operator would know now."""
        view = weights_view(self.spec, self.setting.facts)
        self.models.setdefault(view.name, view)
        pods = tuple(pod for unit in self.units.values() for pod in unit.pods(self.now))
        cells = {name: answer for unit in self.units.values() for name, answer in unit.answers(self.now, NAME).items()}
        return Snapshot(
            key=Key("default", NAME),
            uid="uid",
            generation=1,
            deleting=False,
            spec=self.spec,
            spec_error="",
            status=LlamaDeploymentStatus(
                rollout=self.memory.rollout,
                history=self.memory.history,
                stable=self.memory.stable,
                baselines=self.memory.baselines,
                requeues=self.memory.requeues,
                autoscaling=self.memory.autoscaling,
            ),
            pods=(*pods, _gateway()),
            children=(_deployment(), *self.files.values()),
            cells=cells,
            rooms=self.setting.rooms,
            weights=dict(self.models),
            loads={GATEWAY: self.load()},
        )

    def load(self) -> GatewayLoad | None:
        """What the gateway says; None: nothing."""
        groups = tuple(
            GroupLoad(
                name=unit.group.pod(0),
                group=unit.group.ordinal,
                weights=unit.told,
                ready=unit.shows_ready(self.now),
                ejected=False,
                in_flight=int(unit.busy(self.now)),
            )
            for unit in self.units.values()
        )
        counts = {
            key: AnswerCounts(finished=done, failed=failed, first_byte=_classes(done, slow))
            for key, (done, failed, slow) in self.served.items()
        }
        return GatewayLoad(
            waiting=0,
            oldest_wait=0,
            in_flight=self.setting.in_flight,
            draining=False,
            groups=groups,
            totals={"finished": sum(done for done, _, _ in self.served.values())},
            by_weights=counts,
        )

    # -- what is done --------------------------------------------------------------------------------------------------

    def _acts(self, decided: Plan) -> bool:
        return bool(decided.creates or decided.deletes or decided.rotations or decided.wishes)

    def _act(self, decided: Plan) -> None:
        self.memory, self.recall = decided.memory, decided.scaling.recall if decided.scaling else NOTHING
        self._act_on_units(decided)
        for item in decided.groups:
            self.files[item.group.name] = _file(item.group.name, item.serve.model_dump_json())
        for create in decided.creates:
            self._create(create, decided)

    def _act_on_units(self, decided: Plan) -> None:
        by_pod = {unit.group.pod(stage): unit for unit in self.units.values() for stage in range(unit.stages)}
        for change in decided.rotations:
            if change.pod in by_pod and not change.move:
                by_pod[change.pod].rotate(self.now, open_=change.open_, weights=change.weights)
        for delete in decided.deletes:
            if delete.name in by_pod:
                by_pod[delete.name].leave(self.now)
        for wish in decided.wishes:
            if wish.pod in by_pod:
                by_pod[wish.pod].take(wish.wish, self.now)

    def _create(self, create: CreateStage, decided: Plan) -> None:
        if create.group in self.units:
            return
        item = next(one for one in decided.groups if one.group == create.group)
        self.units[create.group] = SimUnit(
            create.group, item.spec.sharding.pipeline, item.serve, self.setting.spans, self.setting.faults, self.now
        )

    def _pass_time(self, then: datetime) -> None:
        seconds = int((then - self.now).total_seconds())
        for unit in self.units.values():
            if unit.shows_ready(self.now) and unit.engine:
                weights = unit.engine.weights
                done = self.served.setdefault(weights.id, [0, 0, 0])
                done[0] += 10 * seconds
                done[2] += 10 * seconds if self.setting.faults.slow_for(weights.id) else 0
        self.now = then
        for unit in self.units.values():
            unit.step(then)
        self.units = {group: unit for group, unit in self.units.items() if not unit.gone(then)}

    def _due(self) -> datetime | None:
        moments = [moment for unit in self.units.values() for moment in unit.due(self.now)]
        record, rollout = self.memory.rollout, self.spec.rollout
        if record and record.canary == "watching" and record.canary_since:
            moments.append(record.canary_since + timedelta(seconds=rollout.canary.seconds))
        wait = timedelta(seconds=rollout.min_ready_seconds)
        moments += [unit.gate_since + wait for unit in self.units.values() if unit.gate_since]
        return min((moment for moment in moments if moment > self.now), default=None)


def weights_view(spec: LlamaDeploymentSpec, facts: ModelFacts | None) -> WeightsView:
    """Weights that exist only as a name."""
    model = spec.model
    sha = hashlib.sha256(f"{model.source} {model.revision}".encode()).hexdigest()
    stored = weights_manifest.Manifest(
        files=(weights_manifest.ManifestFile(path="model.safetensors", size=0, sha256=sha),)
    )
    return WeightsView(
        name=f"weights-{sha[:10]}",
        source=model.source,
        revision=model.revision,
        resolved=model.revision,
        ready=True,
        digest=stored.digest,
        facts=facts or SHAPE,
        manifest=stored,
        reason="Accepted",
        message="",
        refused=False,
        content=content_of(model),
    )


#: Of Llama 3.1 8B; only that both sides have the same shape matters here.
SHAPE = ModelFacts(
    architecture="LlamaForCausalLM",
    layers=32,
    hidden_size=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    vocabulary=128256,
    max_context=131072,
    dtype="bfloat16",
    files=4,
    bytes=16_060_522_496,
)


def _gateway() -> PodView:
    view = pod_view({"metadata": {"name": GATEWAY}})
    return replace(view, component=names.COMPONENT_GATEWAY, phase="Running", ip="gateway", ready=True)


def _deployment() -> Manifest:
    meta = {"name": f"{NAME}-gateway"}
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": meta,
        "spec": {"replicas": 1},
        "status": {"availableReplicas": 1},
    }


def _file(name: str, text: str) -> Manifest:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"next.json": text}}


def _classes(done: int, slow: int) -> tuple[int, ...]:
    counts = list(AnswerCounts().first_byte)
    counts[FAST], counts[SLOW] = done - slow, slow
    return tuple(counts)
