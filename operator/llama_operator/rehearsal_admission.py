"""Asks the API server whether it would take the objects of a group, and whether there is what its pods name.

A claim for staged weights is mounted by no pod of a rehearsal, so it is looked up, and what else users make with it.
The answer is kept in the process only: another one asks anew.
"""

from collections.abc import Sequence
from datetime import datetime

from llama_operator.observe.pods import pod_view
from llama_operator.observe.rehearsal import AdmissionAnswer
from llama_operator.plan.causes import explain_reference, references_of_users
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.ports import Cluster, Key, Manifest, Ref, Rejected, Retry


async def ask_admission(
    objects: Sequence[Manifest],
    *,
    key: Key,
    rehearsal: str,
    before: AdmissionAnswer | None,
    cluster: Cluster,
    now: datetime,
) -> AdmissionAnswer:
    """Send every object on trial, and look up what the pods name; return what was said."""
    refusals, retry = await _refusals(objects, key=key, cluster=cluster)
    missing: tuple[Explanation, ...] = ()
    if not retry:
        missing, retry = await _missing(objects, key=key, cluster=cluster, now=now)
    known = before.failures if before and before.rehearsal == rehearsal else 0
    failed = bool(refusals or missing or retry)
    said = tuple((one.reason, one.detail) for one in missing)
    return AdmissionAnswer(rehearsal, now, refusals, known + 1 if failed else 0, retry, missing=said)


async def _refusals(objects: Sequence[Manifest], *, key: Key, cluster: Cluster) -> tuple[tuple[str, ...], str]:
    """Return a sentence for each object that is refused, and why not all could be sent."""
    found = []
    for manifest in objects:
        title = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            await cluster.try_apply(key, manifest)
        except Rejected as error:
            found.append(sentences.write_refused(title, said=str(error)))
        except Retry as error:
            return tuple(found), sentences.write_retried(title, said=str(error))
    return tuple(found), ""


async def _missing(
    objects: Sequence[Manifest], *, key: Key, cluster: Cluster, now: datetime
) -> tuple[tuple[Explanation, ...], str]:
    """Say of each object that the pods name and a user makes why they cannot have it, and why not all are known."""
    pods = [pod_view(body) for body in objects if body["kind"] == "Pod"]
    named = {reference: pod for pod in pods for reference in references_of_users(pod)}
    found = []
    for reference, pod in named.items():
        try:
            body = await cluster.look_up(key, Ref("v1", reference.kind, reference.name))
        except Rejected:  # without the right to look, the kubelet will say it
            continue
        except Retry as error:
            return tuple(found), str(error)
        if why := explain_reference(reference, body, pod=pod, now=now):
            found.append(why)
    return tuple(found), ""
