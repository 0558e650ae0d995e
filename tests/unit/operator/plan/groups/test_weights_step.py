"""The next step of one unit whose pods stay, as a table: what is seen, what it is told, and its gate."""

from dataclasses import replace
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import PodView
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.template import GroupTemplate, desired_template
from llama_operator.plan.groups.weights_step import (
    GroupStep,
    desired_states,
    keep_weights,
    rotation_change,
    update_in_place,
)
from llama_operator.ports import SupervisorAnswer
from llama_serving.config.desired import StagedWeights, StagingState, SwapState
from llama_serving.config.state import Phase
from tests.fakes.models import digest_of, id_of, view_of
from tests.fakes.world import spec_of
from tests.unit.operator.plan.groups.test_drain import gateway, load
from tests.unit.operator.worlds import NEW, SPEC, V1, ago, cell, leader, staging, state_of, verdict, worker, world

BAD = verdict(error="HTTP 500")
SILENT: dict[str, Any] = {"ready": False, "measurement": None}
BOTH = staging(v1="ready", v2="ready")
OUT: dict[str, Any] = {"ready": False, "in_rotation": False, "rotation_since": ago(1)}


def target(seen: Snapshot, revision: str) -> GroupTemplate:
    spec = spec_of()
    spec["model"]["revision"] = revision
    found = desired_template(state_of(replace(seen, spec=LlamaDeploymentSpec.model_validate(spec))))
    assert found is not None
    return replace(found, pod_hash=NEW)


def seen_with(pod: PodView, other: PodView, cells: dict[str, SupervisorAnswer], **fields: Any) -> Snapshot:
    """A group of two stages, with the LlamaWeights of v1 and v2."""
    models = []
    for revision in ("v1", "v2"):
        models.append(view_of(SPEC.model.model_copy(update={"revision": revision})))
    return world(pod, other, weights={view.name: view for view in models}, cells=cells, **fields)


def step(
    pod: PodView | None = None,
    *,
    may_disrupt: bool = True,
    second: StagingState = BOTH,
    gateways: Any = None,
    **state: Any,
) -> GroupStep:
    """The step towards v2 of a group whose leader says ``state`` and whose stages hold the wish that this makes."""
    head, other = pod or leader(0), worker(0)

    def look(wish: str) -> tuple[GroupStep, PlanState]:
        says: dict[str, Any] = {"staging": BOTH, "desired": wish} | state
        cells = {head.name: cell(**says), other.name: cell(stage=1, staging=second, measurement=None, desired=wish)}
        seen = seen_with(head, other, cells)
        if gateways is not None:
            seen = replace(seen, pods=(*seen.pods, gateway()), loads={"g": gateways})
        scene = state_of(replace(seen, spec=SPEC))
        return update_in_place(scene.groups[0], target(seen, "v2"), scene, may_disrupt=may_disrupt), scene

    wishes = desired_states(*look(""))
    return look(wishes[0].desired.key if wishes else "")[0]


def told(found: GroupStep) -> tuple[str, bool | None, str]:
    serve = found.serve.weights.id.partition("@")[0] if found.serve else ""
    return serve, found.gate, found.explanation.reason.value if found.explanation else ""


WORKING = staging(v1="ready", v2="working")
DONE = SwapState(digest=digest_of("v2"), outcome="done")
RUNS = SwapState(digest=digest_of("v2"), outcome="running")
FAILED = SwapState(digest=digest_of("v2"), outcome="failed", message="stage 1 read nothing")
ON_V2: dict[str, Any] = {"model": "v2", "swap": DONE}
OTHERS = verdict("v2", stage_digests=(digest_of("v1"),))
STARTS: dict[str, Any] = {"weights": "", "measurement": None, "ready": False, "phase": Phase.LOADING}


@pytest.mark.parametrize(
    ("pod", "state", "expected"),
    [
        # in rotation on v1
        (leader(0), {"staging": WORKING}, ("v1", None, "StagingWeights")),
        (leader(0), {"second": WORKING}, ("v1", None, "StagingWeights")),
        (leader(0), {"staging": None}, ("v1", None, "StagingWeights")),
        (leader(0), {"may_disrupt": False}, ("v1", None, "RollingOut")),
        (leader(0), {}, ("v1", False, "Swapping")),
        (leader(0, ready=False), {"may_disrupt": False}, ("v1", False, "")),
        (leader(0, ready=False, ready_since=ago(29)), {"may_disrupt": False}, ("v1", None, "RollingOut")),
        (leader(0, ready=False, ready_since=ago(30)), {"may_disrupt": False}, ("v1", False, "")),
        (leader(0), {"weights": "", "ready": False}, ("", None, "RollingOut")),  # it merely does not answer now
        # out of rotation on v1
        (leader(0, **OUT), {}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"may_disrupt": False}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"gateways": load((leader(0).name, False, 0))}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"gateways": load((leader(0).name, False, 2))}, ("v1", None, "Swapping")),
        (leader(0, **OUT), {"gateways": load((leader(0).name, True, 0))}, ("v1", None, "Swapping")),
        (leader(0, **OUT), {"staging": WORKING}, ("v1", True, "Verifying")),  # back on what it has meanwhile
        (leader(0, **OUT), {"staging": WORKING, "measurement": BAD}, ("v1", False, "VerifyFailed")),
        # while it exchanges
        (leader(0, **OUT), {"swap": RUNS, "ready": False, "measurement": None}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"swap": RUNS, "weights": "", **SILENT}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"swap": RUNS, "gateways": load((leader(0).name, False, 9))}, ("v2", None, "Swapping")),
        (leader(0, **OUT), {"swap": FAILED, "weights": "", "measurement": None}, ("v2", None, "SwapFailed")),
        # on v2
        (leader(0, **OUT), ON_V2 | {"measurement": None, "ready": False}, ("v2", False, "")),
        (leader(0, **OUT), ON_V2, ("v2", True, "Verifying")),
        (leader(0, weights=id_of("v2")), ON_V2, ("v2", True, "")),
        (leader(0, **OUT), ON_V2 | {"measurement": verdict("v1")}, ("v2", None, "Verifying")),
        (leader(0, **OUT), ON_V2 | {"measurement": verdict("v2", error="x")}, ("v2", False, "VerifyFailed")),
        (leader(0), ON_V2 | {"measurement": OTHERS}, ("v2", False, "DigestDiffers")),
        # the engine is not there
        (leader(0, **OUT), STARTS, ("v2", None, "")),
        (leader(0, ready=False), STARTS, ("", False, "")),  # nothing says what it starts with: told when it is closed
    ],
)  # fmt: skip
def test_the_next_step(pod: PodView, state: dict[str, Any], expected: tuple[str, bool | None, str]) -> None:
    assert told(step(pod, **state)) == expected


def test_what_is_refused_names_the_stage_and_the_reason() -> None:
    refused = StagedWeights(
        digest=digest_of("v2"), id=id_of("v2"), outcome="refused", reason="DiskFull", message="needs 3 GiB"
    )
    found = step(second=StagingState(weights=(refused,)))
    assert found.explanation is not None
    assert (found.explanation.reason.value, found.explanation.detail) == (
        "DiskFull", f"group 0 stage 1 cannot stage {id_of('v2')}: needs 3 GiB"
    )  # fmt: skip
    assert found.gate is None, "it goes on serving"


def test_both_weights_stay_staged_the_wanted_first() -> None:
    assert [one.weights.id for one in step(staging=WORKING).staged] == [id_of("v2"), V1]
    later = step(leader(0, **OUT), **ON_V2)
    assert [one.weights.id for one in later.staged] == [id_of("v2"), V1], "it may have to go back"


def test_a_drain_that_takes_too_long_moves_its_streams_and_is_given_up_in_the_end() -> None:
    busy = load((leader(0).name, False, 1))
    for seconds, serve, move in ((1, "v1", False), (121, "v1", True), (126, "v2", False)):
        found = step(leader(0, **OUT | {"rotation_since": ago(seconds)}), gateways=busy)
        assert (told(found)[0], found.move) == (serve, move), seconds
        change = rotation_change(found)
        assert (change is not None and change.move) is move
    already = step(leader(0, moving=True, **OUT | {"rotation_since": ago(121)}), gateways=busy)
    assert rotation_change(already) is None


def test_a_group_that_is_not_heard_is_told_nothing() -> None:
    head, other = leader(0), worker(0)
    seen = seen_with(head, other, {other.name: cell(stage=1, staging=BOTH)})
    scene = state_of(replace(seen, spec=SPEC))
    found = update_in_place(scene.groups[0], target(seen, "v2"), scene, may_disrupt=True)
    assert (found.serve, found.gate, desired_states(found, scene)) == (None, None, ())


@pytest.mark.parametrize(
    ("leader_says", "ready"),
    [({"desired": "old"}, False), ({}, True), ({"staging": BOTH.model_copy(update={"desired": "old"})}, False)],
    ids=["its wish is another", "answers the wish", "its stager answers another wish"],
)
def test_what_was_staged_for_another_wish_does_not_count(leader_says: dict[str, Any], ready: bool) -> None:
    """Weights that are wanted again after a while may be looked at first: the group stays until that is done."""
    found = step(**leader_says)
    assert (found.disrupts, found.gate) == ((True, False) if ready else (False, None))
    assert told(found)[2] == ("Swapping" if ready else "StagingWeights")


def test_a_gate_opens_again_when_the_kubelet_has_seen_it_closed() -> None:
    """Until then the pod shows the readiness from before, and another group might be taken away on its account."""
    found = step(leader(0, **OUT), **ON_V2)
    assert found.gate is True
    assert rotation_change(found) is not None
    assert rotation_change(step(leader(0, **OUT | {"ready": True}), **ON_V2)) is None


def test_every_stage_gets_the_wish_until_it_holds_it() -> None:
    head, other = leader(0), worker(0)
    cells = {head.name: cell(), other.name: cell(stage=1)}
    seen = seen_with(head, other, cells)
    scene = state_of(replace(seen, spec=SPEC))
    found = keep_weights(scene.groups[0], scene)
    wishes = desired_states(found, scene)
    assert [wish.pod for wish in wishes] == [head.name, other.name]
    assert {wish.desired.serve.id for wish in wishes} == {V1}
    cells[head.name] = cell(desired=wishes[0].desired.key)
    scene = state_of(replace(seen_with(head, other, cells), spec=SPEC))
    assert [wish.pod for wish in desired_states(keep_weights(scene.groups[0], scene), scene)] == [other.name]


def test_what_serves_is_left_alone_and_the_next_weights_are_staged_beside_it() -> None:
    seen = seen_with(leader(0), worker(0), {leader(0).name: cell(), worker(0).name: cell(stage=1)})
    scene = state_of(replace(seen, spec=SPEC))
    found = keep_weights(scene.groups[0], scene, prefetch=target(seen, "v2").serve)
    assert told(found) == ("v1", True, "")
    assert [one.weights.id for one in found.staged] == [id_of("v2"), V1]
    assert rotation_change(found) is None
