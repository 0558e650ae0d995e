"""From the raw objects of a LlamaWeights to frozen views: for its own loop, and for the deployments that use it.

A LlamaAdapter is resolved by the same loop; ``WeightsSnapshot.kind`` says which of the two it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from llama_operator.api import (
    ADAPTERS_KIND,
    KIND,
    WEIGHTS_KIND,
    LlamaAdapterSpec,
    LlamaAdapterStatus,
    LlamaWeightsSpec,
    LlamaWeightsStatus,
    ResolvedSpec,
    ResolvedStatus,
    content_of,
)
from llama_operator.observe.deployment import WeightsView
from llama_operator.observe.findings import NOTHING, Findings
from llama_operator.observe.kubernetes import owned_by, parse_time, stored_spec
from llama_operator.observe.pods import PodView, pod_view
from llama_operator.observe.stored_manifest import manifest_problem, stored_manifest
from llama_operator.ports import LEFT_OUT, Capacity, Key, Manifest
from llama_serving.config import names
from llama_serving.config.chat.facts import ChatFacts
from llama_serving.config.model import ModelFacts
from llama_serving.config.reasons import Reason
from llama_serving.config.weights import Manifest as WeightsManifest
from llama_serving.config.wording import clause

Body = Mapping[str, Any]

_DIGITS: Final = 10  # of the number of an attempt: anybody who may edit Jobs can write another


@dataclass(frozen=True)
class JobView:
    """A Job that resolves, or resolved, the source."""

    name: str
    uid: str
    number: int
    created: datetime
    leaving: bool
    finished: bool
    failure: str  # the Job controller's sentence; empty unless it failed
    ended: datetime | None
    pod: PodView | None
    findings: Findings = NOTHING  # what its controller says while it has no pod


@dataclass(frozen=True)
class WeightsSnapshot:
    """One LlamaWeights, or LlamaAdapter, and everything of it that was seen in this pass."""

    key: Key
    uid: str
    generation: int
    deleting: bool
    spec: ResolvedSpec | None  # None: stored in a form that today's rules refuse; see spec_error
    spec_error: str
    status: ResolvedStatus
    jobs: tuple[JobView, ...] = ()
    children: tuple[Manifest, ...] = ()  # every other object of ours, whole
    manifest: WeightsManifest | None = None
    capacity: Capacity | None = None
    kind: str = WEIGHTS_KIND
    manifest_problem: str = ""  # why the stored manifest cannot be read; empty where it can, or none is stored
    denied: tuple[Reason, str] | None = None  # why its Secret may not be sent; see plan/weights/permission.py
    of_deployment: bool = False  # a LlamaDeployment made it: its user knows the fields of that one


def weights_snapshot(weights: Body, children: Iterable[Body]) -> WeightsSnapshot:
    """Return what the watches show, without children that another object of this name owned."""
    meta = weights["metadata"]
    uid = meta.get("uid", "")
    bodies = list(children)
    ours = [dict(child) for child in bodies if owned_by(child, uid)]
    pods = [child for child in bodies if child["kind"] == "Pod"]
    others = [child for child in ours if child["kind"] not in ("Job", "Pod")]
    whole = [child for child in others if LEFT_OUT not in child]
    kind = weights.get("kind", WEIGHTS_KIND)
    spec, error = resolved_spec(weights)
    return WeightsSnapshot(
        key=Key(meta["namespace"], meta["name"]),
        uid=uid,
        generation=meta.get("generation", 0),
        deleting="deletionTimestamp" in meta,
        spec=spec,
        spec_error=error,
        status=resolved_status(weights),
        jobs=tuple(
            sorted(
                (job_view(job, pods) for job in ours if job["kind"] == "Job" and LEFT_OUT not in job),
                key=lambda job: job.name,
            )
        ),
        children=tuple(sorted(whole, key=lambda child: (child["kind"], child["metadata"]["name"]))),
        manifest=next((found for child in others if (found := stored_manifest(child))), None),
        manifest_problem=next((why for child in others if (why := manifest_problem(child))), ""),
        kind=kind,
        of_deployment=any(owner.get("kind") == KIND for owner in meta.get("ownerReferences") or ()),
    )


def job_view(job: Body, pods: Iterable[Body]) -> JobView:
    """View of a Job and its pod; the pod of an earlier Job of the same name is not its own."""
    meta, status = job["metadata"], job.get("status") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or () if item.get("status") == "True"}
    failed, complete = conditions.get("Failed"), conditions.get("Complete")
    last = failed or complete or {}
    mine = [pod_view(pod) for pod in pods if owned_by(pod, meta.get("uid", ""))]
    pod = max(mine, key=lambda one: one.created, default=None)
    number = (meta.get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, "1")
    return JobView(
        name=meta["name"],
        uid=meta.get("uid", ""),
        number=int(number) if number.isdecimal() and len(number) < _DIGITS else 1,
        created=parse_time(meta.get("creationTimestamp")) or datetime.fromtimestamp(0, UTC),
        leaving="deletionTimestamp" in meta,
        finished=bool(last) or (pod is not None and pod.finished),
        failure=f"{failed.get('reason', '')}: {clause(failed.get('message', ''))}" if failed else "",
        ended=_ended(pod, last),
        pod=pod,
    )


def weights_views(weights: Iterable[Body], manifests: Iterable[Body]) -> dict[str, WeightsView]:
    """Return the views of all LlamaWeights of a namespace, by name."""
    stored = {owner["uid"]: body for body in manifests for owner in body["metadata"].get("ownerReferences") or ()}
    views = (weights_view(body, stored.get(body["metadata"].get("uid", ""))) for body in weights)
    return {view.name: view for view in views}


def weights_view(body: Body, manifest_body: Body | None) -> WeightsView:
    """Return what a deployment reads of some weights; they are ready only together with their manifest."""
    meta, status, (spec, error) = body["metadata"], _status(body), _spec(body)
    manifest = stored_manifest(manifest_body)
    if manifest and manifest.digest != status.digest:
        manifest = None
    # Pods mount what the spec names now, which may be another Secret than the one that was permitted.
    ready = status.ready and manifest is not None and spec is not None and is_permitted(spec, status)
    refused = error != "" or (status.last_resolve is not None and status.last_resolve.refused)
    return WeightsView(
        name=meta["name"],
        source=spec.source if spec else "",
        revision=spec.revision if spec else "",
        resolved=status.resolved_revision,
        ready=ready,
        digest=status.digest,
        facts=ModelFacts(**status.facts.model_dump()) if status.facts else None,
        chat=ChatFacts(**status.chat.model_dump()) if status.chat else None,
        manifest=manifest,
        reason=status.reason,
        message=error or manifest_problem(manifest_body) or status.message,
        refused=refused and not ready,
        uid=meta.get("uid", ""),
        owners=frozenset(owner["uid"] for owner in meta.get("ownerReferences") or ()),
        ours=(meta.get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY,
        content=content_of(spec) if spec else "",
        resolver_settings=resolver_settings(spec) if spec else "",
    )


def resolver_settings(spec: LlamaWeightsSpec) -> str:
    """Return how the weights are resolved, as a text to compare: what may change in the object of a deployment."""
    return spec.model_dump_json(include={"placement", "images"})


def _ended(pod: PodView | None, condition: Body) -> datetime | None:
    if pod and pod.ended and pod.ended.at:
        return pod.ended.at
    return parse_time(condition.get("lastTransitionTime"))


def resolved_spec(body: Body) -> tuple[ResolvedSpec | None, str]:
    """Return the spec of a LlamaWeights or a LlamaAdapter, as ``stored_spec`` does."""
    kind = LlamaAdapterSpec if body.get("kind") == ADAPTERS_KIND else LlamaWeightsSpec
    return stored_spec(kind, body, remedy="make it anew")


def resolved_kind(body: Body) -> type[ResolvedStatus]:
    """Return the class of the status of either kind."""
    return LlamaAdapterStatus if body.get("kind") == ADAPTERS_KIND else LlamaWeightsStatus


def resolved_status(body: Body) -> ResolvedStatus:
    """Return the status of either kind; an empty one where it was written in another form: it is made anew."""
    kind = resolved_kind(body)
    try:
        return kind.model_validate(body.get("status") or {})
    except ValidationError:
        return kind()


def is_permitted(spec: ResolvedSpec, status: ResolvedStatus) -> bool:
    """Return whether its Secret may be sent to its source: it was permitted, or is older than the rule."""
    before = status.permitted_secret
    return not spec.credentials_secret or before == spec.credentials_secret or (before is None and status.ready)


def _spec(body: Body) -> tuple[LlamaWeightsSpec | None, str]:
    return stored_spec(LlamaWeightsSpec, body, remedy="make it anew")


def _status(body: Body) -> LlamaWeightsStatus:
    try:
        return LlamaWeightsStatus.model_validate(body.get("status") or {})
    except ValidationError:  # written in another form: it is made anew
        return LlamaWeightsStatus()
