"""Labels and annotations of ``spec.podTemplate`` on pods, beside the operator's own, which always win.

A stage pod that runs gets a change in place: starting a group again costs minutes of its devices, and a label costs
nothing. Each pod notes in an annotation which keys it was given and a hash of all of it. A pod is written only when
that hash differs, so that a webhook or a person who changes such a value is not fought over it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from llama_operator.api.v1alpha1.placement import PodMetadata
from llama_operator.hashing import short_hash
from llama_operator.observe.pods import PodView
from llama_operator.ports import Manifest, Ref
from llama_serving.config import names

Value = TypeVar("Value")

_OWN: Final = frozenset({names.LABEL_COMPONENT, names.LABEL_MANAGED_BY})


class _Note(BaseModel):
    """What a pod was given, as the annotation has it."""

    hash: str
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relabel:
    """Labels and annotations to set on a pod that runs; those whose value is None are removed."""

    pod: Ref
    labels: Mapping[str, str | None]
    annotations: Mapping[str, str | None]


def with_pod_metadata(meta: Manifest, template: PodMetadata) -> Manifest:
    """Return the metadata of a pod, or of a pod template, with those of the user."""
    if not template.labels and not template.annotations:
        return meta
    found = {**meta, "labels": {**_users(template.labels), **meta.get("labels", {})}}
    annotations = {**_users(template.annotations), **meta.get("annotations", {})}
    return {**found, "annotations": annotations} if annotations else found


def stage_metadata(meta: Manifest, template: PodMetadata) -> Manifest:
    """Return the metadata of a new stage pod, with the note of what it was given."""
    found = with_pod_metadata(meta, template)
    note = _note(template)
    return (
        {**found, "annotations": {**found.get("annotations", {}), names.ANNOTATION_POD_TEMPLATE: note}}
        if note
        else found
    )


def relabels(pods: Iterable[PodView], template: PodMetadata) -> tuple[Relabel, ...]:
    """Return the pods that were given something else than ``template``, with what to write."""
    note = _note(template)
    return tuple(_relabel(pod, template, note) for pod in pods if pod.alive and pod.pod_template != note)


def _relabel(pod: PodView, template: PodMetadata, note: str) -> Relabel:
    before = _parsed(pod.pod_template)
    labels = _changes(before.labels, template.labels)
    annotations = _changes(before.annotations, template.annotations)
    return Relabel(
        Ref("v1", "Pod", pod.name, pod.uid), labels, {**annotations, names.ANNOTATION_POD_TEMPLATE: note or None}
    )


def _changes(before: Iterable[str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """Return what to set and, as None, what to remove."""
    return _users({**dict.fromkeys(before), **wanted})


def _users(found: Mapping[str, Value]) -> dict[str, Value]:
    """Leave out the operator's own keys: the API server refuses them, and a note may have been changed by hand."""
    return {key: value for key, value in found.items() if key not in _OWN and not key.startswith(f"{names.API_GROUP}/")}


def _note(template: PodMetadata) -> str:
    """Return the note of a template; empty for an empty one."""
    if not template.labels and not template.annotations:
        return ""
    whole: dict[str, Any] = template.model_dump(mode="json")
    keys = {"labels": sorted(template.labels), "annotations": sorted(template.annotations)}
    return json.dumps({**keys, "hash": short_hash(whole)}, sort_keys=True, separators=(",", ":"))


def _parsed(note: str) -> _Note:
    try:
        return _Note.model_validate_json(note)
    except ValidationError:  # none, or one that somebody has changed
        return _Note(hash="")
