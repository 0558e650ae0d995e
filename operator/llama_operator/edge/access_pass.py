"""Hands the rules of keys to the gateways of one deployment: a loop of its own, so that no slow pass holds it up.

A change of a Secret with a key wakes this loop at once. It writes one Secret, and only when that would say something
else, or does not say what was written last. Nobody else writes it; it goes with its owner, or with ``spec.access``
(observed.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import Context
from llama_operator.manifests.diff import with_digest
from llama_operator.manifests.edge.access import rules_object
from llama_operator.observe.access import content_hash
from llama_operator.observe.kubernetes import stored_spec
from llama_operator.plan.edge.access import decide_access
from llama_operator.plan.settings import Settings
from llama_operator.ports import AccessSecrets, Cluster, Key, Manifest, Rejected, Retry
from llama_serving.config import names
from llama_serving.config.access.rules import ACCESS_FILE, access_secret

RECHECK = 300.0  # seconds; every change is an event


@dataclass
class AccessFaults:
    """Why the rules of a deployment could not be written, by its uid: its next pass says so."""

    found: dict[str, str] = field(default_factory=dict)

    def of(self, uid: str) -> str:
        """Return the API server's words; empty where the last write was taken."""
        return self.found.get(uid, "")

    def keep(self, uid: str, said: str) -> None:
        """Keep the words of the last write; empty when it was taken."""
        self.found.pop(uid, None)
        if said:
            self.found[uid] = said

    def forget(self, uid: str) -> None:
        """Forget a deployment that is gone."""
        self.found.pop(uid, None)


def uses_access(body: Mapping[str, Any]) -> bool:
    """Tell whether a LlamaDeployment has rules for its gateways."""
    return bool((body.get("spec") or {}).get("access")) and "deletionTimestamp" not in body["metadata"]


async def reconcile_access(
    body: Mapping[str, Any], *, cluster: Cluster, settings: Settings, faults: AccessFaults
) -> float:
    """Write the rules of a LlamaDeployment where they have changed; return the seconds until the next look.

    Raises Retry and Rejected of the API server, and lets ``faults`` know of the latter.
    """
    meta = body["metadata"]
    key, uid = Key(meta["namespace"], meta["name"]), meta.get("uid", "")
    spec, _ = stored_spec(LlamaDeploymentSpec, body, remedy="edit the object")
    if spec is None or spec.access is None or "deletionTimestamp" in meta:
        return RECHECK
    secrets = await cluster.access_secrets(key)
    if secrets.denied:  # a key that was revoked meanwhile is not known: what was seen before would bring it back
        return RECHECK
    decision = decide_access(spec.access, secrets, deployment=key.name)
    manifest = with_digest(rules_object(Context(key, uid, spec, settings), decision.rules))
    try:
        await _write(key, manifest, secrets, uid=uid, cluster=cluster)
    except Rejected as error:
        faults.keep(uid, str(error))
        raise
    faults.keep(uid, "")
    return RECHECK


async def _write(key: Key, manifest: Manifest, secrets: AccessSecrets, *, uid: str, cluster: Cluster) -> None:
    seen = secrets.rules.get(access_secret(key.name))
    if seen is None:  # or somebody's without our label: that one is refused and not taken over
        await cluster.ensure(key, manifest)
        return
    if uid not in seen.owners:
        raise Retry(f"Secret {seen.name} still belongs to an earlier object, which the garbage collector deletes")
    wanted = manifest["metadata"]["annotations"][names.ANNOTATION_DIGEST], content_hash(manifest["data"][ACCESS_FILE])
    if (seen.digest, seen.content) != wanted:
        await cluster.apply(key, manifest, force=True)
