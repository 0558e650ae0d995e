"""Secrets with keys, and kinds that a cluster has or has not: the part of the fake cluster for what is at its edge."""

import base64
from collections.abc import Callable
from typing import Any, Final

from llama_operator.observe.access import is_gone, is_rules, key_secret, rules_secret
from llama_operator.observe.exposure import KINDS
from llama_operator.ports import AccessSecrets, Key, Manifest
from llama_serving.config import names

#: 64 characters, as ``openssl rand -hex 32`` makes them.
GOOD_KEY: Final = "0123456789abcdef" * 4


def encoded(fields: dict[str, str]) -> dict[str, str]:
    """The data of a Secret, as the API server shows them."""
    return {name: base64.b64encode(value.encode()).decode() for name, value in fields.items()}


def a_secret(name: str, *, labels: dict[str, str], created: str = "2026-01-01T00:00:00Z", **fields: str) -> Manifest:
    """A Secret with the label of keys, as it is read."""
    marked = {names.LABEL_ACCESS_KEY: "true", **labels}
    meta = {"name": name, "uid": f"uid-of-{name}", "labels": marked, "creationTimestamp": created}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded(fields)}


class EdgeFake:
    """One namespace's labelled Secrets, and the kinds of the cluster."""

    objects: dict[tuple[str, str], Manifest]
    call: Callable[..., None]

    def __init__(self) -> None:
        self.kinds = set(KINDS)  # those that the cluster has, of the kinds that lead to gateways
        self.may_watch_secrets = True

    async def access_secrets(self, key: Key) -> AccessSecrets:
        self.call("watched Secrets", lambda: None, write=False)
        if not self.may_watch_secrets:
            return AccessSecrets(denied="secrets is forbidden")
        found = [body for (kind, _), body in sorted(self.objects.items()) if kind == "Secret" and _is_labelled(body)]
        found = [body for body in found if not is_gone(body)]
        keys = tuple(key_secret(body) for body in found if not is_rules(body))
        rules = [rules_secret(body) for body in found if is_rules(body)]
        return AccessSecrets(keys, {one.name: one for one in rules})

    async def has_kind(self, api_version: str, kind: str) -> bool:
        self.call(f"has {kind}", lambda: None, write=False)
        return KINDS.get(kind) == api_version and kind in self.kinds

    def put_key(self, name: str, *, deployment: str = "chat", **fields: Any) -> None:
        """``kubectl create secret`` of a key, and ``kubectl label``."""
        labels = {names.LABEL_DEPLOYMENT: deployment}
        self.objects["Secret", name] = a_secret(name, labels=labels, **{"key": GOOD_KEY + name, **fields})


def _is_labelled(body: Manifest) -> bool:
    return names.LABEL_ACCESS_KEY in (body["metadata"].get("labels") or {})
