"""Which LoRA adapters a deployment asks for, under which names, and which of them no group can have.

Those that the spec lists come first, in its order, then those that its selector finds, by the names of the objects.
What is wrong with one never touches the others, nor the base.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.api.v1alpha1.adapters.served import NAME_IN_API
from llama_operator.observe.deployment import AdapterView, Snapshot
from llama_operator.plan.sentences import adapters as sentences
from llama_serving.config.reason_catalogue import reason_from
from llama_serving.config.reasons import Reason
from llama_serving.config.source import is_mounted, split

_NAME: Final = re.compile(NAME_IN_API)
_LONGEST: Final = 128
#: Most adapters that a selector adds; what a stranger labels is bounded.
MOST_SELECTED: Final = 1024


@dataclass(frozen=True)
class AdapterChoice:
    """One adapter that is asked for. ``reason`` and ``message`` say why no group gets it; empty where groups may."""

    name: str  # in the OpenAI API
    adapter: str  # name of the LlamaAdapter
    view: AdapterView | None
    reason: Reason | None = None
    message: str = ""


def choose_adapters(snapshot: Snapshot) -> tuple[AdapterChoice, ...]:
    """Return the adapters that the spec asks for, the most wanted first."""
    spec = snapshot.spec
    if spec is None or not spec.serves_adapters:
        return ()
    taken = {spec.model.name_in_api(snapshot.key.name): "the model"}
    found = []
    for choice in _asked(spec, snapshot):
        by = taken.get(choice.name)
        taken.setdefault(choice.name, f"LlamaAdapter {choice.adapter}")
        if by is not None:
            text = sentences.name_taken(adapter=choice.adapter, by=by)
            found.append(replace(choice, reason=Reason.ADAPTER_REFUSED, message=text))
        else:
            found.append(_judged(choice, spec, snapshot))
    return tuple(found)


def _asked(spec: LlamaDeploymentSpec, snapshot: Snapshot) -> Iterator[AdapterChoice]:
    views = snapshot.adapters
    for one in spec.adapters:
        yield AdapterChoice(one.name, one.adapter, views.get(one.adapter))
    if spec.adapter_selector is None:
        return
    listed, labels = {one.adapter for one in spec.adapters}, spec.adapter_selector.match_labels.items()
    selected = [view for name, view in sorted(views.items()) if name not in listed and labels <= view.labels.items()]
    for view in selected[:MOST_SELECTED]:
        yield AdapterChoice(view.served_name, view.name, view)


def _judged(choice: AdapterChoice, spec: LlamaDeploymentSpec, snapshot: Snapshot) -> AdapterChoice:
    reason, text = _obstacle(choice, spec, snapshot)
    return replace(choice, reason=reason, message=text) if reason else choice


def _obstacle(choice: AdapterChoice, spec: LlamaDeploymentSpec, snapshot: Snapshot) -> tuple[Reason | None, str]:
    view = choice.view
    if view is None:
        text = sentences.missing(adapter=choice.adapter, namespace=snapshot.key.namespace)
        return Reason.ADAPTER_MISSING, text
    if len(choice.name) > _LONGEST or not _NAME.fullmatch(choice.name):
        return Reason.ADAPTER_REFUSED, sentences.name_unusable(choice.name)
    if view.refused:
        return reason_from(view.reason, otherwise=Reason.ADAPTER_REFUSED), view.message
    if not view.ready:
        return Reason.LOADING_ADAPTERS, view.message or sentences.not_resolved(view.name)
    text = _out_of_reach(view, spec)
    return (Reason.ADAPTER_REFUSED, text) if text else (None, "")


def _out_of_reach(view: AdapterView, spec: LlamaDeploymentSpec) -> str:
    """Say why running pods cannot read the adapter's source: volumes and accounts of a pod are made with it."""
    model = spec.model
    if is_mounted(view.source):
        mounted = split(model.source).host if is_mounted(model.source) else ""
        claim = split(view.source).host
        return "" if claim == mounted else sentences.on_other_claim(adapter=view.name, claim=claim, mounted=mounted)
    if view.credentials_secret not in ("", model.credentials_secret):
        return sentences.other_credentials(
            adapter=view.name, secret=view.credentials_secret, mounted=model.credentials_secret
        )
    if view.service_account not in ("", model.service_account_name):
        return sentences.other_account(adapter=view.name, account=view.service_account, has=model.service_account_name)
    return ""
