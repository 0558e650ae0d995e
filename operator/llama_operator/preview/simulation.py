"""A rollout without a cluster: the planner against simulated groups, second by second.

Only what a plan can see is simulated: pods that come and go, stagers, engines, gates and gateways. Where nothing is to
be done, time jumps to the next thing that ends. The planner is the operator's own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from llama_operator.api import LlamaDeploymentSpec, LlamaDeploymentStatus, content_of
from llama_operator.observe.deployment import Snapshot, WeightsView
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.plan.actions import CreateStage
from llama_operator.plan.autoscaling.memory import NO_MEMORY, AutoscalingMemory
from llama_operator.plan.groups.state import PlanState, plan_state
from llama_operator.plan.naming import GroupId
from llama_operator.plan.persisted import Persisted
from llama_operator.plan.plan import Plan
from llama_operator.plan.planner import plan
from llama_operator.plan.settings import Settings
from llama_operator.ports import Capacity, Key, Manifest
from llama_operator.preview.simulated_group import Faults, SimulatedGroup, Spans
from llama_operator.preview.simulated_rehearsal import Refusals, SimulatedRehearsal
from llama_serving.config import names
from llama_serving.config import weights as weights_manifest
from llama_serving.config.gateway import AnswerCounts, GatewayLoad, GroupLoad
from llama_serving.config.model import ModelFacts
from llama_serving.config.reasons import ReportReason

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(
    serving_image="the operator's serving image",
    gateway_image="the operator's gateway image",
    operator_namespace="llama-system",
    serving_gpu_image="the operator's serving image",
)
NAME = "llama"
GATEWAY = f"{NAME}-gateway-0"
LONGEST = 100_000  # seconds after which a rollout that goes nowhere is left
FAST, SLOW = 3, 13  # classes of the times to the first byte


@dataclass(frozen=True)
class Setting:
    """What there is around the rollout."""

    spans: Spans = field(default_factory=Spans)
    faults: Faults = field(default_factory=Faults)
    capacity: Capacity | None = None  # beside what the groups have
    in_flight: int = 0  # requests, all the time
    refusals: Refusals = field(default_factory=Refusals)
    facts: ModelFacts | None = None


@dataclass(frozen=True)
class Moment:
    """After one pass."""

    second: int
    spec: LlamaDeploymentSpec
    state: PlanState
    plan: Plan

    @property
    def serving(self) -> int:
        """Number of groups in rotation."""
        return sum(group.serving for group in self.state.groups)

    @property
    def groups(self) -> int:
        """Number of groups that have pods."""
        return len(self.state.groups)


@dataclass
class Simulation:
    """Groups that serve ``spec``; edits come by setting ``spec``."""

    spec: LlamaDeploymentSpec
    setting: Setting
    now: datetime = START
    persisted: Persisted = field(default_factory=Persisted)
    memory: AutoscalingMemory = NO_MEMORY  # of the operator's process; a restart sets it back
    groups: dict[GroupId, SimulatedGroup] = field(default_factory=dict)
    files: dict[str, Manifest] = field(default_factory=dict)  # ConfigMaps by name
    models: dict[str, WeightsView] = field(default_factory=dict)
    rehearsal: SimulatedRehearsal = field(init=False)
    served: dict[str, list[int]] = field(default_factory=dict)  # by id: finished, failed, slow

    def __post_init__(self) -> None:
        self.rehearsal = SimulatedRehearsal(self.setting.spans.rehearse, self.setting.refusals)

    def moments(self, limit: int = LONGEST) -> Iterator[Moment]:
        """Pass after pass, until one that has nothing to do and nothing to wait for."""
        end, before = self.now + timedelta(seconds=limit), self.persisted
        while self.now < end:
            moment = self.one_pass()
            changed = moment.plan.persisted != before or self._acts(moment.plan)
            before = self.persisted
            yield moment
            due = self._due()
            if not changed and due is None:
                return
            then = self.now + timedelta(seconds=1) if changed or due is None else max(due, self.now)
            self._pass_time(max(then, self.now + timedelta(seconds=1)))

    def one_pass(self) -> Moment:
        """Observe, decide, and do what was decided."""
        state = plan_state(self.snapshot(), SETTINGS, self.now)
        decided = plan(state, self.memory)
        self._act(decided)
        return Moment(int((self.now - START).total_seconds()), self.spec, state, decided)

    def second(self) -> Moment:
        """Run a pass and let a second go by: autoscaling reads the gateways all the time."""
        moment = self.one_pass()
        self._pass_time(self.now + timedelta(seconds=1))
        return moment

    # -- what is seen --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return what the operator would know now."""
        view = weights_view(self.spec, self.setting.facts)
        self.models.setdefault(view.name, view)
        pods = tuple(pod for group in self.groups.values() for pod in group.pods(self.now))
        cells = {
            name: answer for group in self.groups.values() for name, answer in group.answers(self.now, NAME).items()
        }
        return Snapshot(
            key=Key("default", NAME),
            uid="uid",
            generation=1,
            deleting=False,
            spec=self.spec,
            spec_error="",
            status=LlamaDeploymentStatus(
                rollout=self.persisted.rollout,
                history=self.persisted.history,
                stable=self.persisted.stable,
                baselines=self.persisted.baselines,
                requeues=self.persisted.requeues,
                autoscaling=self.persisted.autoscaling,
                default_images=self.persisted.default_images,
                stage_resources=self.persisted.stage_resources,
            ),
            pods=(*pods, _gateway()),
            children=(_deployment(), *self.files.values()),
            cells=cells,
            capacity=self.setting.capacity,
            weights=dict(self.models),
            rehearsal=self.rehearsal.view(self.now),
            loads={GATEWAY: self.load()},
        )

    def load(self) -> GatewayLoad | None:
        """Return what the gateway answers; None: nothing."""
        groups = tuple(
            GroupLoad(
                name=group.id.pod(0),
                group=group.id.ordinal,
                weights=group.gateway_weights,
                ready=group.shows_ready(self.now),
                ejected=False,
                in_flight=int(group.busy(self.now)),
            )
            for group in self.groups.values()
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
        actions = decided.actions
        asks = decided.rehearsal is not None and decided.rehearsal.ask_admission
        return asks or bool(actions.creates or actions.deletes or actions.rotations or actions.desired_states)

    def _act(self, decided: Plan) -> None:
        self.persisted, self.memory = decided.persisted, decided.scaling.memory if decided.scaling else NO_MEMORY
        self._act_on_groups(decided)
        self.rehearsal.act(decided, self.now)
        for item in decided.actions.groups:
            self.files[item.group.name] = _file(item.group.name, item.serve.model_dump_json())
        for create in decided.actions.creates:
            self._create(create, decided)

    def _act_on_groups(self, decided: Plan) -> None:
        by_pod = {group.id.pod(stage): group for group in self.groups.values() for stage in range(group.stages)}
        for change in decided.actions.rotations:
            if change.pod in by_pod and not change.move:
                by_pod[change.pod].rotate(self.now, open_=change.open_, weights=change.weights)
        for delete in decided.actions.deletes:
            if delete.name in by_pod:
                by_pod[delete.name].leave(self.now)
        for item in decided.actions.desired_states:
            if item.pod in by_pod:
                by_pod[item.pod].put_desired(item.desired, self.now)

    def _create(self, create: CreateStage, decided: Plan) -> None:
        if create.group in self.groups:
            return
        item = next(one for one in decided.actions.groups if one.group == create.group)
        self.groups[create.group] = SimulatedGroup(
            create.group,
            item.spec.sharding.pipeline,
            item.serve,
            spans=self.setting.spans,
            faults=self.setting.faults,
            made=self.now,
        )

    def _pass_time(self, then: datetime) -> None:
        seconds = int((then - self.now).total_seconds())
        for group in self.groups.values():
            if group.shows_ready(self.now) and group.engine:
                weights = group.engine.weights
                done = self.served.setdefault(weights.id, [0, 0, 0])
                done[0] += 10 * seconds
                done[2] += 10 * seconds if self.setting.faults.slow_for(weights.id) else 0
        self.now = then
        for group in self.groups.values():
            group.step(then)
        self.groups = {key: group for key, group in self.groups.items() if not group.gone(then)}

    def _due(self) -> datetime | None:
        moments = [moment for group in self.groups.values() for moment in group.due(self.now)]
        moments += self.rehearsal.due()
        rollout, spec = self.persisted.rollout, self.spec.rollout
        if rollout and rollout.canary == "watching" and rollout.canary_since:
            moments.append(rollout.canary_since + timedelta(seconds=spec.canary.seconds))
        wait = timedelta(seconds=spec.min_ready_seconds)
        moments += [group.gate_since + wait for group in self.groups.values() if group.gate_since]
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
        reason=ReportReason.ACCEPTED,
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


@cache
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
        "status": {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
    }


def _file(name: str, text: str) -> Manifest:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"next.json": text}}


def _classes(done: int, slow: int) -> tuple[int, ...]:
    counts = list(AnswerCounts().first_byte)
    counts[FAST], counts[SLOW] = done - slow, slow
    return tuple(counts)
