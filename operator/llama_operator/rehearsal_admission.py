"""Asks the API server whether it would take the objects of a group, and remembers the answer until it is asked again.

The answer is kept in the process only: another one asks anew.
"""

from collections.abc import Iterable
from datetime import datetime

from llama_operator.observe.causes.cause import CauseKind
from llama_operator.observe.causes.refusals import refusal_cause
from llama_operator.observe.rehearsal import AdmissionAnswer, Refusal
from llama_operator.plan.causes import refusal_words
from llama_operator.plan.sentences import deployment as sentences
from llama_operator.ports import Cluster, Key, Manifest, Rejected, Retry
from llama_serving.config import names


async def ask_admission(
    objects: Iterable[Manifest],
    *,
    key: Key,
    rehearsal: str,
    before: AdmissionAnswer | None,
    cluster: Cluster,
    now: datetime,
) -> AdmissionAnswer:
    """Send every object on trial; return what was said to them."""
    refusals, retry = [], ""
    for manifest in objects:
        title = f"{manifest['kind']} {manifest['metadata']['name']}"
        try:
            await cluster.try_apply(key, manifest)
        except Rejected as error:
            refusals.append(_refusal(manifest, title, said=str(error)))
        except Retry as error:
            retry = sentences.write_retried(title, said=str(error))
            break
    failed = bool(refusals or retry)
    known = before.failures if before and before.rehearsal == rehearsal else 0
    return AdmissionAnswer(rehearsal, now, tuple(refusals), known + 1 if failed else 0, retry)


def _refusal(manifest: Manifest, title: str, *, said: str) -> Refusal:
    """Say why an object was refused. A pod of the rehearsal itself comes before any group has left a quota."""
    cause, labels = refusal_cause(said), manifest["metadata"].get("labels") or {}
    before = labels.get(names.LABEL_COMPONENT) == names.COMPONENT_REHEARSAL
    quota = cause if cause and cause.kind is CauseKind.QUOTA and not before else None
    return Refusal(sentences.write_refused(title, said=refusal_words(said)), quota)
