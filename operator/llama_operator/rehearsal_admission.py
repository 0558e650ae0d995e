"""Asks the API server whether it would take the objects of a group, and whether there is what its pods name.

A claim for staged weights is mounted by no pod of a rehearsal, so it is looked up, and what else users make with it.
The answer is kept in the process only: another one asks anew.
"""

from collections.abc import Sequence
from datetime import datetime

from llama_operator.observe.causes.cause import CauseKind
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.observe.pods import pod_view
from llama_operator.observe.rehearsal import AdmissionAnswer, Refusal
from llama_operator.plan.causes import explain_reference, references_of_users, refusal_words
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.ports import Cluster, Key, Manifest, Quota, Ref, Rejected, Retry
from llama_serving.config import names


async def ask_admission(
    objects: Sequence[Manifest],
    *,
    key: Key,
    rehearsal: str,
    before: AdmissionAnswer | None,
    cluster: Cluster,
    now: datetime,
) -> AdmissionAnswer:
    """Send every object on trial, and look up what the pods of the group name; return what was said."""
    refusals: list[Refusal] = []
    missing: tuple[Explanation, ...] = ()
    quotas: tuple[Quota, ...] = ()
    retry = ""
    try:
        for manifest in objects:
            refusals += await _tried(manifest, key=key, cluster=cluster)
        missing = await _missing(objects, key=key, cluster=cluster, now=now)
        quotas = await _quotas(key, cluster)
    except Retry as error:
        retry = str(error)
    failed = bool(refusals or missing or retry)
    known = before.failures if before and before.rehearsal == rehearsal else 0
    return AdmissionAnswer(
        rehearsal, now, tuple(refusals), known + 1 if failed else 0, retry,
        missing=tuple((one.reason, one.detail) for one in missing), quotas=quotas,
    )  # fmt: skip


async def _tried(manifest: Manifest, *, key: Key, cluster: Cluster) -> tuple[Refusal, ...]:
    """Send an object on trial. Raises Retry, with the object's name."""
    title = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        await cluster.try_apply(key, manifest)
    except Rejected as error:
        return (_refusal(manifest, title, said=str(error)),)
    except Retry as error:
        raise Retry(sentences.write_retried(title, said=str(error)), after=error.after) from error
    return ()


def _refusal(manifest: Manifest, title: str, *, said: str) -> Refusal:
    """Say why an object was refused. A pod of the rehearsal itself comes before any group has left a quota."""
    cause = refusal_cause(said)
    quota = cause if cause and cause.kind is CauseKind.QUOTA and not _is_rehearsal(manifest) else None
    return Refusal(sentences.write_refused(title, said=refusal_words(said)), quota)


async def _quotas(key: Key, cluster: Cluster) -> tuple[Quota, ...]:
    """List the quotas of the namespace; none without the right to. Raises Retry."""
    try:
        return await cluster.quotas(key)
    except Rejected:
        return ()


async def _missing(
    objects: Sequence[Manifest], *, key: Key, cluster: Cluster, now: datetime
) -> tuple[Explanation, ...]:
    """Say of each object that the pods name and a user makes why they cannot have it. Raises Retry."""
    pods = [pod_view(body) for body in objects if body["kind"] == "Pod" and not _is_rehearsal(body)]
    named = {reference: pod for pod in pods for reference in references_of_users(pod)}
    found = []
    for reference, pod in named.items():
        try:
            body = await cluster.look_up(key, Ref(reference.api_version, reference.kind, reference.name))
        except Rejected:  # without the right to look, the kubelet will say it
            continue
        if why := explain_reference(reference, body, pod=pod, now=now):
            found.append(why)
    return tuple(found)


def _is_rehearsal(manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return bool(labels.get(names.LABEL_COMPONENT) == names.COMPONENT_REHEARSAL)
