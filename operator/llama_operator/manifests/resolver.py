"""What resolves a LlamaWeights or a LlamaAdapter: a Job without a device, and the rights that its one answer needs.

It alone gets the credentials and the way out of the cluster. It may change one ConfigMap, which the operator made
empty: ``binaryData`` is the resolver's, and no apply of ours names it.
"""

from dataclasses import dataclass
from typing import Any, Final

from llama_operator.api import ADAPTERS_KIND, WEIGHTS_KIND, LlamaWeightsSpec, ResolvedSpec
from llama_operator.manifests import disk
from llama_operator.manifests.common import (
    claim_volume,
    container_security,
    credentials_volume,
    mount,
    own_identity,
    owner,
    pod_security,
    source_networks,
)
from llama_operator.manifests.disk import bounded, scratch
from llama_operator.manifests.walls.network import api_server_egress, dns_egress, source_egress
from llama_operator.plan.naming import manifest_name, resolved_prefix, resolver_name
from llama_operator.plan.settings import Settings
from llama_operator.plan.weights.resolve import ResolveJob
from llama_operator.ports import Key, Manifest
from llama_serving.config import names
from llama_serving.config.source import fill, is_mounted

#: Seconds from the Job's start, the image's download included. A volume or a source that hangs must not hang for ever:
#: the attempt ends, is shown and repeated. A full check reads every byte: a day is 405B in BF16 at 10 MB/s.
DEADLINES: Final = {"full": 86_400, "listing": 900}
#: The same of an adapter, which has some GB at most.
ADAPTER_DEADLINE: Final = 7200


@dataclass(frozen=True)
class WeightsContext:
    """Whom the children belong to, and what they are made from."""

    key: Key
    uid: str
    spec: ResolvedSpec
    settings: Settings
    kind: str = WEIGHTS_KIND

    @property
    def prefix(self) -> str:
        """What the names of the children begin with."""
        return resolved_prefix(self.kind, self.key.name)

    @property
    def label(self) -> str:
        """Label of the children that names the object."""
        return names.LABEL_ADAPTER if self.kind == ADAPTERS_KIND else names.LABEL_WEIGHTS


def manifest_config_map(context: WeightsContext) -> Manifest:
    """Return the place for the manifest; empty, until the resolver fills it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(context, manifest_name(context.prefix))}


def resolver_objects(context: WeightsContext) -> list[Manifest]:
    """Return what the Job needs, in the order in which it is needed."""
    return [
        manifest_config_map(context),
        _network_policy(context),
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _metadata(context, resolver_name(context.prefix)),
            "automountServiceAccountToken": True,
        },
        _role(context),
        _role_binding(context),
    ]


def resolver_job(context: WeightsContext, job: ResolveJob) -> Manifest:
    """Return the Job; one try, since the operator decides when the next one is due."""
    meta = _metadata(context, job.name)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**meta, "annotations": {names.ANNOTATION_ATTEMPT: str(job.number)}},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _deadline(context.spec),
            "template": {"metadata": {"labels": _labels(context)}, "spec": _pod_spec(context)},
        },
    }


def _deadline(spec: ResolvedSpec) -> int:
    return DEADLINES[spec.check] if isinstance(spec, LlamaWeightsSpec) else ADAPTER_DEADLINE


def _pod_spec(context: WeightsContext) -> dict[str, Any]:
    spec = context.spec
    pull = [{"name": name} for name in spec.images.pull_secrets]
    return {
        "serviceAccountName": _account(context),
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "securityContext": pod_security(),
        "nodeSelector": dict(spec.placement.node_selector),
        "tolerations": [toleration.to_api() for toleration in spec.placement.tolerations],
        **({"imagePullSecrets": pull} if pull else {}),
        "containers": [_container(context)],
        "volumes": [
            scratch("tmp", disk.SMALL),
            *([claim_volume(fill(spec.source, spec.revision))] if is_mounted(spec.source) else []),
            *([credentials_volume(spec.credentials_secret)] if spec.credentials_secret else []),
        ],
    }


def _resources(settings: Settings) -> dict[str, Any]:
    limits = {"cpu": settings.resolver_cpu, "memory": settings.resolver_memory}
    return {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": limits}


def _container(context: WeightsContext) -> dict[str, Any]:
    spec = context.spec
    model = [mount("model", names.MODEL_MOUNT, read_only=True)] if is_mounted(spec.source) else []
    credentials = [mount("credentials", names.CREDENTIALS_MOUNT, read_only=True)] if spec.credentials_secret else []
    return {
        "name": "resolver",
        "image": context.settings.gateway_image,
        "imagePullPolicy": spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.weights", *_arguments(context)],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            *own_identity(spec.service_account_name),
            *source_networks(context.settings),
        ],
        "resources": bounded(_resources(context.settings), disk.SMALL),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount("tmp", "/tmp", read_only=False), *model, *credentials],
    }


def _account(context: WeightsContext) -> str:
    """Return the account that reads the source, and may write the one ConfigMap."""
    return context.spec.service_account_name or resolver_name(context.prefix)


def _arguments(context: WeightsContext) -> list[str]:
    spec = context.spec
    found = ["resolve" if isinstance(spec, LlamaWeightsSpec) else "resolve-adapter"]
    found += ["--source", fill(spec.source, spec.revision), "--revision", spec.revision]
    if isinstance(spec, LlamaWeightsSpec):
        found += ["--check", spec.check]
    found += ["--license", spec.license]
    if spec.digest:
        found += ["--expect", spec.digest]
    if spec.credentials_secret:
        found += ["--credentials", names.CREDENTIALS_MOUNT]
    return [*found, "--config-map", f"{context.key.namespace}/{manifest_name(context.prefix)}"]


def _labels(context: WeightsContext) -> dict[str, str]:
    return {
        context.label: context.key.name,
        names.LABEL_COMPONENT: names.COMPONENT_RESOLVER,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def _metadata(context: WeightsContext, name: str) -> Manifest:
    return {
        "name": name,
        "namespace": context.key.namespace,
        "labels": _labels(context),
        "ownerReferences": [owner(context.kind, context.key.name, context.uid, controller=True)],
    }


def _role(context: WeightsContext) -> Manifest:
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [manifest_name(context.prefix)],
        "verbs": ["patch"],
    }
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": _metadata(context, resolver_name(context.prefix)),
        "rules": [rule],
    }


def _role_binding(context: WeightsContext) -> Manifest:
    name = resolver_name(context.prefix)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": _metadata(context, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": _account(context), "namespace": context.key.namespace}],
    }


def _network_policy(context: WeightsContext) -> Manifest:
    """Nobody may call it. It may go out to the source and to the API server."""
    spec = context.spec
    identity = bool(spec.service_account_name)
    sources = [] if is_mounted(spec.source) else source_egress(context.settings, own_identity=identity)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(context, resolver_name(context.prefix)),
        "spec": {
            "podSelector": {
                "matchLabels": {key: _labels(context)[key] for key in (context.label, names.LABEL_COMPONENT)}
            },
            "policyTypes": ["Ingress", "Egress"],
            "egress": [dns_egress(), api_server_egress(context.settings), *sources],
        },
    }
