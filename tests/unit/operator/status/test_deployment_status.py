"""The status says what was seen; times move only when what they date moves."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from llama_operator.api import LlamaDeploymentStatus
from llama_operator.observe.deployment import Snapshot
from llama_operator.observe.pods import Waiting
from llama_operator.plan.persisted import persisted_state
from llama_operator.plan.planner import LATER, SOON, plan
from llama_operator.plan.reasons import Explanation
from llama_operator.status.conditions import LONGEST
from llama_operator.status.deployment import deployment_status
from llama_operator.status.events import deployment_events
from llama_serving.config import names
from llama_serving.config.reasons import Reason
from llama_serving.config.state import Phase
from tests.fakes.models import FACTS
from tests.unit.operator.worlds import (
    NEW,
    NOW,
    OLD,
    V1,
    cell,
    gateway_deployment,
    group,
    heard,
    leader,
    stage,
    state_of,
    verdict,
    worker,
    world,
)


def seen(known: Snapshot, *problems: Explanation, later: float = 0) -> LlamaDeploymentStatus:
    now = NOW + timedelta(seconds=later)
    return deployment_status(state_of(known, now), plan(state_of(known, now)), problems)


def conditions(status: LlamaDeploymentStatus) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in status.conditions}


def serving(**fields: Any) -> Snapshot:
    pods = (*group(0), *group(1))
    return world(*pods, **{"cells": heard(*pods)} | fields)


SERVING = serving()
STARTING = world(*group(0), stage(1, 0), worker(1))


def test_serving() -> None:
    status = seen(SERVING)
    assert conditions(status) == {
        "Available": ("True", "Serving"), "Degraded": ("False", "Serving"), "Progressing": ("False", "Serving"),
        "Ready": ("True", "Serving"), "Reconciling": ("False", "Serving"), "Stalled": ("False", "Serving"),
        "NetworkPolicyEnforced": ("Unknown", "PoliciesNotTried"),
    }  # fmt: skip
    assert (status.groups_ready, status.replicas, status.ready_replicas) == ("2/2", 2, 2)
    assert (status.reason, status.message) == ("Serving", "2 groups serve from 2 nodes")
    assert (status.weights, status.observed_generation) == (V1, 1)
    assert status.selector == "llama-operator.dev/deployment=chat,llama-operator.dev/stage=0"
    assert [(one.ordinal, one.name, one.state, one.nodes, one.weights) for one in status.groups] == [
        (0, f"chat-{NEW}-0", "Serving", ("node-0", "node-1"), V1),
        (1, f"chat-{NEW}-1", "Serving", ("node-0", "node-1"), V1),
    ]
    assert status.model is not None
    assert status.model.message == "LlamaForCausalLM of 30 layers, 4 files, 269000000 bytes"


def test_one_group_of_two_is_available_and_progressing() -> None:
    status = seen(STARTING)
    assert conditions(status)["Available"][0] == "True"
    assert conditions(status)["Progressing"] == ("True", "PodStarting")
    assert conditions(status)["Degraded"][0] == "False"
    assert [one.state for one in status.groups] == ["Serving", "Pending"]


def test_groups_without_a_gateway_are_not_available() -> None:
    status = seen(replace(SERVING, children=(gateway_deployment(0),)))
    assert conditions(status)["Available"] == ("False", "GatewayNotReady")
    assert status.groups_ready == "2/2"


@pytest.mark.parametrize(
    ("fields", "state", "degraded"),
    [
        ({"phase": "Pending", "node": "", "unscheduled": "no room"}, "Pending", "True"),
        ({"phase": "Pending"}, "Pending", "False"),
        ({"waiting": Waiting("c", "ErrImagePull", "x")}, "Failed", "True"),
        ({"phase": "Failed"}, "Rebuilding", "True"),
    ],
)
def test_the_state_of_a_group(fields: dict[str, Any], state: str, degraded: str) -> None:
    status = seen(world(*group(0), stage(1, 0, **fields), worker(1)))
    assert status.groups[1].state == state
    assert status.groups[1].reason == status.reason
    assert conditions(status)["Degraded"][0] == degraded


def test_a_group_that_drains_and_one_that_waits_its_turn() -> None:
    status = seen(world(*group(0, OLD), *group(1, OLD)))
    assert [(one.state, one.reason) for one in status.groups] == [("Serving", "Replacing"), ("Serving", "Replacing")]
    status = seen(world(leader(0, OLD, gone_by=NOW), worker(0, OLD), *group(1, OLD)))
    assert [(one.state, one.reason) for one in status.groups] == [("Draining", "Replacing"), ("Serving", "Replacing")]
    assert status.groups_ready == "1/2"


def test_different_weights_are_all_named() -> None:
    assert seen(world(*group(0), leader(1, weights="v2"), worker(1))).weights == f"{V1}, v2"


def test_what_the_api_server_refused_comes_first() -> None:
    status = seen(STARTING, Explanation(Reason.API_REJECTED, "Pod x was refused: exceeded quota"))
    assert (status.reason, conditions(status)["Degraded"]) == ("ApiRejected", ("True", "ApiRejected"))
    assert conditions(status)["Progressing"] == ("True", "PodStarting")


def test_a_long_sentence_is_cut() -> None:
    assert len(seen(SERVING, Explanation(Reason.API_REJECTED, "x" * 40_000)).message) == LONGEST


def test_a_refused_model() -> None:
    (view,) = SERVING.weights.values()
    refused = replace(view, ready=False, refused=True, reason="WeightsGone", message="gone", manifest=None)
    status = seen(replace(SERVING, weights={view.name: refused}))
    assert status.model is not None
    assert (status.model.outcome, status.model.reason) == ("refused", "WeightsGone")
    assert (status.reason, status.message) == ("WeightsGone", "gone")
    status = seen(replace(SERVING, weights={}))
    assert status.model is not None
    assert (status.model.outcome, status.model.reason) == ("", "InspectingModel")
    assert conditions(status)["Available"][0] == "True", "what serves goes on serving"


def test_a_missing_secret_and_gateways_without_room_are_both_said() -> None:
    (view,) = SERVING.weights.values()
    missing = "the Secret hub does not exist in namespace team (model.credentialsSecret); create it"
    waits = replace(view, ready=False, reason="ReferenceMissing", message=missing, manifest=None)
    said = "0/2 nodes are available: 2 Insufficient cpu."
    gateway = stage(-1, -1, component=names.COMPONENT_GATEWAY, phase="Pending", node="", unscheduled=said)
    known = world(gateway, weights={view.name: waits}, children=(gateway_deployment(0),))
    status = seen(replace(known, status=LlamaDeploymentStatus()))
    assert (status.reason, status.message) == ("ReferenceMissing", missing)
    (progressing,) = [one for one in status.conditions if one.type == "Progressing"]
    assert (progressing.status, progressing.reason) == ("True", "GatewayNotReady")
    assert "0 of 2 gateways are ready" in progressing.message
    assert "too little cpu free" in progressing.message


def test_a_spec_that_cannot_be_read() -> None:
    first = seen(SERVING)
    status = seen(replace(SERVING, status=first, spec=None, spec_error="spec.x is 1: no"))
    assert (status.reason, status.message) == ("SpecInvalid", "spec.x is 1: no")
    assert status.groups_ready == "2/2"
    assert status.model is not None
    assert status.model.facts is not None
    assert status.model.facts.layers == FACTS.layers


# -- times ------------------------------------------------------------------------------------------------------------


def test_the_same_world_gives_the_same_status_and_no_events() -> None:
    first = seen(SERVING)
    again = seen(replace(SERVING, status=first), later=7200)
    assert again == first
    assert LlamaDeploymentStatus.model_validate(first.to_api()) == first
    assert deployment_events(first, again) == ()


def test_times_move_only_with_what_they_date() -> None:
    first = seen(STARTING)
    then = seen(replace(world(*group(0), *group(1)), status=first), later=60)
    before = {one.type: one.last_transition_time for one in first.conditions}
    after = {one.type: one.last_transition_time for one in then.conditions}
    moment = NOW + timedelta(seconds=60)
    stay = {kind: before[kind] for kind in ("Available", "Degraded", "Stalled", "NetworkPolicyEnforced")}
    assert after == stay | dict.fromkeys(("Progressing", "Ready", "Reconciling"), moment)
    assert [one.since for one in then.groups] == [NOW, moment]


def test_a_change_of_reason_alone_moves_no_time() -> None:
    first = seen(STARTING)
    pod = stage(1, 0)
    other = seen(replace(STARTING, status=first, cells={pod.name: cell(group=1, ready=False)}), later=60)
    assert other.conditions[2].reason != first.conditions[2].reason
    assert other.conditions[2].last_transition_time == NOW


def test_times_are_whole_seconds_as_the_api_server_keeps_them() -> None:
    now = NOW.replace(microsecond=123456)
    status = deployment_status(state_of(SERVING, now), plan(state_of(SERVING, now)), ())
    assert LlamaDeploymentStatus.model_validate(status.to_api()) == status


# -- events -----------------------------------------------------------------------------------------------------------


def test_events_tell_what_changed() -> None:
    first, then = seen(STARTING), seen(SERVING)
    found = deployment_events(first, then)
    measured = f"on {V1}: mean log-probability -3.50 nats per token, answer answer-v1"
    assert [(one.warning, one.reason, one.message) for one in found] == [
        (False, "Serving", "group 1 is Serving: the engine answers"),
        (False, "Verified", f"group 0 {measured}"),
        (False, "Verified", f"group 1 {measured}"),
        (False, "Serving", "2 groups serve from 2 nodes"),
    ]
    lost = deployment_events(then, seen(world(*group(0), stage(1, 0), worker(1, phase="Failed"))))
    assert [(one.warning, one.reason) for one in lost] == [(True, "PodLost"), (True, "PodLost")]
    assert lost[0].message.startswith("group 1 is Rebuilding: group 1 is rebuilt: pod ")


def test_a_sentence_that_grows_is_no_event() -> None:
    first = seen(STARTING)
    assert deployment_events(first, seen(STARTING, later=3600)) == ()


# -- pace -------------------------------------------------------------------------------------------------------------


def test_a_pass_comes_soon_while_something_waits() -> None:
    assert plan(state_of(STARTING)).recheck == SOON
    settled = replace(SERVING, status=seen(SERVING))
    (wish, *_) = {item.desired.key for item in plan(state_of(settled)).actions.desired_states}
    told = heard(*SERVING.stages, desired=wish)
    learned = replace(settled, cells=told)
    learned = replace(learned, status=deployment_status(state_of(learned), plan(state_of(learned)), ()))
    assert plan(state_of(learned)).recheck == LATER
    assert persisted_state(learned.status) == plan(state_of(learned)).persisted


def test_an_object_that_is_being_deleted_gets_nothing() -> None:
    found = plan(state_of(replace(STARTING, deleting=True)))
    assert (found.actions.creates, found.actions.deletes, found.actions.rotations, found.actions.groups) == (
        (),
        (),
        (),
        (),
    )


# -- rotation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "answer", "opens"),
    [
        (stage(0, 0), cell(), [(True, V1)]),
        (stage(0, 0, in_rotation=False), cell(), [(True, V1)]),
        (leader(0), cell(), []),
        (leader(0, weights="v0"), cell(), [(True, V1)]),
        (leader(0), cell(model="v2"), []),  # other weights: they are exchanged
        (stage(0, 0), cell(measurement=None), []),
        (stage(0, 0), cell(measurement=verdict("v2")), []),  # measured before they were exchanged
        (leader(0), cell(measurement=None, ready=False, weights="", phase=Phase.LOADING), [(False, "")]),
        (stage(0, 0), cell(measurement=verdict(error="HTTP 500")), []),
        (leader(0), cell(measurement=verdict(error="HTTP 500")), []),  # it has passed before
        (leader(0), cell(measurement=verdict(stage_digests=("sha256:else",))), [(False, "")]),
        (stage(0, 0), cell(ready=False), []),
        (leader(0), cell(ready=False), []),
        (leader(0, gone_by=NOW), cell(), [(False, "")]),
        (leader(0, phase="Failed"), cell(), [(False, "")]),
        (stage(0, 0, gone_by=NOW), cell(), []),
        (leader(0, OLD), cell(), [(False, "")]),
    ],
)
def test_rotation(pod: object, answer: object, opens: list[tuple[bool, str]]) -> None:
    known = world(pod, worker(0, pod.pod_hash), *group(1, pod.pod_hash), cells={pod.name: answer})  # type: ignore[attr-defined, arg-type]
    found = [item for item in plan(state_of(known)).actions.rotations if item.pod == pod.name]  # type: ignore[attr-defined]
    assert [(item.open_, item.weights) for item in found] == opens
