"""What a leader remembers between two looks, and what it makes of the raw answers of a look.

A look asks in turn: Ray, Serve, replica and stager; then the other stages (``needs_peers``); then the model assets of
the desired weights (``needs_assets``). ``observe`` makes the view of the decision out of the answers and the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llama_serving.cell.policy.leader import AppView, LeaderView
from llama_serving.cell.policy.measurement import MeasuredEngine
from llama_serving.cell.policy.staging import StageView, desired_state_fault, group_fault
from llama_serving.cell.policy.state_machine import NO_RAY, CellFault, RayView
from llama_serving.cell.policy.weight_swap import DesiredWeights, EngineView, asset_difference
from llama_serving.cell.shared.replica_state import ReplicaState
from llama_serving.cell.shared.weights_ref import desired_weights, engine_weights, is_staged
from llama_serving.config.cell import CellConfig, WeightsRef
from llama_serving.config.desired import DesiredState, StagingState, Verify


@dataclass(frozen=True)
class Deployment:
    """What Serve was given first; the arguments of its app never change while Ray lives."""

    config: CellConfig
    fingerprint: object  # of the model's files
    assets: Mapping[str, str]  # model assets of the weights that the engine started with


@dataclass(frozen=True)
class LeaderMemory:
    """What is kept between two looks."""

    deployment: Deployment | None = None
    deployed: WeightsRef | None = None  # what Serve was last given
    answered: bool = False  # the engine has answered a real request since the deployment
    measured: MeasuredEngine | None = None
    compared: tuple[WeightsRef, str] | None = None  # weights whose assets were read last, and what differs
    started_on: tuple[int, Mapping[str, int]] | None = None  # process of the replica; stage of each node it started on
    replica: ReplicaState | None = None  # in the last look
    staging: StagingState | None = None  # in the last look
    view: LeaderView | None = None  # of the last look


@dataclass(frozen=True)
class Answers:
    """The raw answers of one look; None where nobody was asked, or nobody answered."""

    desired: DesiredState | None = None
    stopping: bool = False
    ray: RayView = NO_RAY
    nodes: Mapping[str, int] | None = None  # stage of each node that is alive
    app: AppView | None = None
    replica: ReplicaState | None = None
    computing: bool = False  # the watch sees that the engine works
    staging: StagingState | None = None
    weights_fault: CellFault | None = None  # of weights that nobody stages
    device_fault: CellFault | None = None  # asked before Ray starts, and once the engine has failed
    fingerprint: object = None  # of the model's files; read when Serve says that the model is refused
    peers: Mapping[int, StageView] = field(default_factory=dict)  # asked where ``needs_peers``
    assets: Mapping[str, str] = field(default_factory=dict)  # read where ``needs_assets``


def needs_peers(memory: LeaderMemory, answers: Answers, *, config: CellConfig) -> bool:
    """Return whether this look depends on the other stages; at a start the leader's own desired state is enough."""
    staged = is_staged(config, desired_weights(config, answers.desired))
    return _load_is_due(memory, answers, config) and (staged or memory.deployment is not None)


def needs_assets(memory: LeaderMemory, answers: Answers, *, config: CellConfig) -> bool:
    """Return whether the model assets of the desired weights decide this look; each weights are read once."""
    due = memory.deployment is not None and _load_is_due(memory, answers, config)
    known = memory.compared is not None and memory.compared[0] == _desired(answers, config)
    return due and not known and _staging_fault(memory, answers, config) is None


def observe(memory: LeaderMemory, answers: Answers, *, config: CellConfig) -> tuple[LeaderMemory, LeaderView]:
    """Return the memory after a look, and the view that is decided on."""
    if needs_assets(memory, answers, config=config) and memory.deployment is not None:
        differs = asset_difference(memory.deployment.assets, answers.assets)
        memory = replace(memory, compared=(_desired(answers, config), differs))
    memory = _note_nodes(replace(memory, replica=answers.replica, staging=answers.staging), answers.nodes)
    view = _view(memory, answers, config)
    return replace(memory, view=view), view


def is_still_desired(memory: LeaderMemory, weights: WeightsRef) -> bool:
    """Return whether the last look was about ``weights``: later ones may not be ready, and wait for the next look."""
    return memory.view is not None and memory.view.desired.weights == weights


def current_measurement(memory: LeaderMemory) -> MeasuredEngine | None:
    """Return the measurement of the weights that the engine has now."""
    measured = memory.measured
    return measured if measured is not None and measured.is_of(memory.replica) else None


def desired_checks(desired: DesiredState | None) -> Verify:
    """Return what the engine is to be measured by."""
    return Verify() if desired is None else desired.verify


def _desired(answers: Answers, config: CellConfig) -> WeightsRef:
    return engine_weights(config, desired_weights(config, answers.desired))


def _load_is_due(memory: LeaderMemory, answers: Answers, config: CellConfig) -> bool:
    """Return whether the engine is to load other weights, and can; before, the leader has nothing to do with them."""
    if answers.replica is not None and answers.replica.weights == _desired(answers, config):
        return False
    joined = frozenset(answers.nodes.values()) if answers.nodes is not None else frozenset()
    return memory.deployment is not None or len(joined) == config.layout.pipeline


def _staging_fault(memory: LeaderMemory, answers: Answers, config: CellConfig) -> CellFault | None:
    """Return what keeps the desired weights from being loaded."""
    if not needs_peers(memory, answers, config=config):
        return None
    fault = desired_state_fault(answers.peers) if memory.deployment is not None else None
    weights = desired_weights(config, answers.desired)
    return fault or (group_fault(weights, answers.peers) if is_staged(config, weights) else None)


def _note_nodes(memory: LeaderMemory, nodes: Mapping[str, int] | None) -> LeaderMemory:
    """Note the nodes on which a new replica was started."""
    if memory.replica is None or nodes is None:
        return memory
    if memory.started_on is not None and memory.started_on[0] == memory.replica.pid:
        return memory
    return replace(memory, started_on=(memory.replica.pid, nodes))


def _view(memory: LeaderMemory, answers: Answers, config: CellConfig) -> LeaderView:
    desired = _desired_weights(memory, answers, config)
    app, nodes = answers.app, answers.nodes
    return LeaderView(
        stages=config.layout.pipeline,
        desired=desired,
        stopping=answers.stopping,
        weights_fault=answers.weights_fault,
        device_fault=answers.device_fault,
        ray=answers.ray,
        joined=None if nodes is None else frozenset(nodes.values()),
        deployed=memory.deployment is not None,
        app=app,
        engine=None if answers.replica is None else _engine_view(answers.replica, computing=answers.computing),
        answered=memory.answered,
        intact=_is_intact(memory, nodes),
        files_changed=app is not None and app.refused and _has_changed(memory, desired.weights, answers.fingerprint),
    )


def _desired_weights(memory: LeaderMemory, answers: Answers, config: CellConfig) -> DesiredWeights:
    weights = _desired(answers, config)
    staging = _staging_fault(memory, answers, config)
    comparing = memory.deployment is not None and staging is None and _load_is_due(memory, answers, config)
    current = current_measurement(memory)
    final = current is not None and current.is_final
    return DesiredWeights(
        weights=weights,
        staging=staging,
        deployed=memory.deployed,
        measured=final,
        checked=final and current is not None and current.cached.verify == desired_checks(answers.desired),
        asset_difference=memory.compared[1] if comparing and memory.compared is not None else "",
        unswappable="" if answers.replica is None else answers.replica.unswappable,
    )


def _is_intact(memory: LeaderMemory, nodes: Mapping[str, int] | None) -> bool:
    """Return whether the replica's nodes are all there: a stage that came back is another node, and not part of it."""
    if memory.replica is None or nodes is None or memory.started_on is None:
        return True
    return memory.started_on[1] == nodes


def _has_changed(memory: LeaderMemory, weights: WeightsRef, fingerprint: object) -> bool:
    """Return whether a refused model is worth another try: its files changed, or other weights are desired."""
    return memory.deployed != weights or memory.deployment is None or memory.deployment.fingerprint != fingerprint


def _engine_view(replica: ReplicaState, *, computing: bool) -> EngineView:
    return EngineView(
        in_flight=replica.in_flight,
        seconds_ago=replica.engine_seconds_ago,
        weights=replica.weights,
        target=replica.target,
        swap=replica.swap,
        failures=replica.failures,
        computing=computing,
    )
