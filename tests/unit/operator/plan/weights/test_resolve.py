"""The look at weights: one Job, its last word, when it is sent again, and what the status says of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_operator.api import LlamaWeightsSpec, LlamaWeightsStatus, ResolveAttempt, ResolvedStatus
from llama_operator.observe.weights import WeightsSnapshot, weights_snapshot, weights_view
from llama_operator.plan.naming import resolver_job_name
from llama_operator.plan.settings import Settings
from llama_operator.plan.weights.resolve import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MANIFEST_LAG,
    WeightsPlan,
    pause,
    plan_weights,
    resolve_key,
    spec_key,
)
from llama_operator.status.events import weights_events
from llama_operator.status.weights import short_bytes, weights_status
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.model import WeightsReport
from llama_serving.config.weights import Manifest, ManifestFile
from tests.fakes.weights import (
    ACCEPTED,
    FACTS,
    MANIFEST,
    NAME,
    REMOTE,
    SPEC,
    UID,
    ended,
    job_body,
    manifest_body,
    pod_body,
    refusal,
    weights_body,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SETTINGS = Settings("serving:1", "gateway:1", "llama-system")
OTHER = Manifest(files=(ManifestFile(path="config.json", size=1, sha256="d" * 64),))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def job_name(spec: dict[str, Any] = SPEC) -> str:
    return resolver_job_name(NAME, resolve_key(LlamaWeightsSpec.model_validate(spec), SETTINGS))


def a_job(spec: dict[str, Any] = SPEC, **changes: Any) -> dict[str, Any]:
    return job_body(job_name(spec), created=ago(100), **changes)


def looked(
    report: WeightsReport | str, *, seconds_ago: float = 1, number: int = 1, spec: dict[str, Any] = SPEC
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Job whose pod has ended with this report."""
    job = a_job(spec, number=number)
    text = report if isinstance(report, str) else report.model_dump_json()
    return job, pod_body(job, created=ago(90), **ended(text, at=ago(seconds_ago)))


def world(*children: dict[str, Any], spec: dict[str, Any] = SPEC, **fields: Any) -> WeightsSnapshot:
    return replace(weights_snapshot(weights_body(spec), children), **fields)


def plan(*children: dict[str, Any], **fields: Any) -> WeightsPlan:
    return plan_weights(world(*children, **fields), SETTINGS, NOW)


def accepted_status(**changes: Any) -> ResolvedStatus:
    """What the first acceptance leaves in the status."""
    found = world(manifest_body(), *looked(ACCEPTED))
    status = weights_status(found, plan_weights(found, SETTINGS, NOW), (), now=NOW)
    return status.model_copy(update=changes)


def test_a_deployment_reads_what_the_resolver_found_in_the_weights() -> None:
    chat = ChatFacts(
        template="chat_template.jinja", takes_tools=True, tools="hermes", tools_reason="it writes <tool_call>",
        reasoning_reason="nothing", tokens=("<tool_call>",),
    )  # fmt: skip
    found = world(manifest_body(), *looked(ACCEPTED.model_copy(update={"chat": chat})))
    status = weights_status(found, plan_weights(found, SETTINGS, NOW), (), now=NOW)
    body = weights_body(SPEC) | {"status": status.model_dump(by_alias=True, mode="json")}
    view = weights_view(body, manifest_body())
    assert (view.ready, view.digest, view.facts, view.chat) == (True, ACCEPTED.digest, FACTS, chat)


# -- the look ----------------------------------------------------------------------------------------------------------


def test_a_job_is_started_where_nothing_is_known() -> None:
    found = plan()
    assert found.start is not None
    assert (found.start.name, found.start.number) == (job_name(), 1)
    assert (found.reason, found.message) == ("ResolvingWeights", "a Job is started to resolve pvc://models/smollm2")


def test_another_image_credential_or_placement_is_another_job_and_another_spelling_of_defaults_is_not() -> None:
    spec = LlamaWeightsSpec.model_validate(SPEC)
    changed = [
        resolve_key(spec, replace(SETTINGS, gateway_image="gateway:2")),
        resolve_key(spec.model_copy(update={"credentials_secret": "s"}), SETTINGS),
        resolve_key(LlamaWeightsSpec.model_validate({**SPEC, "placement": {"nodeSelector": {"a": "b"}}}), SETTINGS),
    ]
    assert len({resolve_key(spec, SETTINGS), *changed}) == 4
    assert resolve_key(LlamaWeightsSpec.model_validate({**SPEC, "check": "full"}), SETTINGS) == resolve_key(
        spec, SETTINGS
    )
    assert spec_key(spec) == spec_key(spec.model_copy(update={"credentials_secret": "s"}))


def test_a_job_of_another_wish_is_stopped_unless_it_already_reads() -> None:
    old = job_body(f"{NAME}-older000", created=ago(20))
    found = plan(old)
    assert [ref.name for ref in found.deletes] == [f"{NAME}-older000"]
    assert found.start is not None
    reading = plan(old, pod_body(old, created=ago(20)))
    assert (reading.start, reading.deletes) == (None, ())
    assert f"pod {NAME}-older000-x on node node-1 resolves the weights, 20 s so far" in reading.message


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ({"phase": "Running"}, "ResolvingWeights", "resolves the weights, 40 s so far"),
        ({"phase": "Pending"}, "ResolvingWeights", "gets its containers on node node-1, 40 s so far"),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]},
            "Unschedulable",
            "0/2 nodes",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": 'persistentvolumeclaim "m" not found'}
                ],
            },
            "VolumeUnavailable",
            "claim m does not exist in namespace team; create it",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"name": "resolver", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
                ],
            },
            "ImageUnavailable",
            "no such image",
        ),
    ],
)
def test_while_it_looks(status: dict[str, Any], reason: str, words: str) -> None:
    job = a_job()
    found = plan(job, pod_body(job, created=ago(40), **status))
    assert (found.reason, found.start, found.deletes) == (reason, None, ())
    assert words in found.message


@pytest.mark.parametrize(("seconds", "words"), [(5, "has no pod yet, 0 s so far"), (65, "`kubectl describe job ")])
def test_a_job_without_a_pod(seconds: float, words: str) -> None:
    found = plan(job_body(job_name(), created=ago(seconds)))
    assert found.reason == "ResolvingWeights"
    assert words in found.message


def test_a_job_on_its_way_out_is_waited_for() -> None:
    found = plan(a_job(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"}))
    assert (found.start, found.deletes) == (None, ())
    assert "is being deleted, then the source is resolved again" in found.message


# -- its answer --------------------------------------------------------------------------------------------------------


def test_an_acceptance_reaches_the_status_before_its_job_goes() -> None:
    children = (manifest_body(), *looked(ACCEPTED))
    found = plan(*children)
    assert (found.accepted, found.deletes, found.settled) == (ACCEPTED, (), False)
    status = accepted_status()
    assert (status.ready, status.reason, status.message) == (True, "Accepted", "2 files, 269 MB")
    assert (status.digest, status.short_digest) == (MANIFEST.digest, MANIFEST.digest[7:19])
    assert (status.bytes, status.size, status.files) == (MANIFEST.bytes, "269MB", 2)
    assert (status.license, status.resolved_revision, status.manifest) == ("apache-2.0", "0e9e39f", f"{NAME}-manifest")
    assert isinstance(status, LlamaWeightsStatus)
    assert status.facts is not None
    assert status.facts.model_dump() == FACTS.model_dump()
    settled = plan(*children, status=status)
    assert (settled.settled, [ref.kind for ref in settled.deletes]) == (True, ["Job"])


def test_accepted_weights_are_never_looked_at_again() -> None:
    status = accepted_status()
    for settings in (SETTINGS, replace(SETTINGS, gateway_image="gateway:2")):
        found = plan_weights(world(manifest_body(), status=status), settings, NOW + timedelta(days=99))
        assert (found.start, found.deletes, found.reason) == (None, (), "Accepted")
    again = world(manifest_body(), status=status)
    assert weights_status(again, plan_weights(again, SETTINGS, NOW), (), now=NOW + timedelta(hours=1)) == status


def test_an_acceptance_waits_for_its_manifest_and_not_for_ever() -> None:
    job, pod = looked(ACCEPTED, seconds_ago=5)
    found = plan(job, pod, manifest_body(None))
    assert (found.accepted, found.message) == (None, "the manifest of 2 files is on its way")
    job, pod = looked(ACCEPTED, seconds_ago=MANIFEST_LAG.total_seconds())
    for stored in (manifest_body(None), manifest_body(OTHER)):
        found = plan(job, pod, stored)
        assert (found.accepted, found.reason) == (None, "WeightsBroken")
        assert "stored no manifest" in found.message


@pytest.mark.parametrize("stored", [(), (manifest_body(None),), (manifest_body(OTHER),)])
def test_a_lost_manifest_is_made_again(stored: tuple[dict[str, Any], ...]) -> None:
    status = accepted_status()
    found = world(*stored, status=status)
    decided = plan_weights(found, SETTINGS, NOW)
    assert decided.start is not None
    after = weights_status(found, decided, (), now=NOW)
    assert (after.ready, after.reason, after.digest) == (False, "ResolvingWeights", status.digest)
    again = world(manifest_body(), *looked(ACCEPTED), status=after)
    assert weights_status(again, plan_weights(again, SETTINGS, NOW), (), now=NOW) == status


def test_weights_that_changed_under_their_name_are_refused() -> None:
    moved = ACCEPTED.model_copy(update={"digest": OTHER.digest})
    found = plan(manifest_body(OTHER), *looked(moved), status=accepted_status())
    assert (found.accepted, found.reason) == (None, "DigestDiffers")
    assert f"had the digest {MANIFEST.digest} and now has {OTHER.digest}: a revision must not move" in found.message


def test_another_license_of_a_users_object_is_looked_at_anew() -> None:
    spec = {**SPEC, "license": "mit"}
    found = plan(manifest_body(), spec=spec, status=accepted_status())
    assert found.start is not None
    assert found.start.name == job_name(spec)


REASONS = ["WeightsDenied", "WeightsGone", "ModelRefused", "DigestDiffers", "LicenseRefused", "SomethingNew"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_is_shown_and_looked_at_again_after_a_while(reason: str) -> None:
    found = world(*looked(refusal(reason)))
    decided = plan_weights(found, SETTINGS, NOW)
    assert (decided.reason, decided.message, decided.deletes) == (reason, "no", ())
    status = weights_status(found, decided, (), now=NOW)
    assert (status.ready, status.reason, status.message, status.digest) == (False, reason, "no", "")
    later = plan(*looked(refusal(reason), seconds_ago=FIRST_PAUSE), status=status)
    assert [ref.name for ref in later.deletes] == [job_name()]
    next_ = plan(status=status)
    assert next_.start is not None
    assert next_.start.number == 2


def test_the_refusal_stays_in_sight_while_it_is_looked_at_again() -> None:
    look = ResolveAttempt(key=job_name(), number=1, at=NOW, refused=True, reason="WeightsGone", message="no folder")
    status = LlamaWeightsStatus(last_resolve=look, reason="WeightsGone", message="no folder")
    job = a_job(number=2)
    for children in ((), (job,), (job, pod_body(job, created=ago(1)))):
        found = plan(*children, status=status)
        assert (found.reason, found.message) == ("WeightsGone", "no folder")
    waiting = {"name": "resolver", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    stuck = plan(job, pod_body(job, created=ago(1), phase="Pending", containerStatuses=[waiting]), status=status)
    assert stuck.reason == "ImageUnavailable"


def test_another_wish_forgets_the_pauses_of_the_last() -> None:
    look = ResolveAttempt(key="another", number=7, at=NOW, refused=True, reason="WeightsDenied", message="no token")
    found = plan(status=LlamaWeightsStatus(last_resolve=look))
    assert found.start is not None
    assert found.start.number == 1


@pytest.mark.parametrize(
    ("number", "local", "remote"), [(1, 30, 30), (2, 30, 60), (3, 30, 120), (5, 30, 480), (6, 30, 600), (99, 30, 600)]
)
def test_pauses(number: int, local: float, remote: float) -> None:
    assert pause(number, SPEC["source"]) == local
    assert pause(number, REMOTE["source"]) == remote


@given(st.integers(1, 2000), st.sampled_from([SPEC["source"], REMOTE["source"]]))
def test_pauses_never_shrink_and_are_bounded(number: int, source: str) -> None:
    assert FIRST_PAUSE <= pause(number, source) <= pause(number + 1, source) <= LONGEST_PAUSE


@given(st.integers(1, 12), st.floats(0, 1000))
def test_a_refused_look_goes_exactly_when_its_pause_is_over(number: int, age: float) -> None:
    job, pod = looked(refusal("WeightsGone"), seconds_ago=int(age), number=number, spec=REMOTE)
    found = plan(job, pod, spec=REMOTE)
    due = int(age) >= pause(number, REMOTE["source"])
    assert bool(found.deletes) is due
    assert 1 <= found.recheck <= 60


@pytest.mark.parametrize("message", ["", "Traceback: boom", '{"outcome": "accepted"}', "{}", "null"])
def test_an_end_without_a_report_is_a_refusal_with_the_last_words(message: str) -> None:
    job = a_job()
    found = plan(job, pod_body(job, created=ago(9), **ended(message, at=ago(1), code=137, reason="OOMKilled")))
    assert found.reason == "ContainerFailing"
    assert "ended with code 137 (OOMKilled) and without a report" in found.message
    assert message in found.message


def test_an_acceptance_without_facts_is_no_acceptance() -> None:
    found = plan(manifest_body(), *looked(ACCEPTED.model_copy(update={"facts": None})))
    assert (found.accepted, found.reason) == (None, "ModelRefused")


def test_a_job_whose_pod_was_lost_is_made_again_after_a_while() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached it"}

    def lost(seconds: float) -> WeightsPlan:
        at = ago(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
        return plan(a_job(status={"conditions": [{**failed, "lastTransitionTime": at}]}))

    assert lost(1).reason == "ContainerFailing"
    assert f"the pod of Job {job_name()} ended with no code" in lost(1).message
    assert "BackoffLimitExceeded: Job has reached it" in lost(1).message
    assert lost(1).deletes == ()
    assert [ref.name for ref in lost(31).deletes] == [job_name()]


def test_a_deadline_is_named() -> None:
    job = a_job()
    pod = pod_body(job, created=ago(9), phase="Failed", reason="DeadlineExceeded", message="Pod was active too long")
    assert "it ran longer than its deadline" in plan(job, pod).message


# -- what is not ours, and the status ----------------------------------------------------------------------------------


def test_children_of_an_earlier_object_of_this_name_are_not_read() -> None:
    job, pod = looked(ACCEPTED)
    job["metadata"]["ownerReferences"] = [{"uid": "earlier"}]
    found = world(job, pod, manifest_body(owner="earlier"))
    assert (found.jobs, found.manifest) == ((), None)


def test_the_pod_of_an_earlier_job_of_this_name_is_not_its_answer() -> None:
    _, pod = looked(ACCEPTED, number=1)
    found = plan(a_job(number=2), pod, manifest_body())
    assert (found.accepted, found.reason) == (None, "ResolvingWeights")


def test_what_is_being_deleted_or_cannot_be_read_is_left_alone() -> None:
    gone = weights_snapshot(weights_body(deletionTimestamp="2026-01-01T12:00:00Z"), looked(ACCEPTED))
    assert plan_weights(gone, SETTINGS, NOW) == WeightsPlan("", "")
    old = weights_snapshot(weights_body({**SPEC, "check": "maybe"}), looked(ACCEPTED))
    found = plan_weights(old, SETTINGS, NOW)
    assert (found.reason, found.start, found.deletes) == ("SpecInvalid", None, ())
    assert "spec.check is 'maybe'" in found.message


def test_a_status_of_another_form_is_made_anew() -> None:
    body = weights_body() | {"status": {"bytes": "many"}}
    assert weights_snapshot(body, ()).status == LlamaWeightsStatus()


def test_the_condition_keeps_the_moment_of_its_last_change() -> None:
    found = world()
    first = weights_status(found, plan_weights(found, SETTINGS, NOW), (), now=NOW)
    later = NOW + timedelta(minutes=5)
    second = weights_status(replace(found, status=first), plan_weights(found, SETTINGS, NOW), (), now=later)
    assert second == first
    ready = replace(world(manifest_body(), *looked(ACCEPTED)), status=first)
    third = weights_status(ready, plan_weights(ready, SETTINGS, NOW), (), now=later)
    moments = {one.type: one.last_transition_time for one in third.conditions}
    assert moments == {"Ready": later, "Reconciling": later, "Stalled": NOW}
    assert {one.observed_generation for one in third.conditions} == {1}


def test_events_come_with_a_change_only() -> None:
    def events(before: tuple[str, str], after: tuple[str, str], *, refused: bool = True) -> list[bool]:
        look = ResolveAttempt(key="k", number=1, at=NOW, refused=refused)
        old, new = (LlamaWeightsStatus(reason=one, message=two, last_resolve=look) for one, two in (before, after))
        return [notice.warning for notice in weights_events(old, new)]

    assert events(("", ""), ("ResolvingWeights", "a"), refused=False) == [False]
    assert events(("ResolvingWeights", "a"), ("ResolvingWeights", "b"), refused=False) == []
    assert events(("ResolvingWeights", "a"), ("WeightsGone", "b")) == [True]
    assert events(("WeightsGone", "b"), ("WeightsGone", "b")) == []
    assert events(("WeightsGone", "b"), ("WeightsGone", "another folder")) == [True]
    assert events(("WeightsGone", "b"), ("Accepted", "fine"), refused=False) == [False]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0B"), (7, "7B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (269_060_552, "269MB"),
        (999_600_000, "1GB"), (16_060_556_376, "16.1GB"), (810_000_000_000, "810GB"), (2_500_000_000_000, "2.5TB"),
    ],
)  # fmt: skip
def test_shown_bytes(count: int, shown: str) -> None:
    assert short_bytes(count) == shown


def test_uids_and_names_are_as_the_fakes_say() -> None:
    assert world().uid == UID
    assert world().key.name == NAME
