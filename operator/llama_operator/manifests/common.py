"""What all children share: labels, the owner, and the security settings of Pod Security ``restricted``."""

import json
from dataclasses import dataclass
from typing import Any, Final

from llama_operator.api import API_VERSION, KIND, LlamaDeploymentSpec
from llama_operator.plan.settings import Settings
from llama_operator.ports import Key, Manifest
from llama_serving.config import names
from llama_serving.config.gateway import ServedModels
from llama_serving.config.logs.lines import TEXT
from llama_serving.config.source import parse


@dataclass(frozen=True)
class Context:
    """Whom the children belong to, and what they are made from."""

    key: Key
    uid: str
    spec: LlamaDeploymentSpec
    settings: Settings
    models: ServedModels | None = None  # what gateways are told of names; None: nothing
    exposed: frozenset[str] = frozenset()  # kinds of objects that may lead to the gateways from outside


def owner(kind: str, name: str, uid: str, *, controller: bool) -> dict[str, Any]:
    """Return an owner reference to one of our objects. Only one owner of an object can be its controller."""
    found = {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid}
    return {**found, "controller": True, "blockOwnerDeletion": True} if controller else found


def metadata(context: Context, name: str, component: str, **labels: str) -> Manifest:
    """Name, labels and owner. Deleting the LlamaDeployment deletes the object through its owner reference."""
    return {
        "name": name,
        "namespace": context.key.namespace,
        "labels": child_labels(context, component, **labels),
        "ownerReferences": [owner(KIND, context.key.name, context.uid, controller=True)],
    }


def child_labels(context: Context, component: str, **labels: str) -> dict[str, str]:
    """Return the labels of a child; keyword names are ``group``, ``stage``, ``pod_hash``."""
    own = {f"{names.API_GROUP}/{key.replace('_', '-')}": value for key, value in labels.items()}
    return selector(context, component) | own | {names.LABEL_MANAGED_BY: names.MANAGED_BY}


def service_account(context: Context, name: str, component: str, *, mount: bool) -> Manifest:
    """Return an account. ``mount``: pods get a token of it for the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(context, name, component),
        "automountServiceAccountToken": mount,
    }


def selector(context: Context, component: str) -> dict[str, str]:
    """Labels that select all pods of a component of this deployment."""
    return {names.LABEL_DEPLOYMENT: context.key.name, names.LABEL_COMPONENT: component}


def pod_security() -> dict[str, Any]:
    """Pod-level settings that Pod Security ``restricted`` asks for."""
    return {
        "runAsNonRoot": True,
        "runAsUser": names.SERVING_UID,
        "runAsGroup": names.SERVING_UID,
        "fsGroup": names.SERVING_UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, ipc_lock: bool = False) -> dict[str, Any]:
    """Container-level settings that Pod Security ``restricted`` asks for, and a root file system nobody writes to.

    ``ipc_lock`` adds the one capability that may be asked for, which ``restricted`` and ``baseline`` refuse.
    """
    added = {"add": ["IPC_LOCK"]} if ipc_lock else {}
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], **added},
    }


def log_format(settings: Settings) -> list[dict[str, Any]]:
    """Return the environment of a process whose log is to have another form than text."""
    chosen = settings.log_format
    return [{"name": names.ENV_LOG_FORMAT, "value": chosen}] if chosen != TEXT else []


def own_identity(account: str) -> list[dict[str, Any]]:
    """Return the environment of what fetches weights as ``account``; without one it has no identity to use."""
    return [{"name": names.ENV_OWN_IDENTITY, "value": "true"}] if account else []


def source_networks(settings: Settings) -> list[dict[str, Any]]:
    """Return the environment that tells what fetches weights which addresses a source may have besides public ones."""
    return [{"name": names.ENV_SOURCE_NETWORKS, "value": ",".join(settings.source_networks)}]


def without_identity(account: str, *containers: str) -> dict[str, str]:
    """Return annotations that keep the webhooks of EKS and Azure from giving these containers the account's tokens."""
    if not account:
        return {}
    return {key: separator.join(containers) for key, separator in _SKIPPED.items()}


#: Annotations of the webhooks for workload identity, and what stands between the names of containers.
_SKIPPED: Final = {"eks.amazonaws.com/skip-containers": ",", "azure.workload.identity/skip-containers": ";"}


def probe(path: str, port: int | str, *, period: int, failures: int, timeout: int) -> dict[str, Any]:
    """Return a probe of the kubelet over HTTP; ``period`` and ``timeout`` in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def image_settings(context: Context) -> dict[str, Any]:
    """Pull secrets of a pod."""
    secrets = [{"name": name} for name in context.spec.images.pull_secrets]
    return {"imagePullSecrets": secrets} if secrets else {}


def claim_volume(source: str) -> dict[str, Any]:
    """Mount the claim of a pvc:// source, read-only."""
    return {
        "name": "model",
        "persistentVolumeClaim": {"claimName": parse(source).host, "readOnly": True},
    }


def credentials_volume(secret: str) -> dict[str, Any]:
    """Mount a file per key of the Secret, for what fetches weights and for nothing else."""
    return {"name": "credentials", "secret": {"secretName": secret, "defaultMode": 0o440}}


def key_secret(context: Context, name: str, component: str) -> Manifest:
    """Return a Secret without its key, which is drawn where it is created."""
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata(context, name, component)}


def key_volume(name: str, secret: str, *, file: str = "token") -> dict[str, Any]:
    """Return a volume with the key of such a Secret as a file."""
    items = [{"key": "token", "path": file}]
    return {"name": name, "secret": {"secretName": secret, "items": items, "defaultMode": 0o440}}


def mount(name: str, path: str, *, read_only: bool) -> dict[str, Any]:
    """Mount a volume in a container."""
    found: dict[str, Any] = {"name": name, "mountPath": path}
    return {**found, "readOnly": True} if read_only else found


def canonical_json(value: object) -> str:
    """Write the same text for the same value, so that a ConfigMap changes only when its content does."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"
