"""How to reach the API server: as a pod's service account, or as KUBECONFIG says (for development).

Tokens and certificates are read anew at each call: the kubelet replaces them while a gateway runs.
"""

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """The configuration does not say how to reach an API server; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, and with what to go there; ``tls`` is None for plain HTTP."""

    url: str
    headers: dict[str, str]
    tls: ssl.SSLContext | None


def find_access() -> Access:
    """Return the access of the pod if this is one, else that of KUBECONFIG; raises AccessError."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(host, os.environ.get("KUBERNETES_SERVICE_PORT", "443"), SERVICE_ACCOUNT)
    kubeconfig = os.environ.get("KUBECONFIG")
    if kubeconfig:
        return from_kubeconfig(Path(kubeconfig))
    raise AccessError("neither a service account is mounted nor KUBECONFIG set: a gateway takes --static instead")


def in_cluster(host: str, port: str, folder: Path) -> Access:
    """Return the access of a pod; raises OSError when the mounted files cannot be read."""
    token = (folder / "token").read_text(encoding="ascii").strip()
    address = f"[{host}]" if ":" in host else host
    return Access(
        url=f"https://{address}:{port}",
        headers={"authorization": f"Bearer {token}"},
        tls=ssl.create_default_context(cafile=str(folder / "ca.crt")),
    )


def from_kubeconfig(path: Path) -> Access:
    """Return the access that the current context of a kubeconfig names; raises AccessError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        server: str = cluster["server"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise AccessError(f"{path} has no usable current context: {error}") from error
    if "exec" in user or "auth-provider" in user:
        raise AccessError(f"{path} asks for a login program; only tokens and certificates are taken")
    headers = {"authorization": f"Bearer {user['token']}"} if "token" in user else {}
    tls = _tls(cluster, user, path.parent) if server.startswith("https:") else None
    return Access(url=server.rstrip("/"), headers=headers, tls=tls)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _tls(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        # The ssl module loads these from files only.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(certificate + b"\n" + key)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _pem(entry: dict[str, Any], name: str, folder: Path) -> bytes | None:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"])
    if name in entry:
        return (folder / str(entry[name])).read_bytes()
    return None
