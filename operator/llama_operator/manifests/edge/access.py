"""The Secret with the rules that gateways go by, and the right of gateways to watch it."""

import base64
from typing import Final

from llama_operator.manifests.common import Context, canonical_json, metadata, mount
from llama_operator.manifests.disk import scratch
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.access.ledger import LEDGER_FOLDER, LEDGER_SIZE
from llama_serving.config.access.rules import ACCESS_FILE, AccessRules, access_secret

_LEDGER: Final = "ledger"


def rules_object(context: Context, rules: AccessRules) -> Manifest:
    """Return the Secret. Its label keeps it apart from those with keys, which carry the same with another value."""
    name = access_secret(context.key.name)
    text = canonical_json(rules.to_file())
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata(context, name, names.COMPONENT_GATEWAY, access_key=names.ACCESS_RULES),
        "data": {ACCESS_FILE: base64.b64encode(text.encode()).decode()},
    }


def ledger_volumes(context: Context) -> list[Manifest]:
    """Return where a gateway keeps its ledger: it survives the end of the container, and not that of the pod."""
    return [scratch(_LEDGER, LEDGER_SIZE)] if context.spec.access is not None else []


def ledger_mounts(context: Context) -> list[Manifest]:
    """Mount it."""
    return [mount(_LEDGER, LEDGER_FOLDER, read_only=False)] if context.spec.access is not None else []


def ledger_sizes(context: Context) -> tuple[str, ...]:
    """Return what it may take of the node's disk."""
    return (LEDGER_SIZE,) if context.spec.access is not None else ()


def access_rights(context: Context) -> list[Manifest]:
    """Return the rules of the gateways' Role about this one Secret; none without ``spec.access``.

    A list or a watch of one name is allowed by its name: clients select it by ``metadata.name``.
    """
    if context.spec.access is None:
        return []
    named = [access_secret(context.key.name)]
    return [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": named, "verbs": ["get", "list", "watch"]}]
