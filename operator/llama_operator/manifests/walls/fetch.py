"""The fetch proxy of a deployment: the one pod of it that may go out, where ``walls.sourceEgress`` is ``proxy``.

A policy knows pods and not containers, and a stager shares its pod with the engine. So the way out of a stage pod leads
through this pod, which asks for a key that only stagers mount.
"""

from typing import Any, Final

from llama_operator.api import LlamaDeploymentSpec
from llama_operator.manifests.common import (
    Context,
    child_labels,
    container_security,
    image_settings,
    key_secret,
    key_volume,
    log_format,
    metadata,
    mount,
    pod_security,
    selector,
    source_networks,
)
from llama_operator.manifests.disk import bounded
from llama_operator.manifests.walls.network import dns_egress, source_egress, tcp
from llama_operator.plan.groups.images import gateway_image
from llama_operator.plan.naming import fetch_name, stages_name
from llama_operator.ports import Manifest
from llama_serving.config import names
from llama_serving.config.source import is_mounted

_KEY_VOLUME: Final = "fetch-key"


def fetches(spec: LlamaDeploymentSpec) -> bool:
    """Return whether stagers may have to reach a source outside the group."""
    return not is_mounted(spec.model.source) or spec.adapter_limits is not None


def fetches_by_proxy(spec: LlamaDeploymentSpec) -> bool:
    """Return whether they do so through the proxy."""
    return fetches(spec) and spec.walls.source_egress == "proxy"


def fetch_objects(context: Context) -> list[Manifest]:
    """Return the proxy, its Service and who may reach it."""
    return [_service(context), _deployment(context), _network_policy(context)]


def fetch_key_secret(context: Context) -> Manifest:
    """Return the Secret of the key."""
    return key_secret(context, fetch_name(context.key.name), names.COMPONENT_FETCH)


def fetch_key_volume(context: Context) -> dict[str, Any]:
    """Mount the key, for the proxy and for stagers."""
    return key_volume(_KEY_VOLUME, fetch_name(context.key.name), file=names.FETCH_KEY_PATH.rpartition("/")[2])


def fetch_key_mount() -> dict[str, Any]:
    """Mount it in a container."""
    return mount(_KEY_VOLUME, names.FETCH_KEY_PATH.rpartition("/")[0], read_only=True)


def fetch_peer(context: Context) -> Manifest:
    """Select the proxy's pods."""
    return {"podSelector": {"matchLabels": selector(context, names.COMPONENT_FETCH)}}


def fetch_address(context: Context) -> str:
    """Return host and port at which stagers find the proxy."""
    return f"{fetch_name(context.key.name)}.{context.key.namespace}.svc:{names.PORT_FETCH}"


def _service(context: Context) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(context, fetch_name(context.key.name), names.COMPONENT_FETCH),
        "spec": {
            "selector": selector(context, names.COMPONENT_FETCH),
            "ports": [{"name": "proxy", "port": names.PORT_FETCH, "targetPort": names.PORT_FETCH, "protocol": "TCP"}],
        },
    }


def _deployment(context: Context) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(context, fetch_name(context.key.name), names.COMPONENT_FETCH),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector(context, names.COMPONENT_FETCH)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": child_labels(context, names.COMPONENT_FETCH)},
                "spec": {
                    "serviceAccountName": stages_name(context.key.name),
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 5,  # a stager goes on where its connection ended
                    "securityContext": pod_security(),
                    **image_settings(context),
                    "containers": [_container(context)],
                    "volumes": [fetch_key_volume(context)],
                },
            },
        },
    }


def _container(context: Context) -> dict[str, Any]:
    return {
        "name": "proxy",
        "image": gateway_image(context.spec, context.settings),
        "imagePullPolicy": context.spec.images.pull_policy,
        "args": ["python3", "-m", "llama_serving.weights", "proxy"],
        "env": [{"name": "HOME", "value": "/tmp"}, *source_networks(context.settings), *log_format(context.settings)],
        "ports": [{"name": "proxy", "containerPort": names.PORT_FETCH, "protocol": "TCP"}],
        "resources": bounded({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}),
        "securityContext": container_security(),
        "readinessProbe": {"tcpSocket": {"port": names.PORT_FETCH}, "periodSeconds": 5},
        "livenessProbe": {"tcpSocket": {"port": names.PORT_FETCH}, "periodSeconds": 10, "failureThreshold": 6},
        "volumeMounts": [fetch_key_mount()],
    }


def _network_policy(context: Context) -> Manifest:
    stages = {"podSelector": {"matchLabels": selector(context, names.COMPONENT_STAGE)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(context, fetch_name(context.key.name), names.COMPONENT_FETCH),
        "spec": {
            "podSelector": {"matchLabels": selector(context, names.COMPONENT_FETCH)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [stages], "ports": [tcp(names.PORT_FETCH)]}],
            "egress": [dns_egress(), *source_egress(context.settings, own_identity=False)],
        },
    }
