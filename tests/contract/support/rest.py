"""Objects of the API server as JSON over one connection: 1 ms of CPU for each, where a kubectl takes 100.

What a user types stays with kubectl. This is for what tests only look at, and for what they play of Kubernetes.
"""

import base64
import json
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import yaml

from llama_operator.adapters.kube import MERGE
from llama_operator.ports import Manifest

WHO: Final = "somebody"  # the manager of the fields that tests change
FRESH_S: Final = 30  # the API server closes a connection that was idle for 90 s


@dataclass(frozen=True)
class Resource:
    """A kind, as discovery shows it."""

    root: str  # /api/v1, /apis/apps/v1
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Of all objects, or of one."""
        where = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.root}{where}/{self.plural}" + (f"/{name}" if name else "")


class Rest:
    """As the administrator. Kinds are named as kubectl takes them; of two with one name the older group's is meant."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text())
        cluster = found["clusters"][0]["cluster"]
        url, authority = urlsplit(cluster["server"]), base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        self._connection = HTTPSConnection(str(url.hostname), url.port, context=context, timeout=60)
        self._resources: Mapping[str, Resource] = {}
        self._one_at_a_time = threading.Lock()
        self._used = time.monotonic()
        self._token = found["users"][0]["user"]["token"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create(self, namespace: str, body: Manifest) -> Manifest:
        """POST; returns what it became."""
        path = self._resource(body["kind"]).path(namespace)
        return self._call("POST", path + "?fieldValidation=Strict", body)

    def get(self, namespace: str, kind: str, name: str, *, subresource: str = "") -> Manifest:
        """One object that is there."""
        found = self.find(namespace, kind, name, subresource=subresource)
        assert found is not None, f"{kind} {name} is not there"
        return found

    def find(self, namespace: str, kind: str, name: str, *, subresource: str = "") -> Manifest | None:
        """One object, or None."""
        return self._call("GET", self._one(namespace, kind, name, subresource=subresource), fine=404) or None

    def list(self, namespace: str, kind: str, selector: str = "") -> list[Manifest]:
        """All of a kind, each with its kind, which the API server leaves out in a list."""
        found = self._resource(kind)
        path = found.path(namespace) + "?" + urlencode({"labelSelector": selector})
        version = found.root.removeprefix("/apis/").removeprefix("/api/")
        return [{"apiVersion": version, "kind": found.kind, **item} for item in self._call("GET", path)["items"]]

    def patch(
        self, namespace: str, kind: str, name: str, *, change: Manifest, subresource: str = "", user: str = "",
        dry_run: bool = False,
    ) -> Manifest:  # fmt: skip
        """Merge ``change`` into an object; returns what it became. Unlike kubectl's, this needs no right to read it.

        ``user``: whose rights count, instead of the administrator's. ``dry_run``: what is asked is checked, not stored.
        """
        options = {"fieldManager": WHO, **({"dryRun": "All"} if dry_run else {})}
        path = self._one(namespace, kind, name, subresource=subresource) + "?" + urlencode(options)
        return self._call("PATCH", path, change, content=MERGE, user=user)

    def delete(self, namespace: str, kind: str, name: str) -> None:
        """At once: there is no kubelet that would end a pod."""
        self._call("DELETE", self._one(namespace, kind, name), {"gracePeriodSeconds": 0})

    def _one(self, namespace: str, kind: str, name: str, *, subresource: str = "") -> str:
        return self._resource(kind).path(namespace, name) + (f"/{subresource}" if subresource else "")

    def _resource(self, kind: str) -> Resource:
        if kind.lower() not in self._resources:  # asked first, or before our CRDs were there
            self._resources = self._discovered()
        return self._resources[kind.lower()]

    def _discovered(self) -> Mapping[str, Resource]:
        """By plural, singular, kind and short name."""
        groups = [group["preferredVersion"]["groupVersion"] for group in self._call("GET", "/apis")["groups"]]
        found: dict[str, Resource] = {}
        for root in ("/api/v1", *(f"/apis/{group}" for group in groups)):
            for one in self._call("GET", root, fine=404).get("resources", ()):
                if "/" in one["name"]:
                    continue
                names = (one["name"], one["singularName"], one["kind"].lower(), *one.get("shortNames", ()))
                resource = Resource(root, one["name"], one["kind"], one["namespaced"])
                found = dict.fromkeys(names, resource) | found
        return found

    def _call(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        content: str = "application/json",
        fine: int = 0,
        user: str = "",
    ) -> Manifest:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content, "Accept": "application/json"}
        headers |= {"Impersonate-User": user} if user else {}
        with self._one_at_a_time:
            if time.monotonic() - self._used > FRESH_S:
                self._connection.close()  # the request opens it again
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            text, self._used = answer.read().decode(), time.monotonic()
        if answer.status == fine:
            return {}
        assert answer.status < 300, f"{method} {path} failed with {answer.status}:\n{text}"
        found: Manifest = json.loads(text)
        return found
