"""From the raw objects of LlamaAdapters to frozen views, for the deployments that serve them."""

from collections.abc import Iterable, Mapping
from typing import Any

from llama_operator.api import LlamaAdapterSpec, LlamaAdapterStatus
from llama_operator.api.v1alpha1.verification import golden_messages
from llama_operator.observe.deployment import AdapterView
from llama_operator.observe.kubernetes import stored_spec
from llama_operator.observe.stored_manifest import manifest_problem, stored_manifest
from llama_operator.observe.weights import resolved_status
from llama_serving.config import names
from llama_serving.config.model import AdapterFacts

Body = Mapping[str, Any]


def adapter_views(adapters: Iterable[Body], manifests: Iterable[Body]) -> dict[str, AdapterView]:
    """Return the views of all LlamaAdapters of a namespace, by name; those that are being deleted are left out."""
    stored = {owner["uid"]: body for body in manifests for owner in body["metadata"].get("ownerReferences") or ()}
    there = (body for body in adapters if "deletionTimestamp" not in body["metadata"])
    views = (adapter_view(body, stored.get(body["metadata"].get("uid", ""))) for body in there)
    return {view.name: view for view in views}


def adapter_view(body: Body, manifest_body: Body | None) -> AdapterView:
    """Return what a deployment reads of an adapter; it is ready only together with its manifest."""
    meta, status = body["metadata"], resolved_status(body)
    spec, error = stored_spec(LlamaAdapterSpec, body, remedy="make it anew")
    manifest = stored_manifest(manifest_body)
    if manifest and manifest.digest != status.digest:
        manifest = None
    facts = status.facts if isinstance(status, LlamaAdapterStatus) else None
    ready = status.ready and manifest is not None and spec is not None and facts is not None
    refused = error != "" or (status.last_resolve is not None and status.last_resolve.refused)
    return AdapterView(
        name=meta["name"],
        served_name=(meta.get("annotations") or {}).get(names.ANNOTATION_SERVED_NAME, "") or meta["name"],
        labels=meta.get("labels") or {},
        source=spec.source if spec else "",
        revision=spec.revision if spec else "",
        resolved=status.resolved_revision,
        credentials_secret=spec.credentials_secret if spec else "",
        service_account=spec.service_account_name if spec else "",
        ready=ready,
        digest=status.digest,
        facts=AdapterFacts.model_validate(facts.model_dump()) if facts else None,
        manifest=manifest,
        golden=golden_messages(spec.golden_prompts) if spec else (),
        reason=status.reason,
        message=error or manifest_problem(manifest_body) or status.message,
        refused=refused and not ready,
    )
