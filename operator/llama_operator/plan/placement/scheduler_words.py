"""The scheduler's message in our words: how many nodes it refuses, and why each."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from llama_operator.observe.causes.cause import CauseKind, PodCause
from llama_operator.observe.causes.scheduler import nodes_of, scheduler_causes
from llama_operator.observe.pods import PodView
from llama_operator.plan.causes import explain_cause
from llama_operator.plan.sentences import causes as sentences
from llama_operator.plan.sentences import placement as placement_sentences

#: What the scheduler counts, in words that follow a number of nodes.
COUNTED: Final[Mapping[CauseKind, Callable[[PodCause], str]]] = {
    CauseKind.INSUFFICIENT: lambda c: sentences.too_little(c.name),
    CauseKind.TOO_MANY_PODS: lambda _: sentences.pods_full(),
    CauseKind.NODE_RULE: lambda _: sentences.rule_of_nodes(),
    CauseKind.POD_RULE: lambda _: sentences.rule_of_pods(),
    CauseKind.APART_RULE: lambda _: sentences.rule_of_distance(),
    CauseKind.SPREAD_RULE: lambda _: sentences.rule_of_spread(),
    CauseKind.CORDONED: lambda _: placement_sentences.cordoned(),
    CauseKind.TAINT: lambda c: (
        placement_sentences.taint_not_tolerated(c.name) if c.name else sentences.untolerated_taint()
    ),
    CauseKind.PORTS_TAKEN: lambda _: sentences.ports_taken(),
    CauseKind.DEVICE_CLAIM: lambda _: sentences.device_claim(),
    CauseKind.VOLUME_ZONE: lambda _: sentences.without_zone_of_volume(),
    CauseKind.VOLUME_NODE: lambda _: sentences.not_reached_by_volume(),
    CauseKind.VOLUME_NONE: lambda _: sentences.without_volume(),
    CauseKind.VOLUME_SPACE: lambda _: sentences.without_storage(),
    CauseKind.VOLUME_GONE: lambda _: sentences.volume_object_gone(),
    CauseKind.VOLUME_COUNT: lambda _: sentences.volumes_full(),
    CauseKind.VOLUME_EXCLUSIVE: lambda _: sentences.volume_of_another_pod(),
    CauseKind.CSI_DRIVER_MISSING: lambda c: sentences.without_driver(c.name),
}


def scheduler_words(message: str) -> str:
    """Return what the scheduler said: by number of nodes, or as it is where its form is not known."""
    causes = scheduler_causes(message)
    if not causes or not all(cause.nodes and cause.kind in COUNTED for cause in causes):
        return message
    counts: Counter[str] = Counter()
    for cause in causes:
        counts[COUNTED[cause.kind](cause)] += cause.nodes
    return placement_sentences.kept_away(nodes=nodes_of(message), why=counts)


def why_unscheduled(pod: PodView, now: datetime) -> str:
    """Return what the scheduler has against a pod: what it says of the pod itself, or of the nodes."""
    causes = scheduler_causes(pod.unscheduled)
    of_pod = explain_cause(causes[0], pod, now) if len(causes) == 1 and not causes[0].nodes else None
    return of_pod.detail if of_pod else scheduler_words(pod.unscheduled)
